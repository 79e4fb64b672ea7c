package safe

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"

	"countroom/regulator/vault"
)

// TokenService is the authority's service that seals deliveries. How its own protocol is spoken is the implementation's;
// it has to be asked for a token before the files of a day are made, and to seal them when they are.
type TokenService interface {
	// Issue asks for a token for a day of a house.
	Issue(ctx context.Context, origin, day string) (token string, err error)
	// Seal has the service bind a token to the SHA-256 of a manifest, and returns its word for that. A token is bound
	// once.
	Seal(ctx context.Context, token string, manifest [32]byte) (seal string, err error)
}

// Seal is what the token service said of a delivery.
type Seal struct {
	XMLName  xml.Name `xml:"TamperToken"`
	Origin   string   `xml:"origin,attr"`
	Day      string   `xml:"day,attr"`
	Token    string   `xml:"Token"`
	Manifest string   `xml:"Manifest_SHA256"`
	Seal     string   `xml:"Seal"`
}

// sealTextMost bounds what a token service says.
const sealTextMost = 4096

var errSeal = errors.New("expected a token and a seal of 1 to 4096 printable ASCII characters")

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= sealTextMost
}

// parseSeal reads a seal.
func parseSeal(data []byte) (*Seal, error) {
	s := new(Seal)
	if err := vault.Decode(data, s); err != nil {
		return nil, err
	}
	if !printable(s.Token) || !printable(s.Seal) {
		return nil, errSeal
	}
	return s, nil
}

// sealed has a token bound to a manifest.
func sealed(ctx context.Context, tokens TokenService, token string, m *Manifest, digest [32]byte) (*Seal, error) {
	text, err := tokens.Seal(ctx, token, digest)
	if err != nil {
		return nil, fmt.Errorf("the token service: %w", err)
	}
	s := &Seal{Origin: m.Origin, Day: m.Day, Token: token, Manifest: fmt.Sprintf("%x", digest), Seal: text}
	if !printable(s.Token) || !printable(s.Seal) {
		return nil, errSeal
	}
	return s, nil
}
