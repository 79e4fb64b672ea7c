// Package tpm signs with ECDSA P-256 keys that a TPM 2.0 keeps at persistent
// handles. A key is bound to its TPM for ever: no two machines have the same one.
package tpm

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"sync"

	"countroom/hardware/pinfile"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

var (
	// ErrNoDevice reports a TPM that cannot be reached.
	ErrNoDevice = errors.New("tpm: device not reachable")
	// ErrNoKey reports a handle with nothing behind it.
	ErrNoKey = errors.New("tpm: no key at the handle")
	// ErrKey reports an object that is no P-256 signing key of this TPM alone, or
	// not the key that it was.
	ErrKey = errors.New("tpm: key not usable")
	// ErrPIN reports an authorisation value that was refused. It is not tried
	// again by this process: a TPM that counts failures locks itself.
	ErrPIN = errors.New("tpm: not authorised")
)

// Key is a key in a TPM. It is safe for concurrent use; the TPM does one thing
// at a time.
type Key struct {
	uri    URI
	public *ecdsa.PublicKey
	busy   chan struct{} // one place
	device transport.TPMCloser
	name   tpm2.TPM2BName // set with device
}

// refused are the keys that refused an authorisation value to this process.
var refused struct {
	sync.Mutex
	uris map[string]bool
}

// Open finds the key that the URI names.
func Open(ctx context.Context, uri URI) (*Key, error) {
	k := &Key{uri: uri, busy: make(chan struct{}, 1)}
	if err := k.do(ctx, func() error { return nil }); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Generate makes a key under the owner hierarchy, which must have no
// authorisation value, and keeps it at the handle of the URI, where nothing may
// be yet. The key cannot leave the TPM.
func Generate(ctx context.Context, uri URI) (*Key, error) {
	pin, err := uri.pin()
	if err != nil {
		return nil, err
	}
	device, err := open(uri)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(generate(device, uri, pin), device.Close())
	}()
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		return Open(ctx, uri)
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %s: waiting for the device: %w", ErrNoDevice, uri, context.Cause(ctx))
	}
}

func (u URI) pin() ([]byte, error) {
	if u.PINSource == "" {
		return nil, nil
	}
	pin, err := pinfile.Read(u.PINSource)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: pin-source: %w", ErrPIN, u, err)
	}
	return []byte(pin), nil
}

func open(uri URI) (device transport.TPMCloser, err error) {
	if uri.Socket != "" {
		device, err = linuxudstpm.Open(uri.Socket)
	} else {
		device, err = linuxtpm.Open(uri.Device)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w: is there a TPM 2.0, and may this user reach it (group tss)?", ErrNoDevice, uri, err)
	}
	return device, nil
}

// template is a signing key that never leaves its TPM. Guessing its value does
// not lock the TPM for others: whoever may speak to the TPM is trusted that far.
func template(unique []byte) tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true, NoDA: true, SignEncrypt: true},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			CurveID: tpm2.TPMECCNistP256,
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
		}),
		// A primary key follows from the hierarchy's seed and its template, so this
		// makes each another.
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: unique}, Y: tpm2.TPM2BECCParameter{Buffer: make([]byte, 32)},
		}),
	}
}

func generate(device transport.TPM, uri URI, pin []byte) error {
	if _, err := (tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(uri.Handle)}).Execute(device); err == nil {
		return fmt.Errorf("%w: %s: the handle is taken, and a key is never overwritten", ErrKey, uri)
	} else if !errors.Is(err, tpm2.TPMRCHandle) {
		return fmt.Errorf("%w: %s: TPM2_ReadPublic: %w", ErrNoDevice, uri, err)
	}
	random, err := tpm2.GetRandom{BytesRequested: 32}.Execute(device)
	if err != nil {
		return fmt.Errorf("tpm: %s: TPM2_GetRandom: %w", uri, err)
	}
	primary, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InSensitive:   tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{UserAuth: tpm2.TPM2BAuth{Buffer: pin}}},
		InPublic:      tpm2.New2B(template(random.RandomBytes.Buffer)),
	}.Execute(device)
	if err != nil {
		return fmt.Errorf("tpm: %s: TPM2_CreatePrimary under the owner hierarchy (if that has an authorisation value, make the key with tpm2-tools): %w", uri, err)
	}
	_, err = tpm2.EvictControl{
		Auth: tpm2.TPMRHOwner, PersistentHandle: tpm2.TPMHandle(uri.Handle),
		ObjectHandle: &tpm2.NamedHandle{Handle: primary.ObjectHandle, Name: primary.Name},
	}.Execute(device)
	if err != nil {
		err = fmt.Errorf("tpm: %s: TPM2_EvictControl: %w", uri, err)
	}
	if _, gone := (tpm2.FlushContext{FlushHandle: primary.ObjectHandle}).Execute(device); gone != nil {
		err = errors.Join(err, fmt.Errorf("tpm: %s: TPM2_FlushContext: %w", uri, gone))
	}
	return err
}

// do runs f while nothing else uses the device. After a failure of the device,
// not of a command, it is opened again and f run once more. The caller waits no
// longer than its context.
func (k *Key) do(ctx context.Context, f func() error) error {
	select {
	case k.busy <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: waiting for the device: %w", ErrNoDevice, k.uri, context.Cause(ctx))
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-k.busy }()
		err := k.once(f)
		if code := tpm2.TPMRC(0); err != nil && !errors.As(err, &code) && errors.Is(err, ErrNoDevice) {
			err = k.once(f)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: waiting for the device: %w", ErrNoDevice, k.uri, context.Cause(ctx))
	}
}

func (k *Key) once(f func() error) error {
	if k.device == nil {
		if err := k.connect(); err != nil {
			return err
		}
	}
	err := f()
	if err != nil { // whatever state it is in
		k.device.Close()
		k.device = nil
	}
	return err
}

