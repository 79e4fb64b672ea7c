package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"countroom/ledger/store"
	"countroom/ledger/tlog"
)

const (
	// slowSignature is when waiting for a signature costs more than the smaller
	// batches that come of not waiting: about twice what a batch costs whatever
	// its size.
	slowSignature = time.Millisecond
	// signerPatience is how long a signature may take before play stops.
	signerPatience = 3 * time.Second
)

// unsigned is what is durable and waits for a signature. It is bounded by the
// callers that are let in: each of them waits in one of the batches.
type unsigned struct {
	mu      sync.Mutex
	batches []*batch   // in order
	head    store.Head // after the last that has entries
	taken   uint64     // size of the head that was handed out last
	failed  bool
	wake    chan struct{}
	wait    time.Duration // before a silent signer is asked again

	took [16]time.Duration // by the last signatures, guard included
	next int
	slow atomic.Bool
}

func newUnsigned() *unsigned {
	return &unsigned{wake: make(chan struct{}, 1)}
}

func (l *Ledger) newBatch() *batch {
	return &batch{number: l.number, base: l.size, over: make(chan struct{})}
}

// end is the size of the log that a batch's commands saw.
func (b *batch) end() uint64 { return b.base + uint64(len(b.leaves)) }

// add takes a batch that is durable. It reports false when nothing can be
// signed any more.
func (u *unsigned) add(b *batch) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed {
		return false
	}
	u.batches = append(u.batches, b)
	if len(b.leaves) > 0 {
		u.head = b.head
		u.rouse()
	}
	return true
}

// leave hands the stage a head that it does not find in a batch.
func (u *unsigned) leave(head store.Head) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.head, u.taken = head, min(u.taken, head.Size-1)
	u.rouse()
}

func (u *unsigned) rouse() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// take returns the newest head, unless it was taken already.
func (u *unsigned) take() (store.Head, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed || u.head.Size <= u.taken {
		return store.Head{}, false
	}
	u.taken = u.head.Size
	return u.head, true
}

// retry returns when to ask a signer again that gave no signature.
func (u *unsigned) retry() <-chan time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wait = min(max(10*time.Millisecond, 2*u.wait), time.Second)
	return time.After(u.wait)
}

// again offers a head once more that could not be signed.
func (u *unsigned) again(head store.Head) {
	u.mu.Lock()
	u.taken = min(u.taken, head.Size-1)
	u.mu.Unlock()
	u.rouse()
}

// covered takes out the batches whose commands may be answered at a signed
// size; every one when nothing will be signed any more.
func (u *unsigned) covered(size uint64, all bool) (bs []*batch) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failed = u.failed || all
	n := 0
	for n < len(u.batches) && (all || u.batches[n].end() <= size) {
		n++
	}
	bs, u.batches = u.batches[:n:n], u.batches[n:]
	return bs
}

// note learns from a signature. The quickest of the last ones counts: what a
// busy machine adds to some of them says nothing about the signer.
func (u *unsigned) note(took time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wait = 0
	u.took[u.next%len(u.took)] = took
	u.next++
	quickest := took
	for _, d := range u.took[:min(u.next, len(u.took))] {
		quickest = min(quickest, d)
	}
	u.slow.Store(quickest > slowSignature)
}

// answerSigned lets go of those whose commands saw nothing beyond the newest
// checkpoint.
func (l *Ledger) answerSigned() {
	s := l.signed.Load()
	size := uint64(0)
	switch {
	case l.cfg.ReadOnly:
		size = math.MaxUint64 // nothing is signed any more
	case s != nil:
		size = s.Size
	}
	for _, b := range l.unsigned.covered(size, false) {
		for _, r := range b.waiters {
			r.signed = s
		}
		l.answer(b.waiters...)
		close(b.over)
	}
}

// signAll signs the newest durable head, again and again. Heads pass the guard
// in order, one at a time; where the signer makes several signatures at once
// these may overtake each other, and each covers all that came before it.
func (l *Ledger) signAll() {
	defer l.done.Done()
	var underWay sync.WaitGroup
	defer underWay.Wait()
	defer l.giveUpUnsigned()
	places := make(chan struct{}, l.cfg.Signatures)
	for {
		select {
		case <-l.unsigned.wake:
		case <-l.quit:
			return
		}
		// The place first: the later a head is taken the more its signature covers.
		select {
		case places <- struct{}{}:
		case <-l.quit:
			return
		}
		head, ok := l.unsigned.take()
		if !ok {
			<-places
			continue
		}
		start := time.Now()
		if err := l.allow(head); err != nil {
			l.fail(err)
			return
		}
		underWay.Go(func() {
			l.signAllowed(head, start)
			<-places
		})
	}
}

// giveUpUnsigned lets go of those who wait for a signature that does not come.
func (l *Ledger) giveUpUnsigned() {
	for _, b := range l.unsigned.covered(0, true) {
		l.giveUp(b.waiters)
		close(b.over)
	}
}

