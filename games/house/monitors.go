package house

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"countroom/games/books"
	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// monitors watches the chance of the house's games, as a fold that trails the log: it reads what is durable and signed and
// never holds play up. What it finds it writes down, as whoever verifies the log expects it to.
type monitors struct {
	h    *House
	next uint64 // the entry to be read next

	mu    sync.Mutex // of watch, which MonitorViews reads
	watch *monitor.Watch
}

// MonitorView is how a game's monitor stands.
type MonitorView struct {
	Game      string
	Rounds    uint64 // of the release
	Strongest string // component with the most evidence in the present window
	Evidence  int64  // its evidence in bits
	Threshold uint64 // at which there is an alarm
}

// Monitors tells how the monitors of all games stand, as of a moment ago.
func (h *House) Monitors() (list []MonitorView) {
	m := &h.monitors
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watch == nil {
		return nil
	}
	for id, g := range m.watch.Games {
		v := MonitorView{Game: id, Rounds: g.Rounds(), Threshold: g.Threshold()}
		v.Strongest, v.Evidence = g.Strongest()
		list = append(list, v)
	}
	return list
}

// begin finds out from where each game has to be read: behind what was observed last, or from where its watch began.
func (m *monitors) begin(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watch = monitor.NewWatch()
	known := map[string]monitor.Watched{}
	err := m.h.ledger.View(ctx, func(rows book.Reader) error {
		all := book.Get[rounds.Games](rows, rounds.GamesKey)
		if all == nil {
			return nil
		}
		for _, id := range all.IDs {
			if w := book.Get[monitor.Watched](rows, monitor.Key(id)); w != nil {
				known[id] = *w
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	m.next = m.h.ledger.Signed().Size
	for id, w := range known {
		v, ok := m.h.machines.Load(w.Maths)
		if !ok {
			return fmt.Errorf("game %s: maths %x are not loaded", id, w.Maths)
		}
		m.watch.Enabled(id, w.Maths, v.(*game).machine.Definition())
		from := w.Since
		if w.Observed > 0 {
			e, err := m.h.ledger.Entry(w.Observed)
			if err != nil {
				return err
			}
			var o monitor.Observed
			if err := entry.Decode(e.Leaf, &o); err != nil {
				return fmt.Errorf("entry %d: %w", w.Observed, err)
			}
			if err := m.watch.Resume(&o); err != nil {
				return fmt.Errorf("entry %d: %w", w.Observed, err)
			}
			from = w.Through + 1
		}
		m.next = min(m.next, from)
	}
	return nil
}

// monitorPause is between two looks at the log; as for tendEvery, no multiple of
// another pause.
const monitorPause = 250*time.Millisecond + 61*time.Microsecond

// tend reads on and writes down what is owed.
func (m *monitors) tend() {
	defer m.h.done.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-m.h.quit
		cancel()
	}()
	failing := false
	for {
		err := m.step(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing {
			m.h.cfg.Log.Error("the monitors of chance stand still", "error", err)
		}
		failing = err != nil
		select {
		case <-time.After(monitorPause):
		case <-ctx.Done():
			return
		}
	}
}

func (m *monitors) step(ctx context.Context) error {
	if m.h.ledger.Ready() != nil {
		return nil // the ledger says so itself
	}
	for {
		signed := m.h.ledger.Signed()
		// So many at a time that views and the end of the house do not wait long.
		to := min(signed.Size, m.next+4096)
		if err := m.read(m.next, to); err != nil {
			return err
		}
		m.next = to
		if to == signed.Size {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return m.pay(ctx)
}

// read takes a part of the log.
func (m *monitors) read(from, to uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.h.ledger.Leaves(from, to, func(index uint64, leaf []byte) error {
		typ, err := entry.TypeOf(leaf)
		if err != nil {
			return err
		}
		switch typ {
		case (*rounds.Settled)(nil).Type(), (*rounds.GameEnabled)(nil).Type(), (*monitor.Alarmed)(nil).Type(), (*monitor.Observed)(nil).Type():
		default:
			return nil
		}
		r, err := books.Decode(leaf)
		if err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		switch r := r.(type) {
		case *rounds.Settled:
			m.watch.Round(index, r)
		case *rounds.GameEnabled:
			if v, ok := m.h.machines.Load(r.Maths); ok {
				m.watch.Enabled(r.Game, r.Maths, v.(*game).machine.Definition())
			}
		default:
			if err := m.watch.Take(r); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
		}
		return nil
	})
}

// errNotOwed says that an entry was overtaken: the game has another release.
var errNotOwed = errors.New("not owed any more")

// pay writes down what is owed, in order. Each is taken when it is read in the log.
func (m *monitors) pay(ctx context.Context) error {
	var ids []string
	m.mu.Lock()
	for id := range m.watch.Games {
		ids = append(ids, id)
	}
	m.mu.Unlock()
	for _, id := range ids {
		for {
			m.mu.Lock()
			owed := m.watch.Owed(id)
			m.mu.Unlock()
			if owed == nil {
				break
			}
			if err := m.append(ctx, id, owed); err != nil && !errors.Is(err, errNotOwed) {
				return err
			}
			before := m.next
			if err := m.read(before, m.h.ledger.Signed().Size); err != nil {
				return err
			}
			m.next = m.h.ledger.Signed().Size
			if m.next == before {
				return nil // not signed yet: the next step reads it
			}
		}
	}
	return nil
}

func (m *monitors) append(ctx context.Context, id string, owed entry.Record) error {
	_, err := m.h.ledger.Update(ctx, ledger.Command{Reads: []string{monitor.Key(id), rounds.GameKey(id)}, Run: func(tx *ledger.Tx) error {
		w := book.Get[monitor.Watched](tx, monitor.Key(id))
		switch r := owed.(type) {
		case *monitor.Observed:
			if w == nil || w.Maths != r.Maths || w.Rounds >= r.Rounds {
				return errNotOwed
			}
			o := *r
			o.Header = byHouse()
			_, err := tx.Append(&o)
			return err
		case *monitor.Alarmed:
			if w == nil || w.Maths != r.Maths {
				return errNotOwed
			}
			a := *r
			a.Header = byHouse()
			g := book.Get[rounds.Game](tx, rounds.GameKey(id))
			a.Suspended = m.h.cfg.SuspendOnAlarm && g != nil && g.On
			_, err := tx.Append(&a)
			return err
		}
		return fmt.Errorf("a %s is owed, which nobody makes", owed.Type())
	}})
	if err == nil {
		if a, ok := owed.(*monitor.Alarmed); ok {
			m.h.alarmed.Add(1)
			m.h.cfg.Log.Error("the chance of a game is not what it should be", "game", id, "monitor", a.Monitor, "evidence_bits", a.Evidence, "round", a.Round)
		}
	}
	return err
}

// Alarmed is the number of alarms that the monitors of this process raised.
func (h *House) Alarmed() uint64 { return h.alarmed.Load() }
