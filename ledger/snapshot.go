package ledger

import (
	"context"
	"fmt"

	"countroom/ledger/store"
)

// Snapshot returns the log, its books and its vault as of a signed head, with
// the checkpoint that signs exactly that head. Whoever gets the reader closes
// it; the writer does not wait for him.
func (l *Ledger) Snapshot(ctx context.Context) (store.Reader, *Signed, error) {
	for {
		r, err := l.store.Snapshot()
		if err != nil {
			return nil, nil, err
		}
		size := r.Head().Size
		err = l.awaitSigned(ctx, size)
		s := l.signed.Load()
		switch {
		case err != nil:
		case s == nil:
			err = fmt.Errorf("%w: the log is empty", ErrNotFound)
		case s.Size == size:
			return r, s, nil
		case l.cfg.ReadOnly:
			err = fmt.Errorf("%w: it was opened read-only, and the signature of its newest entries was not stored", ErrStopped)
		}
		if closed := r.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return nil, nil, err
		}
		// The log went on between the snapshot and the look at the signature.
	}
}