// signAllowed signs one head and answers whom it covers. While the signer is
// silent, or a quorum of witnesses, nothing is answered and nothing new is
// accepted.
func (l *Ledger) signAllowed(head store.Head, start time.Time) {
	heard := l.await(func() error { return fmt.Errorf("%w: no signature for %v", ErrSigner, l.cfg.patience) })
	s, err := l.signature(head)
	heard()
	if err != nil {
		l.stopPlay(err)
		select {
		case <-l.unsigned.retry():
			l.unsigned.again(head)
		case <-l.quit:
		}
		return
	}
	if l.witnesses.MustAwait() {
		heard := l.await(func() error { return fmt.Errorf("%w: %w", ErrWitnesses, l.witnesses.Missing()) })
		s.Checkpoint, err = l.witnesses.Cosign(context.Background(), s.Size, s.Checkpoint)
		heard()
		if err != nil {
			return // the ledger is closed
		}
	}
	// Before it is shown: who has an answer under it is not refused with what comes next.
	if l.signerErr.Swap(nil) != nil {
		l.cfg.Log.Info("play goes on: checkpoints are signed again")
	}
	l.publish(s)
	took := time.Since(start)
	l.unsigned.note(took)
	l.m.signSeconds.Observe(took.Seconds())
	l.answerSigned()
	if err := l.witnesses.Offer(s.Size, s.Checkpoint); err != nil {
		l.fail(err)
	}
}

func (l *Ledger) stopPlay(err error) {
	if was := l.signerErr.Swap(&err); was == nil || errors.Is(*was, ErrSigner) != errors.Is(err, ErrSigner) {
		l.cfg.Log.Error("play stops until checkpoints are signed again", "error", err)
	}
}

// await stops play when something is not there in time; the returned function
// says that it is.
func (l *Ledger) await(missing func() error) (heard func()) {
	var mu sync.Mutex
	over := false
	t := time.AfterFunc(l.cfg.patience, func() {
		err := missing()
		mu.Lock()
		defer mu.Unlock()
		if !over {
			l.stopPlay(err)
		}
	})
	return func() {
		t.Stop()
		mu.Lock()
		over = true
		mu.Unlock()
	}
}

// sign lets a durable head past the guard, signs and publishes it. Where it needs
// a quorum first it is left to the signing stage.
func (l *Ledger) sign(head store.Head) error {
	if err := l.allow(head); err != nil {
		return err
	}
	s, err := l.signature(head)
	if err != nil {
		return err
	}
	if l.witnesses.MustAwait() {
		l.unsigned.leave(head)
		return nil
	}
	l.publish(s)
	return l.witnesses.Offer(s.Size, s.Checkpoint)
}

// allow asks the guard, which records the head before it is signed.
func (l *Ledger) allow(head store.Head) error {
	last := l.cfg.Guard.Last()
	var consistency []tlog.Hash
	if last.Size > 0 && head.Size > last.Size {
		var err error
		if consistency, err = l.tree.Consistency(last.Size, head.Size); err != nil {
			return err
		}
	}
	return l.cfg.Guard.Allow(SignedHead{head.Term, head.Size, head.Root}, consistency)
}

// signature makes the checkpoint of a head that the guard allowed.
func (l *Ledger) signature(head store.Head) (*Signed, error) {
	signers, err := l.signers.at(head.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigner, err)
	}
	cp, err := tlog.Sign(tlog.Checkpoint{Origin: l.cfg.Origin, Size: head.Size, Root: head.Root}, signers...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSigner, err)
	}
	return &Signed{Size: head.Size, Root: head.Root, Checkpoint: cp}, nil
}

// noteCosigned takes a checkpoint that has one more cosignature, if it is shown.
func (l *Ledger) noteCosigned(size uint64, note []byte) {
	l.signedMu.Lock()
	defer l.signedMu.Unlock()
	now := l.signed.Load()
	if now == nil || now.Size < size {
		return // its quorum is not there yet
	}
	root := now.Root
	if now.Size > size {
		var err error
		if root, err = l.tree.Root(size); err != nil {
			return
		}
	}
	s := &Signed{Size: size, Root: root, Checkpoint: note}
	if now.Size == size {
		l.signed.Store(s)
	}
	if was := l.cosigned.Load(); was == nil || was.Size <= size {
		l.cosigned.Store(s)
	}
}

// publish shows a checkpoint, unless a larger one is shown already.
func (l *Ledger) publish(s *Signed) {
	l.signedMu.Lock()
	defer l.signedMu.Unlock()
	if now := l.signed.Load(); now != nil && now.Size > s.Size {
		return
	}
	l.signed.Store(s)
	if l.witnesses.MustAwait() {
		l.cosigned.Store(s)
	}
	close(l.signedMore)
	l.signedMore = make(chan struct{})
	l.release(s.Size)
}