// connect opens the device and finds the key.
func (k *Key) connect() error {
	device, err := open(k.uri)
	if err != nil {
		return err
	}
	public, name, err := look(device, k.uri)
	if err == nil && k.public != nil && !k.public.Equal(public) {
		err = fmt.Errorf("%w: %s: another key than before is at the handle", ErrKey, k.uri)
	}
	if err != nil {
		return errors.Join(err, device.Close())
	}
	k.device, k.public, k.name = device, public, name
	return nil
}

func look(device transport.TPM, uri URI) (*ecdsa.PublicKey, tpm2.TPM2BName, error) {
	var none tpm2.TPM2BName
	got, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(uri.Handle)}.Execute(device)
	switch {
	case errors.Is(err, tpm2.TPMRCHandle):
		return nil, none, fmt.Errorf("%w: %s: %w", ErrNoKey, uri, err)
	case err != nil:
		return nil, none, fmt.Errorf("%w: %s: TPM2_ReadPublic: %w", ErrNoDevice, uri, err)
	}
	public, err := got.OutPublic.Contents()
	if err != nil {
		return nil, none, fmt.Errorf("%w: %s: %w", ErrKey, uri, err)
	}
	is := public.ObjectAttributes
	if public.Type != tpm2.TPMAlgECC || !is.SignEncrypt || is.Restricted || !is.UserWithAuth {
		return nil, none, fmt.Errorf("%w: %s: expected an unrestricted ECC signing key that its authorisation value lets sign", ErrKey, uri)
	}
	if !is.FixedTPM || !is.SensitiveDataOrigin {
		return nil, none, fmt.Errorf("%w: %s: the key could be elsewhere: expected fixedtpm and sensitivedataorigin", ErrKey, uri)
	}
	parameters, err := public.Parameters.ECCDetail()
	if err != nil {
		return nil, none, fmt.Errorf("%w: %s: %w", ErrKey, uri, err)
	}
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, none, fmt.Errorf("%w: %s: %w", ErrKey, uri, err)
	}
	x, y := point.X.Buffer, point.Y.Buffer
	if parameters.CurveID != tpm2.TPMECCNistP256 || len(x) > 32 || len(y) > 32 {
		return nil, none, fmt.Errorf("%w: %s: expected a key on P-256", ErrKey, uri)
	}
	var b [65]byte // a TPM may leave leading zeros out
	b[0] = 4
	copy(b[33-len(x):33], x)
	copy(b[65-len(y):], y)
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), b[:])
	if err != nil {
		return nil, none, fmt.Errorf("%w: %s: %w", ErrKey, uri, err)
	}
	return key, got.Name, nil
}

// Public is the key's public half.
func (k *Key) Public() *ecdsa.PublicKey { return k.public }

// Sign signs a SHA-256 digest: r ‖ s, 64 bytes.
func (k *Key) Sign(ctx context.Context, digest [32]byte) (signature [64]byte, err error) {
	var made [64]byte
	err = k.do(ctx, func() (err error) {
		made, err = k.sign(digest)
		return err
	})
	if err != nil {
		return signature, err
	}
	return made, nil
}

func (k *Key) sign(digest [32]byte) (signature [64]byte, err error) {
	refused.Lock()
	never := refused.uris[k.uri.String()]
	refused.Unlock()
	if never {
		return signature, fmt.Errorf("%w: %s: the key refused an authorisation value and this process tries no other: correct %s and start again", ErrPIN, k.uri, k.uri.source())
	}
	pin, err := k.uri.pin()
	if err != nil {
		return signature, err
	}
	session := tpm2.PasswordAuth(nil)
	if len(pin) > 0 { // which then does not cross the bus
		session = tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(pin))
	}
	got, err := tpm2.Sign{
		KeyHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(k.uri.Handle), Name: k.name, Auth: session},
		Digest:    tpm2.TPM2BDigest{Buffer: digest[:]},
		InScheme: tpm2.TPMTSigScheme{
			Scheme:  tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256}),
		},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
	}.Execute(k.device)
	switch {
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth), errors.Is(err, tpm2.TPMRCLockout):
		refused.Lock()
		defer refused.Unlock()
		if refused.uris == nil {
			refused.uris = map[string]bool{}
		}
		refused.uris[k.uri.String()] = true
		return signature, fmt.Errorf("%w: %s: the key refused the authorisation value (%s), and it is not tried again: %w", ErrPIN, k.uri, k.uri.source(), err)
	case err != nil:
		return signature, fmt.Errorf("%w: %s: TPM2_Sign: %w", ErrNoDevice, k.uri, err)
	}
	ec, err := got.Signature.Signature.ECDSA()
	if err != nil {
		return signature, fmt.Errorf("tpm: %s: TPM2_Sign: %w", k.uri, err)
	}
	r, s := ec.SignatureR.Buffer, ec.SignatureS.Buffer
	if len(r) > 32 || len(s) > 32 {
		return signature, fmt.Errorf("tpm: %s: TPM2_Sign gave numbers of %d and %d bytes, expected at most 32", k.uri, len(r), len(s))
	}
	copy(signature[32-len(r):32], r)
	copy(signature[64-len(s):], s)
	return signature, nil
}

func (u URI) source() string {
	if u.PINSource == "" {
		return "none is configured: set pin-source"
	}
	return "from " + u.PINSource
}

// Close ends the connection.
func (k *Key) Close() error {
	select {
	case k.busy <- struct{}{}: // and nobody uses it any more
	default:
		return nil // a device that does not answer keeps what it has
	}
	if k.device == nil {
		return nil
	}
	return k.device.Close()
}
