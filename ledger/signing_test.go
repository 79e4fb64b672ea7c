package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
)

// gatedSigner makes each signature when the test says so.
type gatedSigner struct {
	signature.Signer
	asked chan chan error // one for each signature that is asked for
	open  atomic.Bool     // no gate
	made  atomic.Int64
}

func (s *gatedSigner) SignMessage(m io.Reader, o ...signature.SignOption) ([]byte, error) {
	if !s.open.Load() {
		gate := make(chan error)
		s.asked <- gate
		if err := <-gate; err != nil {
			return nil, err
		}
	}
	s.made.Add(1)
	return s.Signer.SignMessage(m, o...)
}

// slowRig opens a ledger that takes its signer for slow.
func slowRig(t *testing.T, signatures int) (*rig, *gatedSigner) {
	r := newRig(t)
	s := &gatedSigner{Signer: r.signer, asked: make(chan chan error)}
	s.open.Store(true)
	r.signer = s
	r.change = func(c *Config) { c.Signatures = signatures }
	r.open()
	r.must(add("a", 1))
	r.unsigned.mu.Lock()
	r.unsigned.took, r.unsigned.next = [16]time.Duration{time.Second}, 1
	r.unsigned.mu.Unlock()
	r.unsigned.slow.Store(true)
	s.open.Store(false)
	return r, s
}

// later runs a command in the background.
func (r *rig) later(c Command) chan error {
	done := make(chan error, 1)
	go func() {
		got, err := r.Update(context.Background(), c)
		if err == nil {
			_, err = r.check(got)
		}
		done <- err
	}()
	return done
}

// awaitDurable waits until so many entries are durable and the signing stage has them.
func (r *rig) awaitDurable(size uint64) {
	has := func() bool {
		r.unsigned.mu.Lock()
		defer r.unsigned.mu.Unlock()
		return r.unsigned.head.Size >= size
	}
	for !has() {
		time.Sleep(time.Millisecond)
	}
}

func (r *rig) stillWaits(what string, done chan error) {
	r.t.Helper()
	select {
	case err := <-done:
		r.t.Fatalf("%s was answered before a checkpoint covered it: %v", what, err)
	case <-time.After(20 * time.Millisecond):
	}
}

// With a slow signer the commits go on, and one signature covers all that they
// made durable meanwhile; refusals wait as long as what they saw.
func TestOneSignatureCoversWhatWasCommittedMeanwhile(t *testing.T) {
	r, s := slowRig(t, 1)
	defer r.close()
	before := s.made.Load()
	first := r.later(add("a", 1))
	gate := <-s.asked
	var rest []chan error
	for i := range uint64(5) {
		rest = append(rest, r.later(add("a", 1)))
		r.awaitDurable(3 + i) // a batch of its own
	}
	refused := r.later(add("a", -100))
	r.stillWaits("the first", first)
	r.stillWaits("a later one", rest[0])
	r.stillWaits("a refusal", refused)
	if got := r.Signed().Size; got != 1 {
		t.Fatalf("size %d was shown", got)
	}
	gate <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	gate = <-s.asked
	r.stillWaits("a later one", rest[4])
	r.stillWaits("a refusal", refused)
	gate <- nil
	for _, done := range rest {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := <-refused; !errors.Is(err, errBelowZero) {
		t.Fatal(err)
	}
	if got := s.made.Load() - before; got != 2 {
		t.Fatalf("%d signatures for 6 batches", got)
	}
}

// A signer that makes several signatures at once may make the later one first.
// It covers the earlier entries, too, and the shown checkpoint never goes back.
func TestSignaturesMayOvertakeEachOther(t *testing.T) {
	r, s := slowRig(t, 2)
	defer r.close()
	first := r.later(add("a", 1))
	early := <-s.asked
	second := r.later(add("a", 1))
	late := <-s.asked
	third := r.later(add("a", 1))
	r.awaitDurable(4)
	late <- nil
	for _, done := range []chan error{first, second} {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	more := <-s.asked // the third's, while the first is still under way
	r.stillWaits("the third", third)
	early <- nil
	more <- nil
	if err := <-third; err != nil {
		t.Fatal(err)
	}
	if got := r.Signed().Size; got != 4 {
		t.Fatalf("size %d is shown", got)
	}
}

// A signature that failed is made again, of whatever is durable by then.
func TestAFailedSignatureIsMadeAgain(t *testing.T) {
	r, s := slowRig(t, 2)
	defer r.close()
	first := r.later(add("a", 1))
	gate := <-s.asked
	second := r.later(add("a", 1))
	r.awaitDurable(3)
	gate <- errors.New("session lost")
	(<-s.asked) <- nil
	for _, done := range []chan error{first, second} {
		select {
		case gate := <-s.asked:
			gate <- nil
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	s.open.Store(true)
	go func() {
		for gate := range s.asked { // of before
			gate <- nil
		}
	}()
	for r.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	r.must(add("a", 1))
}

// A signer that neither signs nor fails stops play like one that fails, and a
// stop does not wait for it longer than it is told to.
func TestAHangingSignerStopsPlay(t *testing.T) {
	r, s := slowRig(t, 1)
	r.cfg.patience = time.Millisecond
	waits := r.later(add("a", 1))
	gate := <-s.asked
	for !errors.Is(r.Ready(), ErrSigner) {
		time.Sleep(time.Millisecond)
	}
	if _, err := r.Update(context.Background(), add("a", 1)); !errors.Is(err, ErrSigner) {
		t.Fatalf("accepted without a signer: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := <-waits; !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("the caller was told %v", err)
	}
	gate <- nil
	r.close()
}

// One slow signature among quick ones is the machine's, not the signer's.
func TestWhatASlowSignerIs(t *testing.T) {
	u := newUnsigned()
	for i, c := range []struct {
		took time.Duration
		slow bool
	}{{5 * time.Millisecond, true}, {300 * time.Microsecond, false}, {50 * time.Millisecond, false}} {
		if u.note(c.took); u.slow.Load() != c.slow {
			t.Errorf("signature %d: slow %v", i, !c.slow)
		}
	}
	for range len(u.took) {
		u.note(5 * time.Millisecond)
	}
	if !u.slow.Load() {
		t.Errorf("a signer whose last %d signatures took 5 ms is not slow", len(u.took))
	}
}

// However the signatures come, each caller has a receipt that holds, and no
// entry is signed before those before it.
func TestManyCallersAtASlowSigner(t *testing.T) {
	for _, signatures := range []int{1, 4} {
		t.Run(fmt.Sprint(signatures), func(t *testing.T) {
			r, s := slowRig(t, signatures)
			defer r.close()
			var all []chan error
			for i := range 200 {
				all = append(all, r.later(keyed(add(fmt.Sprint(i%7), 1), fmt.Sprint(i), "")))
			}
			go func() {
				for i := 0; ; i++ {
					gate, ok := <-s.asked
					if !ok {
						return
					}
					go func() {
						time.Sleep(time.Duration(i*7919%5) * time.Millisecond / 2)
						gate <- nil
					}()
				}
			}()
			for _, done := range all {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			s.open.Store(true)
			if got := r.Signed().Size; got != 201 {
				t.Fatalf("size %d is shown", got)
			}
		})
	}
}
