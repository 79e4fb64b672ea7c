package house

import (
	"context"

	"countroom/games/monitor"
)

// OweAlarm has the house write an alarm that no round led to: an honest house never has one of its own.
func (h *House) OweAlarm(ctx context.Context, a *monitor.Alarmed) error {
	return h.monitors.append(ctx, a.Game, a)
}

// FailSelfTest has the generator of draws fail its self-test, until undo.
func FailSelfTest(err error) (undo func()) {
	was := selfTest
	selfTest = func() error { return err }
	return func() { selfTest = was }
}
