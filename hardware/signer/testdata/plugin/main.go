// A plug-in as sigstore runs it, for tests: its keys are PKCS #8 files.
package main

import (
	"context"
	"crypto"
	"errors"
	"os"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

type service struct{ signature.SignerVerifier }

func (service) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("keys are not made here")
}

func (service) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errors.New("only messages and digests are signed")
}

func (service) SupportedAlgorithms() []string { return []string{"any"} }
func (service) DefaultAlgorithm() string      { return "any" }

func answer() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(args.InitOptions.KeyResourceID)
	if err != nil {
		return err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(b, nil)
	if err != nil {
		return err
	}
	s, err := signature.LoadSignerVerifier(private, args.InitOptions.HashFunc)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, service{s})
	return err
}

func main() {
	if err := answer(); err != nil {
		handler.WriteErrorResponse(os.Stdout, err)
	}
}
