package house

import (
	"context"
	"fmt"

	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/rngcert/epoch"
)

// actives is the index group of the processes that became the writer. It has
// them from the release that knows it on.
const actives ledger.Group = 'a'

// load holds the log against this house's keys and takes in what is needed to
// play from where it ends.
func (h *House) load(ctx context.Context) error {
	if h.ledger.Size() == 0 {
		return nil
	}
	for _, check := range []func(context.Context) error{h.checkIdentity, h.checkVault, h.checkPeriods, h.loadGames} {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TakeOver makes the house of a ledger that was just promoted the one that
// plays: it opens the secrets of the seed epochs that can still draw, says in
// the log that it is the writer, and goes on after the last durable draw. Where
// the secret of the next draw does not open it writes, too, and Ready is ErrSealed.
// Planned says that the machine before handed over.
func (h *House) TakeOver(ctx context.Context, planned bool) error {
	if err := h.load(ctx); err != nil {
		return err
	}
	if h.ledger.Size() > 0 {
		if err := h.seeds.load(ctx); err != nil {
			return err
		}
	}
	return h.begin(ctx, planned)
}

// begin makes this process the writer and has it look after the seeds.
func (h *House) begin(ctx context.Context, planned bool) error {
	if err := h.start(ctx, planned); err != nil {
		return err
	}
	if err := h.sources.begin(ctx); err != nil {
		return err
	}
	if err := h.seeds.begin(ctx); stopped(err) {
		h.cfg.Log.Error("nobody can play before the sources of entropy are back", "error", err)
	} else if err != nil {
		return err
	}
	if err := h.monitors.begin(ctx); err != nil {
		return fmt.Errorf("monitors of chance: %w", err)
	}
	h.done.Add(3)
	go h.keepVault()
	go h.seeds.tend()
	go h.monitors.tend()
	if h.cfg.External.Policy != epoch.PolicyNone || h.seeds.waits.Load() > 0 || h.seeds.anySealed() {
		h.done.Add(1)
		go h.seeds.reach()
	}
	if h.cfg.Sources != nil {
		h.done.Add(1)
		go h.sources.tend()
	}
	if h.cfg.Look != nil {
		h.done.Add(1)
		go h.lookDaily()
	}
	return nil
}

// active is the entry by which this process becomes the writer, of a log that
// had a head when it found it.
func (h *House) active(size uint64, signed *ledger.Signed, reason string) entry.Record {
	var root [32]byte
	if signed != nil {
		root = signed.Root
	}
	if h.cfg.Members == nil {
		return &system.HouseActive{Header: byHouse(), Node: h.cfg.Node, Reason: reason, Release: h.cfg.Release, Root: root, Size: size, Term: h.ledger.Term()}
	}
	return &system.PairActive{
		Header: byHouse(), Members: h.cfg.Members(), Node: h.cfg.Node, Reason: reason, Release: h.cfg.Release, Root: root, Size: size, Term: h.ledger.Term(),
	}
}

// why is the reason for which this process becomes the writer.
func (h *House) why(planned bool) (string, error) {
	if h.ledger.Signed() == nil {
		return "created", nil
	}
	if h.cfg.Members == nil {
		return system.ReasonStart, nil
	}
	found, err := h.ledger.Find(actives, [16]byte{}, 1<<63, 1)
	if err != nil || len(found) == 0 {
		return system.ReasonStart, err
	}
	e, err := h.ledger.Entry(found[0])
	if err != nil {
		return "", err
	}
	typ, err := entry.TypeOf(e.Leaf)
	if err != nil || typ != (*system.PairActive)(nil).Type() {
		return system.ReasonStart, err
	}
	var last system.PairActive
	if err := entry.Decode(e.Leaf, &last); err != nil {
		return "", fmt.Errorf("entry %d: %w", e.Index, err)
	}
	switch {
	case last.Node == h.cfg.Node:
		return system.ReasonStart, nil
	case planned:
		return system.ReasonSwitchover, nil
	}
	return system.ReasonTakeover, nil
}
