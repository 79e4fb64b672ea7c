package ledger

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"strings"
	"testing"

	ring "countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"github.com/sigstore/sigstore/pkg/signature"
)

// Which keys sign a checkpoint follows from the entries under it, whatever is at
// hand besides.
func TestSignersAreThoseInForceAtTheSize(t *testing.T) {
	const origin = "example.com/log"
	l := &Ledger{cfg: Config{Origin: origin}}
	var vkeys []string
	var gone [3]bool
	for i := range 3 {
		key := ed25519.NewKeyFromSeed(append(make([]byte, 31), byte(i)))
		loaded, err := signature.LoadSigner(key, crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		s := leaving{loaded, &gone[i]}
		if i == 0 {
			l.cfg.Signer = s
			if err := l.openSigners(); err != nil {
				t.Fatal(err)
			}
			vkeys = append(vkeys, l.signers.first)
			continue
		}
		if i == 2 { // the third is not at hand yet
			vkey, err := tlog.VKey(origin, key.Public().(ed25519.PublicKey))
			if err != nil {
				t.Fatal(err)
			}
			vkeys = append(vkeys, vkey)
			continue
		}
		vkey, err := l.AddSigner(s)
		if err != nil {
			t.Fatal(err)
		}
		vkeys = append(vkeys, vkey)
	}
	l.signers.note(0, &system.HouseCreated{Keys: []system.Key{{Public: vkeys[0], Role: system.RoleCheckpoint}}})
	l.signers.note(5, &ring.Introduced{Public: vkeys[1], Role: system.RoleCheckpoint})
	l.signers.note(9, &ring.Retired{Public: vkeys[0], Role: system.RoleCheckpoint})
	for size, want := range map[uint64][]int{1: {0}, 5: {0}, 6: {0, 1}, 9: {0, 1}, 10: {1}} {
		list, err := l.signers.at(size)
		if err != nil {
			t.Fatal(err)
		}
		cp, err := tlog.Sign(tlog.Checkpoint{Origin: origin, Size: size}, list...)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != len(want) || strings.Count(string(cp), "— ") != len(want) {
			t.Errorf("size %d: %d signatures, want those of %v", size, len(list), want)
		}
		for _, i := range want {
			v, err := tlog.NewVerifier(vkeys[i])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tlog.Open(cp, v); err != nil {
				t.Errorf("size %d: key %d: %v", size, i, err)
			}
		}
		if c, err := l.signers.open(cp); err != nil || c.Size != size {
			t.Errorf("size %d: %+v, %v", size, c, err)
		}
	}
	// The key that signs no more may be gone, the one that signs may not.
	gone[0] = true
	if err := l.TrySigners(); err != nil {
		t.Error(err)
	}
	gone[1] = true
	if err := l.TrySigners(); !errors.Is(err, ErrSigner) || !errors.Is(err, errGone) {
		t.Errorf("the key in force is gone: %v", err)
	}
	gone = [3]bool{}
	if l.VKey() != vkeys[1] {
		t.Errorf("the newest key is %s", l.VKey())
	}
	l.signers.note(12, &ring.Introduced{Public: vkeys[2], Role: system.RoleCheckpoint})
	if _, err := l.signers.at(13); err == nil || !strings.Contains(err.Error(), vkeys[2]) {
		t.Errorf("a key that is not at hand: %v", err)
	}
	if err := l.TrySigners(); !errors.Is(err, ErrSigner) || !strings.Contains(err.Error(), vkeys[2]) {
		t.Errorf("a key that is not at hand: %v", err)
	}
	if _, err := l.signers.open([]byte("nothing")); !errors.Is(err, tlog.ErrFormat) {
		t.Error(err)
	}
}

// leaving is a signer that can be gone.
type leaving struct {
	signature.Signer
	gone *bool
}

var errGone = errors.New("the token is gone")

func (s leaving) SignMessage(r io.Reader, o ...signature.SignOption) ([]byte, error) {
	if *s.gone {
		return nil, errGone
	}
	return s.Signer.SignMessage(r, o...)
}
