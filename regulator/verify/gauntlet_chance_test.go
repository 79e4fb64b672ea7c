package verify

import (
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// A house that does not like what its monitors of chance see.

func init() { contradictions = append(contradictions, chanceFrauds...) }

// busy makes the town one in which so much is played that monitors have something to say.
func (t *town) busy() {
	t.House = logtest.New(logtest.Config{Seed: 3, Step: time.Microsecond, Limits: epoch.Limits{AgeSeconds: 600, Draws: 1 << 20, RevealDelaySeconds: 5}})
	t.who = []logtest.Player{t.Join(500_000), t.Join(500_000)}
}

// until plays until a round was the n-th of the game, and returns its index.
func (t *town) until(n int) (index uint64) {
	stop := false
	t.Tamper = func(i uint64, r entry.Record) {
		if _, ok := r.(*rounds.Settled); ok {
			if n--; n == 0 {
				index, stop = i, true
			}
		}
	}
	for !stop {
		t.Play(t.who, 1)
	}
	t.Tamper = nil
	return index
}

func alarm(t *town, change func(*monitor.Alarmed)) uint64 {
	a := &monitor.Alarmed{Evidence: 30, Game: lamplight, Maths: slots.Bundled().Hash(), Monitor: "draws/32", Round: t.Size() - 1, Rounds: 60}
	change(a)
	return t.Append(a)
}

var chanceFrauds = []contradiction{
	{name: "an alarm that no round leads to takes a game out of play", typ: "chance.alarmed", rule: "chance-alarm", expected: "none", found: `"monitor":"draws/32"`,
		commit: func(t *town) uint64 { return alarm(t, func(a *monitor.Alarmed) {}) }},
	{name: "an alarm about maths that are not played", typ: "chance.alarmed", rule: "chance-game",
		commit: func(t *town) uint64 { return alarm(t, func(a *monitor.Alarmed) { a.Maths[0] ^= 1 }) }},
	{name: "an alarm suspends a game that is disabled", typ: "chance.alarmed", rule: "game-state",
		commit: func(t *town) uint64 {
			t.Disable(lamplight)
			return alarm(t, func(a *monitor.Alarmed) { a.Suspended = true })
		}},
	{name: "counts are written down before there is anything to count", typ: "chance.observed", rule: "chance-observed", expected: "16384 rounds", found: "5",
		commit: func(t *town) uint64 {
			return t.Append(&monitor.Observed{Game: lamplight, Maths: slots.Bundled().Hash(), Rounds: 5, Through: t.Size() - 1})
		}},
	{name: "the counts that are written down are smoothed", typ: "chance.observed", rule: "chance-observed",
		commit: func(t *town) uint64 {
			t.busy()
			return with(t, func(r *monitor.Observed) { r.Streams[0].Counts[3]++ }, func() { t.Play(t.who, monitor.ObservedRounds) })
		}},
	{name: "nothing is written down", typ: "round.settled", rule: "chance-late", expected: "a chance.observed of 16384 rounds", found: "none",
		commit: func(t *town) uint64 {
			t.busy()
			t.Silent = true
			return t.until(2 * monitor.ObservedRounds)
		}},
	{name: "a player is favoured, and the alarm of the monitor is kept back", typ: "round.settled", rule: "chance-late", expected: "a chance.alarmed of return-high/",
		commit: func(t *town) uint64 {
			t.busy()
			t.Silent = true
			favoured, play := t.who[0].Ref, books.Play{}
			machine, err := slots.Compile(slots.Bundled())
			if err != nil {
				panic(err)
			}
			t.Draw = func(honest [32]byte, player entry.Ref, _ uint64) [32]byte {
				best, most := honest, int64(-1)
				for i := range byte(4) {
					r := honest
					r[0] ^= i
					if err := play.Round(machine, r, 100); err != nil {
						panic(err)
					}
					if play.Payout > most && player == favoured {
						best, most = r, play.Payout
					}
				}
				return best
			}
			var alarmed int
			n := 0
			watch := monitor.NewWatch()
			watch.Enabled(lamplight, slots.Bundled().Hash(), slots.Bundled())
			var last uint64
			t.Tamper = func(i uint64, r entry.Record) {
				settled, ok := r.(*rounds.Settled)
				if !ok {
					return
				}
				n++
				watch.Round(i, settled)
				last = i
				if watch.Owed(lamplight) != nil && alarmed == 0 {
					alarmed = n
				}
			}
			for alarmed == 0 || n < alarmed+monitor.ObservedRounds {
				t.Play(t.who, 1)
			}
			t.Tamper = nil
			return last
		}},
}

// An honest house of which much is played says what its monitors counted, and the report what they see.
func TestChanceOfAnHonestHouse(t *testing.T) {
	town := newTown()
	town.busy()
	town.Play(town.who, 2*monitor.ObservedRounds+100)
	r, err := check(t, town.House)
	mustHold(t, r, err)
	if r.Types["chance.observed"] != 2 || len(r.Chance) != 1 || r.Chance[0].Rounds != 2*monitor.ObservedRounds+100 || r.Chance[0].Alarms != 0 || r.Chance[0].Threshold != 26 {
		t.Errorf("%+v, %+v", r.Types, r.Chance)
	}
}

// An alarm that is owed and raised is no evidence, but the report says it.
func TestAnHonestAlarm(t *testing.T) {
	town := newTown()
	town.busy()
	town.Draw = func(honest [32]byte, _ entry.Ref, _ uint64) [32]byte { return [32]byte{1: honest[0] & 1} } // two draws for ever
	town.Play(town.who, 2000)
	r, err := check(t, town.House)
	if err != nil || !r.OK() {
		t.Fatalf("%v, %+v", err, r.Findings)
	}
	if len(r.Chance) != 1 || r.Chance[0].Alarms == 0 || len(r.Warnings) != 1 || r.Warnings[0] == "" {
		t.Errorf("%+v, %q", r.Chance, r.Warnings)
	}
}
