package worlds

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"countroom/cmd/appliance"
	"countroom/games/books"
	"countroom/games/house"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// board is an operator who halts seeds in some worlds, with two officers who end
// or abandon them. In such a world secrets are lost, too: they do not open when
// the house starts again, and what the house cannot open the board gives up.
type board struct {
	w    *world
	rnd  *rand.Rand
	left int // halts still to come of the operator's own
	lose int // in a thousand, at a start

	mu   sync.Mutex
	lost map[uint64]bool

	seen      epoch.State
	enrolled  int
	forgotten int    // steps of forgets that are done
	halted    uint64 // known to be halted, and not known to be decided
	count     int
	now       *motion
	trying    *trial
	wait      time.Time
	rotations []*exchange
}

// motion is something that the board wants, tried with the same key until it is
// known what became of it.
type motion struct {
	what string
	do   func(*appliance.Appliance) (ledger.Receipt, error)
	then func()
	must bool // it cannot be refused
}

// trial is one attempt of a motion.
type trial struct {
	process *process

	// Under process.mu.
	heard bool
	err   error
}

// Names of faults for the census.
const (
	faultHalt = "halt"
	faultLost = "lost secret"
)

// officerNames are those of the two.
var officerNames = [officers.Quorum]string{"anna", "berta"}

func officerKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("world officer " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// newBoard is drawn apart from the weather, which the seeds of old worlds keep. The
// worlds that are run twice have none.
func newBoard(w *world, seed uint64) *board {
	b := &board{w: w, rnd: rand.New(rand.NewPCG(seed, 0x0ff1ce)), lost: map[uint64]bool{}}
	if exchangesKeys(seed) {
		b.rotations = b.exchanges()
		return b
	}
	if b.rnd.IntN(4) > 0 || seed >= 1000 {
		b.enrolled = -1 // nobody is ever there
		return b
	}
	b.left, b.lose = b.rnd.IntN(4), b.rnd.IntN(700)
	return b
}

// misplace loses, while the house is down, the secret of an epoch that could draw.
func (b *board) misplace() {
	var could []uint64
	for _, n := range []uint64{b.seen.Active, b.seen.Ahead} {
		if n != 0 && !b.lost[n] {
			could = append(could, n)
		}
	}
	if b.enrolled < 0 || len(could) == 0 || b.rnd.IntN(1000) >= b.lose {
		return
	}
	n := could[b.rnd.IntN(len(could))]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost[n] = true
	b.w.evidence.census.faults[faultLost]++
	b.w.say("the secret of epoch %d is lost", n)
}

// sealer opens what is not lost.
type sealer struct {
	house.Sealer
	b *board
}

func (s sealer) Open(about, sealed []byte) (secret, salt [32]byte, err error) {
	s.b.mu.Lock()
	lost := s.b.lost[binary.BigEndian.Uint64(about[len(about)-8:])]
	s.b.mu.Unlock()
	if lost {
		return secret, salt, errors.New("injected: the device does not know this secret")
	}
	return s.Sealer.Open(about, sealed)
}

// look reads where the seeds stand.
func (b *board) look() bool {
	value, err := b.w.process.store.Row([]byte(epoch.StateKey))
	if err != nil {
		return false
	}
	row, err := books.Kinds.Decode(epoch.StateKey, value)
	if err != nil {
		return false
	}
	b.seen = *row.(*epoch.State)
	return true
}

// ready reports whether the board would do something now.
func (b *board) ready() bool {
	p := b.w.process
	if b.enrolled < 0 || b.trying != nil || time.Now().Before(b.wait) || p == nil || !p.welcomed || p.app.ReadOnly {
		return false
	}
	if b.now == nil && b.look() {
		b.now = b.next()
	}
	return b.now != nil
}

// next decides what the board does.
func (b *board) next() *motion {
	switch {
	case b.enrolled < len(officerNames):
		name := officerNames[b.enrolled]
		return &motion{what: "enrols " + name, must: true, then: func() { b.enrolled++ }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
			return a.House.Approve(context.Background(), &officers.Enrolled{Algorithm: officers.Ed25519, Officer: name, Public: officerKey(name).Public().(ed25519.PublicKey)}, house.Words{})
		}}
	case b.halted != 0:
		return b.decide()
	}
	if b.w.periodsEnd() && b.forgotten < len(forgets) {
		return b.forget()
	}
	if m := b.rotate(); m != nil {
		return m
	}
	for n := b.seen.Revealed + 1; n <= b.seen.Committed; n++ {
		if b.lost[n] && b.open(n) {
			return b.halt(n)
		}
	}
	n := b.seen.Active
	if b.rnd.IntN(2) == 0 {
		n = b.seen.Ahead
	}
	if b.left == 0 || n == 0 || b.rnd.IntN(10) > 0 {
		return nil
	}
	b.left--
	return b.halt(n)
}

