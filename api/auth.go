package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"

	"countroom/games/house"

	"github.com/labstack/echo/v4"
)

// role is a set of who may call.
type role uint8

const (
	operator role = 1 << iota
	regulator
	auditor
)

// Tokens are the bearer tokens of the roles; an empty one admits nobody.
type Tokens struct{ Operator, Regulator, Auditor string }

// keyring knows the roles' tokens by their hashes, so that a comparison tells
// nothing about a token by the time it takes.
type keyring []struct {
	hash [sha256.Size]byte
	role role
}

func newKeyring(t Tokens) (k keyring) {
	for _, e := range []struct {
		token string
		role  role
	}{{t.Operator, operator}, {t.Regulator, regulator}, {t.Auditor, auditor}} {
		if e.token != "" {
			k = append(k, struct {
				hash [sha256.Size]byte
				role role
			}{sha256.Sum256([]byte(e.token)), e.role})
		}
	}
	return k
}

// role returns the role of a token, 0 for none.
func (k keyring) role(token string) (found role) {
	hash := sha256.Sum256([]byte(token))
	for i := range k {
		if subtle.ConstantTimeCompare(hash[:], k[i].hash[:]) == 1 {
			found |= k[i].role
		}
	}
	return found
}

// bearer returns the token of a request.
func bearer(r *http.Request) (string, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return "", unauthorized.with("expected one Authorization header")
	}
	const scheme = "bearer "
	v := values[0]
	if len(v) <= len(scheme) || !asciiEqualFold(v[:len(scheme)], scheme) {
		return "", unauthorized.with("expected the scheme Bearer")
	}
	return v[len(scheme):], nil
}

func asciiEqualFold(s, lower string) bool {
	for i := range lower {
		b := s[i]
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		if b != lower[i] {
			return false
		}
	}
	return true
}

// admit lets the roles pass.
func (s *Server) admit(c echo.Context, roles role) error {
	session, err := s.identify(c, roles)
	if err == nil && session != nil {
		return forbidden.with("")
	}
	return err
}

// reader lets the roles pass, and sessions that can still be used, which it
// returns.
func (s *Server) reader(c echo.Context, roles role) (*house.Session, error) {
	session, err := s.identify(c, roles)
	if err != nil || session == nil {
		return nil, err
	}
	return session, s.house.Live(s.context(), *session)
}

// identify finds a session, or nil for one of the roles.
func (s *Server) identify(c echo.Context, roles role) (*house.Session, error) {
	token, err := bearer(c.Request())
	if err != nil {
		return nil, err
	}
	switch have := s.keys.role(token); {
	case have&roles != 0:
		return nil, nil
	case have != 0:
		return nil, forbidden.with("")
	}
	session, err := s.house.Seat(s.context(), token)
	return &session, err
}

// player lets sessions pass. Whether a session is still open is for the command
// to say, after the look-up of its key.
func (s *Server) player(c echo.Context) (*house.Session, error) {
	token, err := bearer(c.Request())
	if err != nil {
		return nil, err
	}
	session, err := s.house.Seat(s.context(), token)
	if errors.Is(err, house.ErrToken) && s.keys.role(token) != 0 {
		return nil, forbidden.with("")
	}
	return &session, err
}
