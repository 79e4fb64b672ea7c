package logtest

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// Small is a game of one line and short leaves.
func Small() *slots.Definition {
	names := strings.Fields("wild scatter apple berry cherry berry apple cherry")
	d := &slots.Definition{
		ID: "small", Name: "Small", Version: "1.0.0", Lines: [][5]int{{1, 1, 1, 1, 1}}, Stakes: []int64{1, 10, 50}, MaxWin: 500,
		FreeSpins: slots.FreeSpins{Awards: [5]int{0, 0, 2, 3, 4}, Maximum: 6, Multiplier: 2},
		Symbols: []slots.Symbol{
			{Name: "wild", Role: slots.RoleWild, Pays: [5]int64{0, 0, 10, 50, 500}},
			{Name: "scatter", Role: slots.RoleScatter},
			{Name: "apple", Role: slots.RoleLine, Pays: [5]int64{0, 1, 4, 20, 100}},
			{Name: "berry", Role: slots.RoleLine, Pays: [5]int64{0, 1, 2, 10, 20}},
			{Name: "cherry", Role: slots.RoleLine, Pays: [5]int64{0, 0, 2, 5, 10}},
		},
	}
	for reel := range d.Base {
		d.Base[reel] = names
		d.Free[reel] = names[:5]
	}
	return d
}

// Live has a crowd play rounds, amid everything else that happens to an honest
// house: accounts in several currencies that are opened, suspended and closed,
// two games that come, go and are released anew, sessions that are left and
// that expire, quiet hours, jumps of the clock, alarms, restarts and
// restored back-ups.
func (h *House) Live(count int) {
	l := &life{House: h, rnd: rand.New(h.random), release: 1}
	h.Add(Small())
	h.Enable("small")
	for range min(max(count/1000, 6), 500) {
		l.who = append(l.who, l.guest())
	}
	for range count {
		l.incident()
		l.spin(l.rnd.IntN(len(l.who)))
	}
}

type life struct {
	*House
	rnd     *rand.Rand
	who     []Player
	release int // of the small game
}

func (l *life) guest() Player {
	p := l.Register([]money.Currency{"EUR", "SEK", "JPY"}[l.rnd.IntN(3)])
	p.Game = l.someGame()
	return p
}

func (l *life) someGame() string { return []string{l.cfg.Game.ID, "small"}[l.rnd.IntN(2)] }

func (l *life) on(game string) bool {
	_, err := rounds.Playable(l.rows, game)
	return err == nil
}

// incident is what sometimes happens between two rounds.
func (l *life) incident() {
	i := l.rnd.IntN(len(l.who))
	p := &l.who[i]
	switch n := l.rnd.IntN(4000); {
	case n < 2:
		l.Restart()
	case n < 4:
		l.Step(time.Duration(l.rnd.IntN(7200)-3600) * time.Second)
	case n < 6:
		l.Alarm(entry.RequestKey("operator", "key-1"))
	case n < 8:
		l.Wait(time.Duration(l.rnd.IntN(3)*l.rnd.IntN(400)) * time.Second)
	case n == 8 && l.rnd.IntN(10) == 0:
		l.Wait(13 * time.Hour)
	case n == 8:
		l.Fail("test", []string{"slow", "unavailable", "repetition"}[l.rnd.IntN(3)])
		l.Wait(time.Duration(1+l.rnd.IntN(30)) * time.Second)
		if l.rnd.IntN(4) == 0 {
			l.Restart()
		}
		l.RestoreSource("test")
	case n == 9 && l.rnd.IntN(10) == 0:
		l.Restore(l.Size())
	case n < 12:
		if game := l.someGame(); l.on(game) {
			l.Disable(game)
		} else {
			l.Enable(game)
		}
	case n < 14:
		if l.on("small") {
			l.Disable("small")
		}
		l.release++
		d := Small()
		d.Version = "1." + strconv.Itoa(l.release) + ".0"
		d.Symbols[2].Pays[4] += int64(l.release)
		l.Add(d)
		l.Enable("small")
	case n < 18:
		if l.state(*p) == players.Suspended {
			l.Change(*p, players.Open)
		} else {
			l.Change(*p, players.Suspended)
		}
	case n < 20:
		l.Change(*p, players.Closed)
		if b := l.Balance(*p); b > 0 {
			l.Withdraw(*p, b)
		}
		l.who[i] = l.guest()
	case n < 30:
		if l.live(*p) {
			l.Close(*p)
		}
		p.Game = l.someGame()
		p.Session = entry.UUID{}
	case n < 60:
		if b := l.Balance(*p); b > 1 && l.state(*p) == players.Open {
			l.Withdraw(*p, 1+l.rnd.Int64N(b))
		}
	}
}

func (l *life) state(p Player) players.State {
	return must(players.Find(l.rows, p.Ref)).State
}

// spin plays a round of one of the crowd, with what has to come before it.
func (l *life) spin(i int) {
	p := &l.who[i]
	if l.state(*p) == players.Suspended {
		l.Change(*p, players.Open)
	}
	if !l.on(l.game(*p)) {
		l.Enable(l.game(*p))
	}
	stakes := l.games[l.game(*p)].Definition().Stakes
	stake := stakes[l.rnd.IntN(len(stakes))]
	if l.Balance(*p) < stake {
		l.Deposit(*p, 100*stakes[len(stakes)-1])
	}
	for l.Turn(); !l.live(*p); l.Turn() {
		p.Session = l.Open(*p)
	}
	r := l.Round(*p, stake)
	l.Settle(r)
	l.Append(r)
}

// live reports whether the player's session can be played in now.
func (l *life) live(p Player) bool {
	_, err := players.Live(l.rows, players.SessionKey(p.Session), l.Now)
	return err == nil
}