// epoch reads an epoch's row.
func (b *board) epoch(n uint64) *epoch.Epoch {
	value, err := b.w.process.store.Row([]byte(epoch.Key(n)))
	if err != nil {
		return nil
	}
	row, err := books.Kinds.Decode(epoch.Key(n), value)
	if err != nil {
		return nil
	}
	return row.(*epoch.Epoch)
}

// open reports whether something can still be decided about an epoch.
func (b *board) open(n uint64) bool {
	e := b.epoch(n)
	return e != nil && e.RevealedIndex == 0 && e.AbandonedIndex == 0
}

func (b *board) halt(n uint64) *motion {
	b.count++
	key := fmt.Sprint("halt ", b.count)
	return &motion{what: fmt.Sprint("halts epoch ", n), then: func() { b.halted = n; b.w.evidence.census.faults[faultHalt]++ }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
		return a.House.HaltSeed(context.Background(), house.Request{Key: key, Method: "POST", Path: "/seeds/halt", Principal: "operator", Body: fmt.Appendf(nil, `{"epoch":%d}`, n)}, n, "so it is")
	}}
}

// decide is what the officers do about the halted epoch.
func (b *board) decide() *motion {
	n := b.halted
	words := house.Words{Salt: sha256.Sum256(fmt.Append(nil, "words ", b.count)), Text: "so it is"}
	d := decision.Decision{Epoch: n, Reason: entry.Commitment(words.Salt, words.Text)}
	if n == b.seen.Active {
		d.Draws = b.seen.Draws
	} else if e := b.epoch(n); e != nil {
		d.Draws = e.Draws
	}
	ends := n == b.seen.Active && !b.lost[n] && b.rnd.IntN(2) == 0
	record := func() officers.Approved {
		if ends {
			return &decision.Ended{Decision: d}
		}
		return &decision.Abandoned{Decision: d}
	}
	return &motion{what: fmt.Sprintf("decides about epoch %d: %s", n, record().Type()), must: true, then: func() { b.halted = 0 }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
		r := record()
		for _, name := range officerNames {
			*r.Approval() = append(*r.Approval(), officers.Approval{Officer: name, Signature: ed25519.Sign(officerKey(name), officers.Message(origin, r.Type(), r.Subject()))})
		}
		return a.House.Approve(context.Background(), r, words)
	}}
}

// act tries what the board wants.
func (b *board) act() {
	m, p := b.now, b.w.process
	t := &trial{process: p}
	b.trying = t
	b.w.say("the board %s", m.what)
	go func() {
		_, err := m.do(p.app)
		p.mu.Lock()
		defer p.mu.Unlock()
		t.heard, t.err = true, err
	}()
}

func (b *board) isHeard() bool {
	if b.trying == nil {
		return false
	}
	b.trying.process.mu.Lock()
	defer b.trying.process.mu.Unlock()
	return b.trying.heard
}

// hear learns what became of it.
func (b *board) hear() *violation {
	err := b.trying.err
	b.trying = nil
	b.w.say("the board hears: %v", err)
	refused := errors.Is(err, book.ErrBroken) || errors.Is(err, house.ErrOpens)
	switch {
	case err == nil:
		b.now.then()
		b.now = nil
	case refused && b.now.must:
		return broken(lawHalted, "the board %s, and is refused: %v", b.now.what, err)
	case refused: // it came too late
		b.now = nil
	}
	b.wait = time.Now().Add(time.Duration(100+b.rnd.IntN(400)) * time.Millisecond)
	return nil
}

