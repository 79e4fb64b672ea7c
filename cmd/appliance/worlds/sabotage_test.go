package worlds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/hardware/entropy"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/epoch"

	"github.com/sigstore/sigstore/pkg/signature"
)

// A checker that cannot fail is none. Each law is broken by a house that was
// sabotaged, and that law, and no other, is named.
func TestSabotageIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name, law string
		sabotage  func() sabotage // a new one for each world
	}{
		{"a disk that lost its last hours, and the guard's record with them", lawLost, rolledBack(true)},
		{"a store that lost its last hours", lawGuard, rolledBack(false)},
		{"a guard's record that is not synced", lawGuard, func() sabotage {
			return sabotage{onGuard: func(f ledger.GuardFile) ledger.GuardFile { return hasty{f} }}
		}},
		{"a signer that signs two roots", lawOneRoot, func() sabotage {
			return sabotage{onSigner: func(_ *world, k signature.Signer) signature.Signer { return twoTongues{k} }}
		}},
		{"an index that forgets keys", lawTwice, func() sabotage {
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return forgetful{s} }}
		}},
		{"a house that draws again until it likes what it drew", lawOneDraw, func() sabotage {
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return &choosy{watchedStore: s.(*watchedStore)} }}
		}},
		{"a house that draws as soon as its epoch comes into use", lawBound, func() sabotage {
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return &hastyDraws{watchedStore: s.(*watchedStore)} }}
		}},
		{"a row that no entry made", lawBooks, func() sabotage {
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return scribbler{s} }}
		}},
		{"a balance that is always the first", lawReads, func() sabotage {
			seen := map[string][]byte{}
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return nostalgic{s, seen} }}
		}},
		{"a server that has forgotten a player", lawAnswers, func() sabotage {
			return sabotage{onHandler: rewriting(func(r *http.Request, a *httptest.ResponseRecorder) {
				if strings.HasSuffix(r.URL.Path, "/deposits") && a.Code == http.StatusCreated {
					a.Code = http.StatusNotFound
				}
			})}
		}},
		{"a server that does not say when to come again", lawStopped, func() sabotage {
			return sabotage{onHandler: rewriting(func(_ *http.Request, a *httptest.ResponseRecorder) { a.Header().Del("Retry-After") })}
		}},
		{"a server that does not say what became of it", lawStopped, func() sabotage {
			return sabotage{onHandler: rewriting(func(_ *http.Request, a *httptest.ResponseRecorder) {
				if a.Code == http.StatusServiceUnavailable {
					a.Body = bytes.NewBufferString(strings.NewReplacer("not-accepted", "", "outcome-unknown", "").Replace(a.Body.String()))
				}
			})}
		}},
		{"a site that publishes another log", lawVerifier, func() sabotage {
			return sabotage{onHandler: rewriting(func(r *http.Request, a *httptest.ResponseRecorder) {
				if strings.HasPrefix(r.URL.Path, "/log/tile/entries/") {
					a.Body = bytes.NewBuffer(bytes.Replace(a.Body.Bytes(), []byte(`"payout":{"amount":0,`), []byte(`"payout":{"amount":9,`), 1))
				}
			})}
		}},
		{"a house that makes noise of its own where a source fails", lawEntropy, func() sabotage {
			return sabotage{onSource: func(src entropy.Source) entropy.Source { return cover{src.(source)} }}
		}},
		{"a house that gives up a period's key before its players are wrapped for the next", lawVault, func() sabotage {
			return sabotage{onStore: func(_ *world, s store.Store) store.Store { return rash{s.(*watchedStore)} }}
		}},
		{"a signer that is gone for good", lawLiveness, func() sabotage {
			return sabotage{onCalm: func(kind turnKind) error {
				if kind == turnSign {
					return errSilent
				}
				return nil
			}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			from := uint64(2000)
			switch test.law {
			case lawBound:
				from = 6 // the first that has an outside
			case lawVault:
				from = erasedSeed // the first in which a crash comes in between
			}
			for seed := from; seed < from+30; seed++ {
				o := run(t, seed, test.sabotage())
				if o.violation == nil {
					continue // it did not come to it in this world
				}
				if test.law == lawTwice && o.violation.law == lawAnswers {
					continue // a forgotten key was judged anew, and refused since its session is over: another world has to show it
				}
				if o.violation.law != test.law {
					t.Errorf("world %d: %q is named, expected %q\n%s\n%v", seed, o.violation.law, test.law, o.tail(20), o.violation)
				}
				return
			}
			t.Error("nobody noticed")
		})
	}
}

// cover is a source whose failures nobody sees.
type cover struct{ source }

func (c cover) Read(ctx context.Context, b []byte) error {
	if c.source.Read(ctx, b) != nil {
		c.noise.Read(b)
	}
	return nil
}

