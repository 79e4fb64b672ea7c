package house

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/rngcert/epoch"
)

// Records are what exports of the house are made of.
type Records struct {
	h *House
	// room fails when the disk has no room for what is not play.
	room func() error
}

// Records returns them; room fails when the disk has no room for what is not play.
func (h *House) Records(room func() error) *Records { return &Records{h, room} }

// Leaves yields entries of the signed log in order.
func (r *Records) Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error {
	return r.h.ledger.Leaves(from, to, yield)
}

// Inclusion is the proof of an entry in the tree of a size.
func (r *Records) Inclusion(index, size uint64) ([]tlog.Hash, error) {
	return r.h.ledger.Inclusion(index, size)
}

// Node is the hash of a full subtree.
func (r *Records) Node(level uint, index uint64) (tlog.Hash, error) {
	return r.h.ledger.Node(level, index)
}

// Epoch returns the entries of a seed epoch in the order of the log.
func (r *Records) Epoch(ctx context.Context, n uint64) (list []uint64, err error) {
	err = r.h.ledger.View(ctx, func(rows book.Reader) error {
		row := book.Get[epoch.Epoch](rows, epoch.Key(n))
		if row == nil {
			return ledger.ErrNotFound
		}
		list = nil
		for _, index := range []uint64{row.CommittedIndex, row.ActivatedIndex, row.ClosedIndex, row.RevealedIndex} {
			if index > 0 {
				list = append(list, index)
			}
		}
		return nil
	})
	return list, err
}

// Keys returns the entries of the house's keys in the order of the log, the first entry among them.
func (r *Records) Keys(ctx context.Context) (list []uint64, err error) {
	err = r.h.ledger.View(ctx, func(rows book.Reader) error {
		list = []uint64{0}
		for _, k := range keys.List(rows) {
			list = append(list, k.Introduced, k.Retired) // 0 stands for entry 0, and for none
		}
		return nil
	})
	slices.Sort(list)
	return slices.Compact(list), err
}

// Blob is what an entry names by its digest.
func (r *Records) Blob(ctx context.Context, digest [32]byte) ([]byte, error) {
	return r.h.Blob(ctx, digest)
}

// Checkpoint is the newest one that the house shows: with cosignatures where witnesses are asked.
func (r *Records) Checkpoint() []byte {
	if s := r.h.ledger.Cosigned(); s != nil {
		return s.Checkpoint
	}
	if s := r.h.ledger.Signed(); s != nil {
		return s.Checkpoint
	}
	return nil
}

// errVouch refuses a checkpoint that is not one of this log.
var errVouch = errors.New("expected one that this house signed")

// Vouch fails unless a key that the log has or had signed the checkpoint, and the log is still what it says.
func (r *Records) Vouch(checkpoint []byte) error {
	head, err := tlog.Peek(checkpoint)
	if err != nil {
		return err
	}
	root, err := r.h.ledger.Root(head.Size)
	if err != nil || root != head.Root || head.Origin != r.h.cfg.Origin {
		return fmt.Errorf("%w: %s at size %d has another root", errVouch, head.Origin, head.Size)
	}
	all, err := r.h.Keys(context.Background())
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.Role != system.RoleCheckpoint || !k.InForce(head.Size) {
			continue
		}
		v, err := tlog.NewVerifier(k.Public)
		if err != nil {
			return err
		}
		if _, err := tlog.Open(checkpoint, v); err == nil {
			return nil
		}
	}
	return errVouch
}

// signPatience is how long an export waits for its signature.
const signPatience = time.Minute

// Sign signs a statement with the key for exports.
func (r *Records) Sign(payload []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), signPatience)
	defer cancel()
	return r.h.Sign(ctx, payload)
}

// Room fails when the disk has no room for what is not play.
func (r *Records) Room() error { return r.room() }