// playIsHalted wants nothing that needs chance between a halt and what two
// officers decided about it.
func playIsHalted(l *finalLog, _ *evidence) *violation {
	halted, by := uint64(0), 0
	decided := func(i int, d *decision.Decision) *violation {
		if d.Epoch != halted || len(d.Approvals) != 2 || d.Approvals[0].Officer == d.Approvals[1].Officer {
			return broken(lawHalted, "entry %d decides about epoch %d by %d officers, while epoch %d is halted", i, d.Epoch, len(d.Approvals), halted)
		}
		halted = 0
		return nil
	}
	abandoned := map[uint64]bool{}
	for i, r := range l.records {
		var v *violation
		switch r := r.(type) {
		case *epoch.Halted:
			halted, by = r.Epoch, i
		case *decision.Ended:
			v = decided(i, &r.Decision)
		case *decision.Abandoned:
			v, abandoned[r.Epoch] = decided(i, &r.Decision), true
		case *rounds.Settled:
			if halted != 0 || abandoned[r.Draw.Epoch] {
				v = broken(lawHalted, "entry %d is a round of epoch %d, while epoch %d is halted by entry %d", i, r.Draw.Epoch, halted, by)
			}
		case *epoch.Committed, *epoch.Activated, *epoch.Closed:
			if halted != 0 {
				v = broken(lawHalted, "entry %d is a %s, while epoch %d is halted by entry %d", i, r.Type(), halted, by)
			}
		case *epoch.Revealed:
			if abandoned[r.Epoch] {
				v = broken(lawHalted, "entry %d reveals epoch %d, which was abandoned", i, r.Epoch)
			}
		}
		if v != nil {
			return v
		}
	}
	return nil
}

// unprovable counts the rounds of epochs that were abandoned.
func (l *finalLog) unprovable() (n uint64) {
	abandoned := map[uint64]bool{}
	for _, r := range l.records {
		if r, ok := r.(*decision.Abandoned); ok {
			abandoned[r.Epoch] = true
		}
	}
	for _, r := range l.records {
		if r, ok := r.(*rounds.Settled); ok && abandoned[r.Draw.Epoch] {
			n++
		}
	}
	return n
}

// What the fold refuses, so that no sabotage could bring it into a log, is done to
// logs that worlds left: the first in which something was decided.
func TestFalseHaltsAreNoticed(t *testing.T) {
	isHalt := func(r entry.Record) bool { _, ok := r.(*epoch.Halted); return ok }
	for seed := uint64(1); seed < 100; seed++ {
		if b := newBoard(&world{}, seed); b.enrolled < 0 || b.left == 0 {
			continue
		}
		o := run(t, seed, sabotage{})
		if o.violation != nil {
			t.Fatal(o.violation)
		}
		at := slices.IndexFunc(o.log.records, isHalt)
		if at < 0 {
			continue
		}
		decided := at + slices.IndexFunc(o.log.records[at:], func(r entry.Record) bool { _, ok := r.(officers.Approved); return ok })
		halted := o.log.records[at].(*epoch.Halted).Epoch
		for name, put := range map[string]struct {
			at int
			r  entry.Record
		}{
			"a round meanwhile":         {decided - 1, &rounds.Settled{Draw: rounds.Draw{Epoch: halted}}},
			"another seed meanwhile":    {decided - 1, &epoch.Committed{}},
			"an end by rule meanwhile":  {decided - 1, &epoch.Closed{Epoch: halted}},
			"a decision by one officer": {decided, &decision.Abandoned{Decision: decision.Decision{Approvals: []officers.Approval{{Officer: "anna"}}, Epoch: halted}}},
			"one officer twice":         {decided, &decision.Ended{Decision: decision.Decision{Approvals: []officers.Approval{{Officer: "anna"}, {Officer: "anna"}}, Epoch: halted}}},
			"nobody decided":            {decided, &epoch.Closed{Epoch: halted}},
		} {
			l := *o.log
			l.records = slices.Clone(l.records)
			if put.at == at { // the decision came at once
				l.records = slices.Insert(l.records, decided, put.r)
			} else {
				l.records[put.at] = put.r
			}
			if v := playIsHalted(&l, o.evidence); v == nil || v.law != lawHalted {
				t.Errorf("%s: %v", name, v)
			}
		}
		return
	}
	t.Error("nothing was halted in any world")
}