// What no part of a house could be made to do is done to the log that a world
// left.
func TestFalseLogsAreNoticed(t *testing.T) {
	o := run(t, 2100, sabotage{})
	if o.violation != nil {
		t.Fatal(o.violation)
	}
	falsify := func(l *finalLog, of func(entry.Record) bool, change func(entry.Record)) {
		i := slices.IndexFunc(l.records, of)
		r, err := books.Decode(l.leaves[i])
		must(err)
		change(r)
		l.records = slices.Clone(l.records)
		l.records[i] = r
	}
	settled := func(r entry.Record) bool { s, ok := r.(*rounds.Settled); return ok && len(s.Postings) == 2 }
	deposited := func(r entry.Record) bool { _, ok := r.(*wallet.Deposited); return ok }
	for name, test := range map[string]struct {
		law   string
		check func(*finalLog, *evidence) *violation
		spoil func(*finalLog)
	}{
		"money from nowhere": {lawMoney, moneyIsKept, func(l *finalLog) {
			falsify(l, deposited, func(r entry.Record) { r.(*wallet.Deposited).Postings[0].Amount++ })
		}},
		"a false balance": {lawMoney, moneyIsKept, func(l *finalLog) {
			falsify(l, settled, func(r entry.Record) { r.(*rounds.Settled).Postings[1].Balance++ })
		}},
		"a player who owes": {lawMoney, moneyIsKept, func(l *finalLog) {
			falsify(l, deposited, func(r entry.Record) {
				for i := range r.(*wallet.Deposited).Postings {
					p := &r.(*wallet.Deposited).Postings[i]
					p.Amount, p.Balance = -p.Amount, -p.Amount
				}
			})
		}},
		"a shorter log": {lawLost, nothingLost, func(l *finalLog) { l.head.Size, l.leaves = 3, l.leaves[:3] }},
		"another leaf":  {lawLost, nothingLost, func(l *finalLog) { l.leaves = slices.Clone(l.leaves); slices.Reverse(l.leaves) }},
		"another root": {lawOneRoot, oneRoot, func(l *finalLog) {
			l.roots = slices.Clone(l.roots)
			l.roots[l.head.Size-1][0] ^= 1
		}},
		"one key twice": {lawTwice, nothingTwice, func(l *finalLog) { l.records = append(slices.Clone(l.records), l.records...) }},
		"a key that is gone": {lawTwice, nothingTwice, func(l *finalLog) {
			falsify(l, deposited, func(r entry.Record) { r.Head().Request = entry.Request{} })
		}},
	} {
		l := *o.log
		if v := test.check(&l, o.evidence); v != nil {
			t.Errorf("%s: before it is false: %v", name, v)
		}
		test.spoil(&l)
		if v := test.check(&l, o.evidence); v == nil || v.law != test.law {
			t.Errorf("%s: got %v, expected %q", name, v, test.law)
		}
	}
	refused := slices.IndexFunc(o.evidence.commands, func(c *command) bool { return c.accepted != nil })
	cmd := *o.evidence.commands[refused]
	cmd.accepted, cmd.open, cmd.inside = nil, false, 0
	e := &evidence{commands: []*command{&cmd}}
	if v := nothingTwice(o.log, e); v == nil || v.law != lawTwice {
		t.Errorf("an entry of a command that was refused: got %v", v)
	}
}

// rolledBack is a disk that, after a crash, is as it was after the crash before.
func rolledBack(guard bool) func() sabotage {
	return func() sabotage {
		var old disk
		answers := 0
		return sabotage{onDisk: func(w *world, left disk) disk {
			again := disk{cut(left.store, lossNone, nil), cut(left.small, lossNone, nil)}
			if n := len(w.evidence.answers); old.store == nil || n == answers {
				old, answers = again, n
				return left
			}
			left.store = old.store
			if guard {
				left.small = old.small
			}
			return left
		}}
	}
}

// hasty does not wait for the disk.
type hasty struct{ ledger.GuardFile }

func (hasty) Sync() error { return nil }

// twoTongues signs another root at each size, too.
type twoTongues struct{ signature.Signer }

func (s twoTongues) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	body, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	sig, err := s.Signer.SignMessage(bytes.NewReader(body), opts...)
	if err != nil {
		return nil, err
	}
	c, err := tlog.ParseCheckpointBody(body)
	if err != nil {
		return nil, err
	}
	c.Root[0] ^= 1
	_, err = s.Signer.SignMessage(bytes.NewReader(c.AppendBody(nil)), opts...)
	return sig, err
}

// forgetful has no index.
type forgetful struct{ store.Store }

func (forgetful) Index([]byte) ([]byte, error) { return nil, nil }

// choosy draws each round twice.
type choosy struct{ *watchedStore }

