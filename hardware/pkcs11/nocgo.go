//go:build !cgo

package pkcs11

import (
	"context"
	"crypto"
	"errors"
)

// errNoCgo is the answer of a program that cannot load modules.
var errNoCgo = errors.New("pkcs11: this program was built without cgo, which loading a PKCS #11 module needs: build it with CGO_ENABLED=1")

// Token is what Open would return.
type Token struct{}

// Key is what Find and Generate would return.
type Key struct{}

func Open(context.Context, URI) (*Token, error)                            { return nil, errNoCgo }
func (*Token) Close() error                                                { return errNoCgo }
func (*Token) Info(context.Context) (Info, error)                          { return Info{}, errNoCgo }
func (*Token) Random(context.Context, []byte) error                        { return errNoCgo }
func (*Token) Find(context.Context, URI, Kind) (*Key, error)               { return nil, errNoCgo }
func (*Token) Generate(context.Context, URI, Kind) (*Key, error)           { return nil, errNoCgo }
func (*Key) Public() crypto.PublicKey                                      { return nil }
func (*Key) Origin(context.Context) (Origin, error)                        { return Origin{}, errNoCgo }
func (*Key) Sign(context.Context, []byte) ([]byte, error)                  { return nil, errNoCgo }
func (*Key) Seal(context.Context, []byte, []byte) (iv, ct []byte, _ error) { return nil, nil, errNoCgo }
func (*Key) Open(context.Context, []byte, []byte, []byte) ([]byte, error)  { return nil, errNoCgo }
