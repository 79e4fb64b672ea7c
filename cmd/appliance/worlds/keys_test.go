package worlds

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"countroom/cmd/appliance"
	"countroom/games/books"
	"countroom/games/house"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/rngcert/epoch"

	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/mod/sumdb/note"
)

// keySeeds is where the worlds begin in which the board exchanges all keys of the house while everything else happens.
// Others do not: what was found in them stays where it was.
const (
	keySeeds  = 4000
	keyWorlds = 3
)

const lawKeys = "a signature verifies under the keys in force where it is; after a crash the keys at hand are those of the log"

// exchange is a key that the board exchanges.
type exchange struct {
	role  string
	n     int // of the role, from 2
	stage int // 0: to be introduced, 1: the old one to be retired, 2: done
	old   string
}

func exchangesKeys(seed uint64) bool { return seed >= keySeeds && seed < keySeeds+1000 }

// exchanges are two of each role, in an order of the world's own.
func (b *board) exchanges() (list []*exchange) {
	for n := 2; n <= 3; n++ {
		for _, role := range []string{system.RoleCheckpoint, system.RoleSeeds, system.RoleExports} {
			list = append(list, &exchange{role: role, n: n})
		}
	}
	b.rnd.Shuffle(3, func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// approved has both officers approve of an entry.
func approved(r officers.Approved) officers.Approved {
	for _, name := range officerNames {
		*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(officerKey(name), officers.Message(origin, r.Type(), r.Subject()))})
	}
	return r
}

// rotate is the next step of the next exchange, if there is one.
func (b *board) rotate() *motion {
	i := slices.IndexFunc(b.rotations, func(x *exchange) bool { return x.stage < 2 })
	if i < 0 {
		return nil
	}
	x := b.rotations[i]
	uri := fmt.Sprintf("file:%s/keys/%s-%d.pem", houseDir, x.role, x.n)
	if x.stage == 0 {
		return &motion{what: "introduces a key for " + x.role, then: func() { x.stage = 1 }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
			k, err := a.PutKey(context.Background(), x.role, uri, true)
			if errors.Is(err, fs.ErrExist) { // made in an attempt before
				k, err = a.PutKey(context.Background(), x.role, uri, false)
			}
			if err != nil {
				return ledger.Receipt{}, err
			}
			r, err := a.House.Introduction(context.Background(), k)
			if err != nil {
				return ledger.Receipt{}, err
			}
			return a.House.Approve(context.Background(), approved(r), house.Words{})
		}}
	}
	return &motion{what: "retires a key for " + x.role, then: func() { x.stage = 2 }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
		views, err := a.House.Keys(context.Background())
		if err != nil {
			return ledger.Receipt{}, err
		}
		for _, v := range views {
			if x.old == "" && v.Role == x.role && v.Retired == 0 {
				x.old = v.Public // kept, so that another attempt asks for the same
			}
		}
		words := house.Words{Salt: sha256.Sum256([]byte(uri)), Text: "the exchange is over"}
		return a.House.Approve(context.Background(), approved(&keys.Retired{Public: x.old, Reason: entry.Commitment(words.Salt, words.Text), Role: x.role}), words)
	}}
}

// signedBy remembers which key signed a size.
type signedBy struct {
	size uint64
	vkey string
}

// keysAreInForce holds every signature that left the house, and those in the log, against the keys that the log has in force
// where they are.
func keysAreInForce(l *finalLog, e *evidence) *violation {
	rows := book.Memory{}
	for i, r := range l.records {
		if c, ok := r.(*epoch.Committed); ok {
			k := keys.Current(rows, system.RoleSeeds)
			if k == nil || !seedIsSigned(c, k.Public) {
				return broken(lawKeys, "entry %d: the commitment to epoch %d is not signed by the seeds key in force", i, c.Epoch)
			}
		}
		if err := books.Fold(rows, uint64(i), r); err != nil {
			return broken(lawBooks, "entry %d: %v", i, err)
		}
	}
	list := keys.List(rows)
	for _, s := range e.signedBy {
		if !slices.ContainsFunc(list, func(k keys.Key) bool { return k.Public == s.vkey && k.InForce(s.size) }) {
			return broken(lawKeys, "size %d was signed by %s, which is not in force there", s.size, s.vkey)
		}
	}
	for _, a := range e.answers {
		for _, k := range list {
			if k.Role != system.RoleCheckpoint || a.size == 0 || !k.InForce(a.size) {
				continue
			}
			if v, err := tlog.NewVerifier(k.Public); err != nil || !opens(a.note, v) {
				return broken(lawKeys, "the receipt of entry %d is under a checkpoint of size %d without a signature of %s, which is in force there", a.index, a.size, k.Public)
			}
		}
	}
	return nil
}