func (s *choosy) Commit(ctx context.Context, b *store.Batch) error {
	again := *b
	again.Leaves = slices.Clone(b.Leaves)
	for i, leaf := range b.Leaves {
		again.Leaves[i] = bytes.Replace(leaf, []byte(`"r":"0`), []byte(`"r":"1`), 1)
	}
	s.p.recordDrawn(&again)
	return s.watchedStore.Commit(ctx, b)
}

// hastyDraws puts the last round of an epoch into the batch in which the next one
// comes into use, as one of that.
type hastyDraws struct {
	*watchedStore
	last []byte
}

func (s *hastyDraws) Commit(ctx context.Context, b *store.Batch) error {
	for _, leaf := range b.Leaves {
		typ, err := entry.TypeOf(leaf)
		must(err)
		switch typ {
		case (*rounds.Settled)(nil).Type():
			s.last = bytes.Clone(leaf)
		case (*epoch.Activated)(nil).Type():
			var r epoch.Activated
			must(entry.Decode(leaf, &r))
			again := *b
			again.Leaves = append(slices.Clone(b.Leaves), bytes.Replace(s.last, fmt.Appendf(nil, `"epoch":%d,`, r.Epoch-1), fmt.Appendf(nil, `"epoch":%d,`, r.Epoch), 1))
			if s.last != nil {
				s.p.recordDrawn(&again)
			}
		}
	}
	return s.watchedStore.Commit(ctx, b)
}

// scribbler writes in the rows of seeds that nobody needs any more.
type scribbler struct{ store.Store }

func (s scribbler) Commit(ctx context.Context, b *store.Batch) error {
	for i, row := range b.Rows {
		if strings.HasPrefix(string(row.Key), "epoch/") && !bytes.HasSuffix(row.Value, []byte(`"revealed_index":0}`)) {
			b.Rows[i].Value = bytes.Replace(row.Value, []byte(`"draws":`), []byte(`"draws":1`), 1)
		}
	}
	return s.Store.Commit(ctx, b)
}

// nostalgic shows each account as it was first read.
type nostalgic struct {
	store.Store
	seen map[string][]byte
}

func (s nostalgic) Snapshot() (store.Reader, error) {
	r, err := s.Store.Snapshot()
	return nostalgicReader{r, s.seen}, err
}

type nostalgicReader struct {
	store.Reader
	seen map[string][]byte
}

func (r nostalgicReader) Row(key []byte) ([]byte, error) {
	v, err := r.Reader.Row(key)
	if err != nil || !strings.HasPrefix(string(key), "wallet/player/") || v == nil {
		return v, err
	}
	if first, ok := r.seen[string(key)]; ok {
		return first, nil
	}
	r.seen[string(key)] = v
	return v, nil
}

// rewriting changes answers on their way.
func rewriting(change func(*http.Request, *httptest.ResponseRecorder)) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			change(r, rec)
			for name, values := range rec.Header() {
				w.Header()[name] = values
			}
			w.WriteHeader(rec.Code)
			if _, err := w.Write(rec.Body.Bytes()); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
				panic(err)
			}
		})
	}
}

// sabotage breaks a house on purpose, to show that a law's checker notices.
// What is nil breaks nothing.
type sabotage struct {
	onGuard   func(ledger.GuardFile) ledger.GuardFile
	onDisk    func(w *world, left disk) disk // what a crash leaves
	onStore   func(*world, store.Store) store.Store
	onSigner  func(*world, signature.Signer) signature.Signer
	onHandler func(http.Handler) http.Handler
	onSource  func(entropy.Source) entropy.Source
	onCalm    func(turnKind) error // a fault that never ends
}

func (s *sabotage) guard(f ledger.GuardFile) ledger.GuardFile {
	if s.onGuard == nil {
		return f
	}
	return s.onGuard(f)
}

func (s *sabotage) disk(w *world, left disk) disk {
	if s.onDisk == nil {
		return left
	}
	return s.onDisk(w, left)
}

func (s *sabotage) store(w *world, st store.Store) store.Store {
	if s.onStore == nil {
		return st
	}
	return s.onStore(w, st)
}

func (s *sabotage) signer(w *world, k signature.Signer) signature.Signer {
	if s.onSigner == nil {
		return k
	}
	return s.onSigner(w, k)
}

func (s *sabotage) source(src entropy.Source) entropy.Source {
	if s.onSource == nil {
		return src
	}
	return s.onSource(src)
}

func (s *sabotage) handler(h http.Handler) http.Handler {
	if s.onHandler == nil {
		return h
	}
	return s.onHandler(h)
}

func (s *sabotage) calmVerdict(kind turnKind) error {
	if s.onCalm == nil {
		return nil
	}
	return s.onCalm(kind)
}
