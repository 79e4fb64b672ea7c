package house

import (
	"context"

	"countroom/games/monitor"
)

// OweAlarm has the house write an alarm that no round led to: an honest house never has one of its own.
func (h *House) OweAlarm(ctx context.Context, a *monitor.Alarmed) error {
	return h.monitors.append(ctx, a.Game, a)
}
