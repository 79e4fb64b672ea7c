package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"countroom/games/books"
	"countroom/games/house"
	"countroom/hardware/signer"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
)

// What takes two officers goes by files, since their keys are not on the house's
// machine: a proposal says what would be done, each officer signs an approval of
// it where his key is, and proposal and approvals together do it.

// ceremonyMost is the size in bytes of the largest such file.
const ceremonyMost = 128 << 10

// proposal is an entry that officers are to approve of.
type proposal struct {
	Origin string          `json:"origin"`
	Draft  json.RawMessage `json:"draft"`          // the entry, with no approvals
	Salt   string          `json:"salt,omitempty"` // of the commitment to the words
	Words  string          `json:"words,omitempty"`
}

// approval is an officer's signature over what a proposal says.
type approval struct {
	Action    string `json:"action"`
	Officer   string `json:"officer"`
	Origin    string `json:"origin"`
	Signature string `json:"signature"`
	Subject   string `json:"subject"`
}

// publicKey is what an officer hands to the operator.
type publicKey struct {
	Algorithm string `json:"algorithm"`
	Officer   string `json:"officer"`
	Public    string `json:"public"`
}

// strictly reads one JSON value with known members only.
func strictly(b []byte, v any) error {
	if len(b) > ceremonyMost {
		return fmt.Errorf("%d bytes, at most %d expected", len(b), ceremonyMost)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// draft makes a proposal of an entry.
func draft(origin string, r officers.Approved, words house.Words) (*proposal, error) {
	*r.Head() = entry.Header{Actor: "draft", ID: entry.NewUUID([16]byte{})}
	leaf, err := entry.Append(nil, r)
	if err != nil {
		return nil, err
	}
	p := &proposal{Origin: origin, Draft: leaf}
	if words.Text != "" {
		p.Salt, p.Words = hex.EncodeToString(words.Salt[:]), words.Text
	}
	return p, nil
}

// parseProposal reads a proposal: the entry, and the words it commits to.
func parseProposal(b []byte) (p proposal, r officers.Approved, words house.Words, err error) {
	if err = strictly(b, &p); err != nil {
		return p, nil, words, fmt.Errorf("proposal: %w", err)
	}
	leaf, err := entry.Canonical(p.Draft)
	if err != nil {
		return p, nil, words, fmt.Errorf("proposal: draft: %w", err)
	}
	record, err := books.Decode(leaf)
	if err != nil {
		return p, nil, words, fmt.Errorf("proposal: draft: %w", err)
	}
	r, ok := record.(officers.Approved)
	if !ok || len(*r.Approval()) != 0 {
		return p, nil, words, fmt.Errorf("proposal: draft: expected an entry that officers approve of, without approvals, found %s", record.Type())
	}
	if p.Words != "" || p.Salt != "" {
		salt, err := hex.DecodeString(p.Salt)
		if err != nil || len(salt) != len(words.Salt) {
			return p, nil, words, errors.New("proposal: salt: expected 64 hex digits")
		}
		words = house.Words{Salt: [32]byte(salt), Text: p.Words}
	}
	if k, ok := r.(house.Reasoned); ok && entry.Commitment(words.Salt, words.Text) != k.Because() {
		return p, nil, words, errors.New("proposal: the words are not those that the entry commits to")
	}
	return p, r, words, nil
}

// parseApproval reads an approval.
func parseApproval(b []byte) (a approval, err error) {
	if err := strictly(b, &a); err != nil {
		return a, fmt.Errorf("approval: %w", err)
	}
	if err := officers.CheckName(a.Officer); err != nil {
		return a, fmt.Errorf("approval: %w", err)
	}
	if sig, err := hex.DecodeString(a.Signature); err != nil || len(sig) == 0 || len(sig) > 256 {
		return a, errors.New("approval: signature: expected 1 to 256 bytes in hex")
	}
	return a, nil
}

// parsePublicKey reads an officer's public key.
func parsePublicKey(b []byte) (r *officers.Enrolled, err error) {
	var k publicKey
	if err := strictly(b, &k); err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	public, err := hex.DecodeString(k.Public)
	if err == nil {
		err = errors.Join(officers.CheckName(k.Officer), officers.CheckKey(k.Algorithm, public))
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return &officers.Enrolled{Algorithm: k.Algorithm, Officer: k.Officer, Public: public}, nil
}

// collect puts approvals into an entry, holding each against what it approves of.
func collect(origin string, r officers.Approved, list []approval) error {
	var all []officers.Approval
	for _, a := range list {
		if a.Action != r.Type() || a.Origin != origin || a.Subject != r.Subject() {
			return fmt.Errorf("the approval of %s is of another statement: %s of %q at %q", a.Officer, a.Action, a.Subject, a.Origin)
		}
		sig, err := hex.DecodeString(a.Signature)
		if err != nil {
			return err
		}
		all = append(all, officers.Approval{Officer: a.Officer, Signature: sig})
	}
	slices.SortFunc(all, func(a, b officers.Approval) int { return strings.Compare(a.Officer, b.Officer) })
	*r.Approval() = all
	return nil
}

// officerKey opens an officer's key, of whichever algorithm it is.
func officerKey(ctx context.Context, uri string) (s signer.Signer, algorithm string, public []byte, err error) {
	if s, err = signer.Open(ctx, uri, signer.Ed25519, signer.Options{}); err != nil {
		first := err
		if s, err = signer.Open(ctx, uri, signer.ECDSAP256, signer.Options{}); err != nil {
			return nil, "", nil, errors.Join(first, err)
		}
	}
	algorithm, public, err = officerPublic(s.Public())
	return s, algorithm, public, err
}

func officerPublic(key crypto.PublicKey) (algorithm string, public []byte, err error) {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return officers.Ed25519, key, nil
	case *ecdsa.PublicKey:
		public, err = x509.MarshalPKIXPublicKey(key)
		return officers.ECDSAP256, public, err
	}
	return "", nil, fmt.Errorf("a key of type %T", key)
}

func randomWords(text string) (w house.Words) {
	rand.Read(w.Salt[:])
	w.Text = text
	return w
}

// readCeremony reads one of these files, "-" is standard input.
func readCeremony(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, ceremonyMost+1))
	if err == nil && len(b) > ceremonyMost {
		err = fmt.Errorf("%s: longer than %d bytes", name, ceremonyMost)
	}
	return b, err
}

// clean keeps what a file says from giving a terminal commands.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