func opens(msg []byte, v note.Verifier) bool {
	_, err := tlog.Open(msg, v)
	return err == nil
}

func seedIsSigned(c *epoch.Committed, public string) bool {
	der, err := hex.DecodeString(public)
	if err != nil {
		return false
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return false
	}
	msg, err := c.Statement.Message(origin)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(msg)
	p, ok := key.(*ecdsa.PublicKey)
	return ok && ecdsa.VerifyASN1(p, digest[:], c.Signature)
}

// keysAreAtHand wants every key that the log has in force at hand in the process that was just started.
func (w *world) keysAreAtHand() *violation {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a signature that a reader waited for would wait for a turn, and turns are given by who asks here
	views, err := w.process.app.House.Keys(ctx)
	if err != nil {
		return nil // it cannot read now
	}
	for _, v := range views {
		if v.Retired == 0 && !v.AtHand {
			return broken(lawKeys, "the %s key %s is in force in the log and not at hand", v.Role, v.Public)
		}
	}
	return nil
}

// vkeyOf writes the key of a checkpoint signer.
func vkeyOf(s signature.Signer) string {
	public, err := s.PublicKey()
	must(err)
	text, err := tlog.VKey(origin, crypto.PublicKey(public).(ed25519.PublicKey))
	must(err)
	return text
}

// In worlds where all keys are exchanged twice, with crashes around it, the laws hold.
func TestWorldsThatExchangeKeys(t *testing.T) {
	exchanged, crashes := 0, 0
	for seed := range uint64(keyWorlds) {
		o := run(t, keySeeds+seed, sabotage{})
		report(t, keySeeds+seed, &o)
		if o.log == nil {
			continue
		}
		for _, r := range o.log.records {
			if _, ok := r.(*keys.Retired); ok {
				exchanged++
			}
		}
		crashes += o.evidence.census.crashes
	}
	if exchanged < 3*keyWorlds || crashes == 0 {
		t.Errorf("%d keys were exchanged, with %d crashes", exchanged, crashes)
	}
}

// Each of these is a house that does with its keys what it must not.
func TestFalseKeysAreNoticed(t *testing.T) {
	t.Run("a ring that a power cut takes", func(t *testing.T) {
		lost := func() sabotage {
			return sabotage{onDisk: func(_ *world, left disk) disk {
				_ = left.small.Remove(houseDir + "/keys/ring")
				return left
			}}
		}
		for seed := uint64(keySeeds); seed < keySeeds+20; seed++ {
			if o := run(t, seed, lost()); o.violation != nil {
				if o.violation.law != lawKeys {
					t.Errorf("world %d: %v\n%s", seed, o.violation, o.tail(10))
				}
				return
			}
		}
		t.Error("nobody noticed")
	})
	o := run(t, keySeeds, sabotage{})
	if o.violation != nil {
		t.Fatal(o.violation)
	}
	retired := slices.IndexFunc(o.log.records, func(r entry.Record) bool {
		k, ok := r.(*keys.Retired)
		return ok && k.Role == system.RoleCheckpoint
	})
	if retired < 0 {
		t.Fatal("no checkpoint key was retired")
	}
	first := o.log.records[0].(*system.HouseCreated).Key(system.RoleCheckpoint).Public
	for name, spoil := range map[string]func(l *finalLog, e *evidence){
		"the retired key signs on": func(l *finalLog, e *evidence) {
			e.signedBy = append(slices.Clone(e.signedBy), signedBy{l.head.Size, first})
		},
		"a signature line is missing": func(_ *finalLog, e *evidence) {
			e.answers = slices.Clone(e.answers)
			a := *e.answers[len(e.answers)-1]
			a.note = a.note[:bytes.LastIndex(a.note, []byte("—"))]
			a.note = append(bytes.Clone(a.note), strings.Repeat("x", 3)...)
			e.answers[len(e.answers)-1] = &a
		},
		"a seed is signed by another key": func(l *finalLog, _ *evidence) {
			l.records = slices.Clone(l.records)
			i := slices.IndexFunc(l.records, func(r entry.Record) bool { _, ok := r.(*epoch.Committed); return ok })
			c := *l.records[i].(*epoch.Committed)
			c.Signature = bytes.Clone(c.Signature)
			c.Signature[len(c.Signature)-1] ^= 1
			l.records[i] = &c
		},
	} {
		l := *o.log
		e := &evidence{answers: o.evidence.answers, signedBy: o.evidence.signedBy}
		if v := keysAreInForce(&l, e); v != nil {
			t.Errorf("%s: before it is false: %v", name, v)
		}
		spoil(&l, e)
		if v := keysAreInForce(&l, e); v == nil || v.law != lawKeys {
			t.Errorf("%s: %v", name, v)
		}
	}
}
