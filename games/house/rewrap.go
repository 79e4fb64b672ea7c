package house

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// The keys of players are wrapped anew now and then, under the key of the next
// period. Once the log says that all of them are, the key of the period before the
// last is given up: a copy of the vault that was made by then, on a disk, in a
// back-up or in the consensus of a pair, opens no player's data any more.

const (
	// vaultPeriod is the row that shows a machine whether its keys of periods are
	// this house's: when the period began (8 bytes, Unix microseconds) and the log's
	// name, wrapped like a player's key. A house from before there were periods has
	// none until its rows have been wrapped for the first time.
	vaultPeriod = "vault/period"
	// vaultRewrapping is there while rows are being wrapped for the next period: the
	// log's name, wrapped for that one.
	vaultRewrapping = "vault/rewrapping"
)

// RewrapEvery is how long a period of the vault is, unless something else is
// configured.
const RewrapEvery = 30 * 24 * time.Hour

// ErrMoving refuses what has to wait until an older house's rows have been moved
// to where each player has a key of his own.
var ErrMoving = errors.New("the vault is being wrapped anew for the first time")

var errPeriodKey = errors.New("the key in vault-period.key is not this house's: restore the key file that belongs to this log, or copy it from the other machine of the pair")

// checkPeriods holds the keys of periods against the log and its vault, and gives
// up those that are not needed any more.
func (h *House) checkPeriods(context.Context) error {
	var inLog uint64
	rows := map[string][]byte{vaultPeriod: nil, vaultRewrapping: nil}
	err := h.ledger.Peek(func(d ledger.Durable) error {
		inLog = subjects.Now(d).Period
		for key := range rows {
			rows[key] = vaultRow(d, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !h.ledger.ReadOnly() {
		if err := h.leavePeriods(inLog); err != nil {
			return err
		}
	}
	now := inLog
	for key, row := range rows {
		if row == nil {
			continue
		}
		switch _, err := h.vault.unwrap(key, row); {
		case errors.Is(err, ErrPeriodOver):
			h.cfg.Log.Error("the vault is of a period that is over: what it has about players does not open any more", "row", key, "error", err)
		case err != nil:
			return fmt.Errorf("%w: %w", errPeriodKey, err)
		default:
			n, _ := periodOf(row)
			now = max(now, n)
		}
	}
	return h.vault.enter(max(now, h.vault.first()))
}

// leavePeriods gives up the keys of all periods before the one that came before
// the log's.
func (h *House) leavePeriods(inLog uint64) error {
	if inLog == 0 {
		return nil
	}
	return h.vault.forget(inLog-1, h.cfg.KeepVaultOldest)
}

// FollowPeriods gives up keys as the log says that another machine did.
func (h *House) FollowPeriods() error {
	var inLog uint64
	err := h.ledger.Peek(func(d ledger.Durable) error {
		inLog = subjects.Now(d).Period
		return nil
	})
	if err != nil {
		return err
	}
	return h.leavePeriods(inLog)
}

// periodRow is the row vaultPeriod of a period that begins.
func (h *House) periodRow(at entry.Time) ([]byte, error) {
	return h.vault.wrap(vaultPeriod, append(binary.BigEndian.AppendUint64(nil, uint64(at)), h.cfg.Origin...))
}

// beginPeriods writes what the vault of a house must have that is about to play:
// on the writer. A vault that is older than the keys there are is caught up with.
func (h *House) beginPeriods(tx *ledger.Tx, fresh bool) error {
	oldest := h.vault.first()
	inLog := subjects.Now(tx).Period
	over := inLog < oldest
	for ; inLog < oldest; inLog++ {
		if _, err := tx.Append(&subjects.Rewrapped{Header: byHouse(), Period: inLog + 1}); err != nil {
			return err
		}
	}
	switch {
	case fresh || over:
		row, err := h.periodRow(tx.At())
		if err != nil {
			return err
		}
		tx.PutVault(vaultPeriod, row)
		tx.PutVault(vaultRewrapping, nil)
	case vaultRow(tx, vaultPeriod) == nil && vaultRow(tx, vaultRewrapping) == nil: // from before there were periods
		if err := h.vault.enter(inLog + 1); err != nil {
			return err
		}
		row, err := h.vault.wrap(vaultRewrapping, []byte(h.cfg.Origin))
		if err != nil {
			return err
		}
		tx.PutVault(vaultRewrapping, row)
	}
	return nil
}

// keepVault has the vault wrapped anew when it is time.
func (h *House) keepVault() {
	defer h.done.Done()
	ctx, cancel := h.seeds.untilQuit()
	defer cancel()
	failing := false
	for {
		err := h.rewrapDue(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			h.cfg.Log.Error("the vault cannot be wrapped anew", "error", err)
		}
		failing = err != nil
		select {
		case <-time.After(min(max(h.cfg.VaultPeriod/8, 100*time.Millisecond), time.Minute)):
		case <-ctx.Done():
			return
		}
	}
}

func (h *House) rewrapDue(ctx context.Context) error {
	if h.ledger.Ready() != nil {
		return nil // the ledger says so itself
	}
	if !h.rewrapping.TryLock() {
		return nil // somebody does it
	}
	defer h.rewrapping.Unlock()
	if err := h.FollowPeriods(); err != nil { // where the last key could not be given up
		return err
	}
	due := false
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		due = vaultRow(rows, vaultRewrapping) != nil
		row := vaultRow(rows, vaultPeriod)
		if due || row == nil {
			return nil
		}
		plain, err := h.vault.unwrap(vaultPeriod, row)
		if err == nil && len(plain) < 8 {
			err = fmt.Errorf("%s: %w", vaultPeriod, errVault)
		}
		if err == nil {
			due = h.ledger.Now() >= entry.Time(binary.BigEndian.Uint64(plain)).Add(h.cfg.VaultPeriod)
		}
		return err
	})
	if err != nil || !due {
		return err
	}
	done, err := h.rewrap(ctx)
	if err == nil {
		h.cfg.Log.Info("the vault was wrapped anew", "period", done.Period, "subjects", done.Subjects, "entry", done.Index)
	}
	return err
}

// RewrappedVault is what wrapping the vault anew came to.
type RewrappedVault struct {
	Period   uint64 // that has begun
	Subjects uint64 // keys of players that are wrapped in it
	Lost     uint64 // rows that do not open: nothing can be done about them
	Index    uint64 // of the entry that says so
}

// Rewrap wraps the keys of all players for the next period and gives up the key
// of the period before the present one. It goes on where one was interrupted. Play
// goes on meanwhile.
func (h *House) Rewrap(ctx context.Context) (done RewrappedVault, err error) {
	h.rewrapping.Lock()
	defer h.rewrapping.Unlock()
	return h.rewrap(ctx)
}

func (h *House) rewrap(ctx context.Context) (done RewrappedVault, err error) {
	var inLog uint64
	older := false
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		inLog = subjects.Now(rows).Period
		older = vaultRow(rows, vaultPeriod) == nil
		return nil
	})
	if err != nil {
		return done, err
	}
	done.Period = inLog + 1
	if err := h.vault.enter(done.Period); err != nil {
		return done, err
	}
	mark, err := h.vault.wrap(vaultRewrapping, []byte(h.cfg.Origin))
	if err != nil {
		return done, err
	}
	// What was wrapped for the present period before this is durable after it, and
	// is seen by what looks for rows from here on.
	_, err = h.ledger.Update(ctx, ledger.Command{Reads: []string{vaultRewrapping}, Run: func(tx *ledger.Tx) error {
		if vaultRow(tx, vaultRewrapping) == nil {
			tx.PutVault(vaultRewrapping, mark)
		}
		return nil
	}})
	if err != nil {
		return done, err
	}
	if older {
		if err := h.moveOlder(ctx); err != nil {
			return done, fmt.Errorf("moving an older house's vault: %w", err)
		}
	}
	for _, kind := range []string{kindSubject, kindPlayerID} {
		lost, err := h.rewrapKind(ctx, kind, done.Period)
		if err != nil {
			return done, fmt.Errorf("wrapping rows of kind %s: %w", kind, err)
		}
		done.Lost += lost
	}
	held, live, err := h.wrappedIn(done.Period)
	if err != nil {
		return done, err
	}
	r, err := h.ledger.Update(ctx, ledger.Command{Reads: []string{subjects.StateKey, vaultPeriod, vaultRewrapping}, Run: func(tx *ledger.Tx) error {
		row, err := h.periodRow(tx.At())
		if err != nil {
			return err
		}
		tx.PutVault(vaultPeriod, row)
		tx.PutVault(vaultRewrapping, nil)
		// Who came since they were counted is wrapped in this period, who was erased was.
		now := subjects.Now(tx).Live
		done.Subjects = min(held+now-live, now)
		_, err = tx.Answer(&subjects.Rewrapped{Header: byHouse(), Period: done.Period, Subjects: done.Subjects})
		return err
	}})
	if err != nil {
		return done, err
	}
	done.Index = r.Index
	return done, h.leavePeriods(done.Period)
}

