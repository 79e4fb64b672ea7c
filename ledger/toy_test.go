package ledger

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"github.com/sigstore/sigstore/pkg/signature"
)

// The toy books count: each added entry moves a named counter, which may not
// fall below zero.
type added struct {
	entry.Header
	Amount, After int64
	Name          string
}

func (*added) Type() string { return "toy.added" }
func (r *added) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.Int("after", &r.After)
	c.Int("amount", &r.Amount)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Text("name", &r.Name, 32)
	c.Is("type", r.Type())
}

type counter struct{ Sum int64 }

func (k *counter) Code(c *entry.Coder) { c.Int("sum", &k.Sum) }

func counterKey(name string) string { return "toy/" + name }

var errBelowZero = errors.New("below zero")

const byName Group = 'n'

func toyBooks() Books {
	kinds := book.Kinds{"toy": func() book.Row { return new(counter) }}
	for k, v := range system.Kinds {
		kinds[k] = v
	}
	return Books{
		Version: 1, Kinds: kinds,
		Decode: func(leaf []byte) (entry.Record, error) {
			typ, err := entry.TypeOf(leaf)
			if err != nil {
				return nil, err
			}
			var r entry.Record = new(added)
			if typ == "clock.stepped" {
				r = new(system.ClockStepped)
			}
			return r, entry.Decode(leaf, r)
		},
		Fold: func(rows book.Rows, index uint64, r entry.Record) error {
			a, ok := r.(*added)
			if !ok {
				return system.Fold(rows, index, r)
			}
			sum := sumOf(rows, a.Name) + a.Amount
			if sum < 0 {
				return book.Broken("below-zero", "a sum not below zero", sum)
			}
			if sum != a.After {
				return book.Broken("after", sum, a.After)
			}
			rows.Put(counterKey(a.Name), &counter{sum})
			return nil
		},
		Index: func(dst []IndexRow, i uint64, r entry.Record) []IndexRow {
			if a, ok := r.(*added); ok {
				var name [16]byte
				copy(name[:], a.Name)
				dst = append(dst, IndexRow{byName, name, i})
			}
			return dst
		},
	}
}

func sumOf(rows book.Reader, name string) int64 {
	if c := book.Get[counter](rows, counterKey(name)); c != nil {
		return c.Sum
	}
	return 0
}

func add(name string, amount int64) Command {
	return Command{Reads: []string{counterKey(name)}, Run: func(tx *Tx) error {
		sum := sumOf(tx, name) + amount
		if sum < 0 {
			return errBelowZero
		}
		_, err := tx.Answer(&added{Header: entry.Header{Actor: "toy"}, Amount: amount, After: sum, Name: name})
		return err
	}}
}

func keyed(c Command, key, body string) Command {
	c.Request = entry.Request{Key: entry.RequestKey("toy", key), Fingerprint: entry.RequestFingerprint(key, "POST", "/", "toy", []byte(body))}
	return c
}

// rig is a data directory that ledgers are opened in, one after another.
type rig struct {
	t      testing.TB
	dir    string
	signer signature.Signer
	wrap   func(store.Store) store.Store
	change func(*Config)

	store store.Store
	guard *Guard
	fatal chan error
	*Ledger
}

func newRig(t testing.TB) *rig {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.LoadED25519Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, dir: t.TempDir(), signer: s}
}

func (r *rig) tryOpen() error {
	r.fatal = make(chan error, 1)
	st, err := pebble.Open(filepath.Join(r.dir, "store"), pebble.Options{Create: true})
	if err != nil {
		return err
	}
	r.store = st
	if r.wrap != nil {
		r.store = r.wrap(st)
	}
	if r.guard, err = OpenGuard(filepath.Join(r.dir, "guard"), "toy.example/log"); err != nil {
		st.Close()
		return err
	}
	cfg := Config{
		Origin: "toy.example/log", Store: r.store, Books: toyBooks(), Guard: r.guard, Signer: r.signer,
		Log: slog.New(slog.DiscardHandler), Fatal: func(err error) { r.fatal <- err },
		patience: time.Hour, // a signer is slow where a test says so, not where the machine is
	}
	if r.change != nil {
		r.change(&cfg)
	}
	r.Ledger, err = Open(context.Background(), cfg)
	if err != nil {
		r.store.Close()
		r.guard.Close()
	}
	return err
}

func (r *rig) open() *rig {
	r.t.Helper()
	if err := r.tryOpen(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r.Ledger.Close(ctx)
	r.store.Close()
	r.guard.Close()
}

// must runs a command and checks its receipt as a stranger would.
func (r *rig) must(c Command) Receipt {
	r.t.Helper()
	got, err := r.Update(context.Background(), c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.verify(got)
	return got
}

func (r *rig) verify(got Receipt) tlog.Checkpoint {
	r.t.Helper()
	cp, err := r.check(got)
	if err != nil {
		r.t.Fatal(err)
	}
	return cp
}

func (r *rig) check(got Receipt) (cp tlog.Checkpoint, err error) {
	v, err := tlog.NewVerifier(r.VKey())
	if err != nil {
		return cp, err
	}
	p, err := tlog.ParseReceipt(got.Proof)
	if err != nil {
		return cp, err
	}
	if cp, err = p.Verify(got.Leaf, v); err != nil {
		return cp, err
	}
	if p.Index != got.Index || cp.Size <= got.Index {
		return cp, fmt.Errorf("receipt of entry %d in a log of %d for entry %d", p.Index, cp.Size, got.Index)
	}
	return cp, nil
}

func (r *rig) sum(name string) (sum int64) {
	r.t.Helper()
	err := r.View(context.Background(), func(rows book.Reader) error {
		sum = sumOf(rows, name)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return sum
}

func name(i int) string { return fmt.Sprintf("counter-%d", i) }
