package worlds

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"countroom/ledger"
	"countroom/ledger/store"
)

// How long things may take once the faults are over, in steps of the schedule: one is a
// single turn of anybody, and a command takes a dozen.
const (
	stormMost = 10000
	calmMost  = 20000
)

func (w *world) chance(thousandths int) bool {
	return thousandths > 0 && w.rnd.IntN(1000) < thousandths
}

// live runs the world: the storm, until most is done; the calm, in which all
// must get done; and the time until the last seed is revealed.
func (w *world) live() *violation {
	for range stormMost {
		w.settle()
		if v := w.look(); v != nil {
			return v
		}
		if w.remaining() <= w.weather.commands/10 {
			break
		}
		if v := w.storm(); v != nil {
			return v
		}
	}
	w.calmDown()
	for steps := 0; !w.everybodyIsDone(); steps++ {
		if steps == calmMost {
			return &violation{lawLiveness, "the faults are over, but some wait for ever: " + w.whoWaits()}
		}
		if v := w.calm(); v != nil {
			return v
		}
	}
	if w.process != nil { // so that what was answered last is looked for, too
		w.crash()
	}
	for steps := 0; !w.everythingIsRevealed(); steps++ {
		if steps == calmMost {
			return &violation{lawLiveness, "not every seed is revealed"}
		}
		if v := w.calm(); v != nil {
			return v
		}
	}
	return w.lastJudgement()
}

// look notices what happened by itself: a process that would have ended, one
// that is up, a viewer who got on.
func (w *world) look() *violation {
	if a := w.viewer; a != nil && (a.isHeard() || w.commandTurns > w.viewerTurns) {
		w.viewer = nil
	}
	p := w.process
	if p == nil {
		return nil
	}
	if p.welcomed {
		w.evidence.learn(p.app.Ledger.VKey())
	}
	p.mu.Lock()
	opened, openErr, fatal, roomy := p.opened, p.openErr, p.fatal, p.roomy
	p.mu.Unlock()
	switch {
	case opened && openErr != nil:
		w.say("it does not start: %v", openErr)
		switch {
		case errors.Is(openErr, ledger.ErrFork):
			return broken(lawGuard, "the house refuses its own disk: %v", openErr)
		case strings.Contains(openErr.Error(), "restore the key file"):
			return broken(lawKeys, "%v", openErr)
		case errors.Is(openErr, store.ErrCorrupt) && !p.readsFailed:
			return broken(lawLost, "the store is damaged: %v", openErr)
		case !p.unsound:
			return broken(lawLiveness, "nothing is wrong with the machine, and the house does not start: %v", openErr)
		}
		w.kill(lossNone)
	case opened && !p.welcomed:
		p.welcomed = true
		w.token = p.app.Tokens.Operator
		w.regulator = p.app.Tokens.Regulator
		w.say("up: size %d, term %d, read-only %v", p.app.Store.Head().Size, p.app.Ledger.Term(), p.app.ReadOnly)
		return w.judge()
	case roomy && !p.failing:
		p.failing = true
		w.say("there is room: it is opened again")
	case fatal != nil && !p.failing:
		p.failing = true
		w.say("the ledger stops: %v", fatal)
	}
	return nil
}

// action is something that can happen next.
type action struct {
	weight int
	do     func() *violation
}