// exchange is rows that change together, or not at all where one of them is not
// what it was.
type exchange []struct {
	key      string
	was, now []byte // nil: there is none
}

// exchangeMost is how many of these one command makes: play goes on between them.
const exchangeMost = 128

// exchange makes many of them.
func (h *House) exchange(ctx context.Context, list []exchange) error {
	for len(list) > 0 {
		some := list[:min(len(list), exchangeMost)]
		list = list[len(some):]
		var reads []string
		for _, e := range some {
			for _, row := range e {
				reads = append(reads, row.key)
			}
		}
		_, err := h.ledger.Update(ctx, ledger.Command{Reads: reads, Run: func(tx *ledger.Tx) error {
			for _, e := range some {
				same := true
				for _, row := range e {
					same = bytes.Equal(vaultRow(tx, row.key), row.was) && same
				}
				if !same {
					continue // erased meanwhile
				}
				for _, row := range e {
					tx.PutVault(row.key, row.now)
				}
			}
			return nil
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// shards are the beginnings of the keys of a kind of rows: so many at a time that
// memory is bounded.
func shards(kind string, each func(prefix string) error) error {
	for i := range 256 {
		if err := each(fmt.Sprintf("vault/%s/%02x", kind, i)); err != nil {
			return err
		}
	}
	return nil
}

// rewrapKind wraps all rows of a kind for a period, and counts those that do not
// open.
func (h *House) rewrapKind(ctx context.Context, kind string, period uint64) (lost uint64, err error) {
	err = shards(kind, func(prefix string) error {
		var list []exchange
		err := h.ledger.Vault(prefix, func(key string, value []byte) error {
			if wrappedIn(value, period) {
				return nil
			}
			plain, err := h.vault.unwrap(key, value)
			if err != nil {
				h.cfg.Log.Warn("a row of the vault is lost", "error", err)
				lost++
				return nil
			}
			now, err := h.vault.wrap(key, plain)
			list = append(list, exchange{{key, bytes.Clone(value), now}})
			return err
		})
		if err != nil {
			return err
		}
		return h.exchange(ctx, list)
	})
	return lost, err
}

func wrappedIn(sealed []byte, period uint64) bool {
	n, ok := periodOf(sealed)
	return ok && n == period && len(sealed) != oldRef
}

// wrappedIn counts the players whose keys are wrapped in a period, and those who
// should have one.
func (h *House) wrappedIn(period uint64) (held, live uint64, err error) {
	err = h.ledger.Peek(func(d ledger.Durable) error {
		live = subjects.Now(d).Live
		return d.Vault("vault/"+kindSubject+"/", func(_ string, value []byte) error {
			if wrappedIn(value, period) {
				held++
			}
			return nil
		})
	})
	return held, live, err
}

// moveOlder moves the rows of a house from before each player had a key of his
// own: what is about him comes under it.
func (h *House) moveOlder(ctx context.Context) error {
	err := shards(kindPlayerID, func(prefix string) error {
		var list []exchange
		err := h.ledger.Peek(func(rows ledger.Durable) error {
			return h.ledger.Vault(prefix, func(key string, value []byte) error {
				if len(value) != oldRef {
					return nil
				}
				ref, err := h.vault.ref(key, value)
				if err != nil {
					h.cfg.Log.Warn("a row of the vault is lost", "error", err)
					return nil
				}
				player := h.vault.playerRow(ref)
				was := vaultRow(rows, player)
				id, err := h.vault.open(player, was)
				if err != nil {
					h.cfg.Log.Warn("a row of the vault is lost", "error", err)
					return nil
				}
				now, err := h.vault.seat(ref, string(id))
				if err != nil {
					return err
				}
				list = append(list, exchange{{key, bytes.Clone(value), now.id}, {player, bytes.Clone(was), now.player}, {h.vault.subjectRow(ref), nil, now.subject}})
				return nil
			})
		})
		if err != nil {
			return err
		}
		return h.exchange(ctx, list)
	})
	if err != nil {
		return err
	}
	return h.moveOlderWords(ctx)
}

// stateChanged is in the leaf of every entry that changed a player's state.
var stateChanged = []byte(`"type":"` + (*players.StateChanged)(nil).Type() + `"`)

// moveOlderWords brings the operator's words about players under the keys of
// these. Which they are is in the log.
func (h *House) moveOlderWords(ctx context.Context) error {
	const step = 4096
	size := h.ledger.Signed().Size
	for from := uint64(0); from < size; from += step {
		var changes []players.StateChanged
		err := h.ledger.Leaves(from, min(from+step, size), func(index uint64, leaf []byte) error {
			if !bytes.Contains(leaf, stateChanged) {
				return nil
			}
			var r players.StateChanged
			if err := entry.Decode(leaf, &r); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			changes = append(changes, r)
			return nil
		})
		if err != nil {
			return err
		}
		var list []exchange
		err = h.ledger.Peek(func(rows ledger.Durable) error {
			for _, r := range changes {
				older := h.vault.name("reason", string(r.Reason[:]))
				was := vaultRow(rows, older)
				if was == nil {
					continue
				}
				words, err := h.vault.open(older, was)
				if err == nil {
					var p personal
					subject := h.vault.subjectRow(r.Player)
					if p, err = h.vault.personal(subject, vaultRow(rows, subject)); err == nil {
						key := h.vault.wordsRow(r.Player, r.Reason)
						list = append(list, exchange{{older, bytes.Clone(was), nil}, {key, nil, p.seal(key, words)}})
					}
				}
				if err != nil {
					h.cfg.Log.Warn("a row of the vault is lost", "error", err)
				}
			}
			return nil
		})
		if err == nil {
			err = h.exchange(ctx, list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