// storm lets the next thing happen, whatever it is.
func (w *world) storm() *violation {
	var actions []action
	add := func(weight int, do func() *violation) {
		if weight > 0 {
			actions = append(actions, action{weight, do})
		}
	}
	p := w.process
	if p != nil && p.doom.at != "" && p.doom.left <= 0 {
		w.crash()
		return nil
	}
	if p == nil {
		add(100, func() *violation { w.start(); return nil })
	}
	add(20, func() *violation { w.sleep(time.Duration(1+w.rnd.IntN(300)) * time.Millisecond); return nil })
	add(1, func() *violation { w.sleep(time.Duration(1+w.rnd.IntN(20)) * time.Second); return nil })
	add(w.weather.step, func() *violation { w.stepClock(); return nil })
	add(w.weather.turnsBad, func() *violation { w.turnWeather(); return nil })
	if w.weather.now != (weatherNow{}) { // it passes
		add(15, func() *violation { w.weather.now = weatherNow{}; w.say("weather: fair"); w.applyWeather(); return nil })
	}
	if p != nil {
		if p.failing {
			add(500, func() *violation { w.crash(); return nil })
		}
		if w.crashes < w.weather.crashesMost {
			add(w.weather.crash, func() *violation { w.crash(); return nil })
		}
		if n := len(p.pending); n > 0 {
			add(60*w.weather.haste, func() *violation {
				t := p.pending[w.rnd.IntN(n)]
				w.give(t, w.verdict(t.kind))
				return nil
			})
		}
	}
	if w.board.isHeard() {
		add(200, w.board.hear)
	} else if w.board.ready() {
		add(40, func() *violation { w.board.act(); return nil })
	}
	for _, a := range w.attempts {
		if a.isHeard() {
			add(200, func() *violation { return w.hear(a) })
		} else if !a.abandoned && a.cmd.inside < 3 {
			add(w.weather.impatient, func() *violation {
				a.abandoned = true
				w.say("%v waits no longer for %s %q", a.cmd.client, a.cmd.kind, a.cmd.key)
				return nil
			})
		}
	}
	if w.viewer == nil && w.token != "" {
		for _, c := range w.clients {
			if c.ready() {
				add(60, func() *violation { c.send(); return nil })
			}
		}
	}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	n := w.rnd.IntN(total)
	for _, a := range actions {
		if n -= a.weight; n < 0 {
			return a.do()
		}
	}
	panic("unreachable")
}

// calm lets everything happen that can, in its order, and then some time pass.
func (w *world) calm() *violation {
	w.settle()
	if v := w.look(); v != nil {
		return v
	}
	p := w.process
	if p == nil {
		w.start()
		return nil
	}
	if p.failing {
		w.crash()
		return nil
	}
	if len(p.pending) > 0 {
		t := p.pending[0]
		w.give(t, w.sabotage.calmVerdict(t.kind))
		return nil
	}
	if w.board.isHeard() {
		return w.board.hear()
	}
	if w.board.ready() {
		w.board.act()
		return nil
	}
	for _, a := range w.attempts {
		if a.isHeard() {
			return w.hear(a)
		}
	}
	if w.viewer == nil && w.token != "" {
		for _, c := range w.clients {
			if c.ready() {
				c.send()
				return nil
			}
		}
	}
	w.sleep(200 * time.Millisecond)
	return nil
}

// calmDown ends all faults.
func (w *world) calmDown() {
	w.say("calm")
	f := &w.weather
	f.now = weatherNow{}
	f.lose, f.impatient = 0, 0
	w.board.left, w.board.lose = 0, 0
	w.applyWeather()
}

func (w *world) sleep(d time.Duration) {
	time.Sleep(d)
	w.say("slept %v", d)
}

func (w *world) stepClock() {
	step := time.Duration(w.rnd.Int64N(int64(4*time.Second))) - 2*time.Second
	if w.rnd.IntN(4) == 0 {
		step *= 30
	}
	w.skew.Add(int64(step))
	w.evidence.census.faults[faultClock]++
	w.say("the clock steps by %v", step)
}

// give lets a goroutine go on.
func (w *world) give(t *turn, verdict error) {
	p := w.process
	w.say("%s %s (of %d): %v", t.kind, t.who, len(p.pending), verdict)
	if verdict != nil {
		p.unsound = true
	}
	if verdict != nil && t.kind == turnEntropy {
		w.evidence.unplug(p, t.who)
	}
	p.mu.Lock()
	p.pending = slices.DeleteFunc(p.pending, func(o *turn) bool { return o == t })
	p.mu.Unlock()
	t.give <- verdict
}

// crash ends the process at any point.
func (w *world) crash() {
	l := loss(w.rnd.IntN(3))
	w.crashes++
	w.evidence.census.crashes++
	w.say("crash: %s", [...]string{"the process dies", "the power goes with all that was not synced", "the power goes with some of what was not synced"}[l])
	w.kill(l)
}

func (w *world) remaining() (n int) {
	for _, c := range w.clients {
		n += c.left
	}
	return n
}

func (w *world) everybodyIsDone() bool {
	return len(w.attempts) == 0 && !slices.ContainsFunc(w.clients, func(c *client) bool { return !c.finished() })
}

func (w *world) whoWaits() (s string) {
	for _, c := range w.clients {
		if c.now != nil {
			s += fmt.Sprintf("%v for %s %q after %d tries; ", c, c.now.kind, c.now.key, c.now.tries)
		}
	}
	return s
}
