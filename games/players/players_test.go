package players_test

import (
	"errors"
	"maps"
	"reflect"
	"testing"
	"time"

	"countroom/games/players"
	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

var (
	ann = entry.Ref{0xaa}
	bob = entry.Ref{0xbb}
	eve = entry.Ref{0xee} // was never created
)

// Times are after noon.
var noon = entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

func id(n byte) entry.UUID { return entry.NewUUID([16]byte{15: n}) }

func created(player entry.Ref, c money.Currency) entry.Record {
	return &players.Created{Player: player, Currency: c}
}

func change(player entry.Ref, to players.State) entry.Record {
	return &players.StateChanged{Player: player, State: to}
}

func opened(session byte, player entry.Ref, at entry.Time, lives time.Duration) entry.Record {
	return &players.SessionOpened{Header: entry.Header{ID: id(session), At: at}, Expires: at.Add(lives), Game: "lamplight-quay", Player: player}
}

func closed(session byte, player entry.Ref, at entry.Time) entry.Record {
	return &players.SessionClosed{Header: entry.Header{ID: id(session + 100), At: at}, Player: player, Session: id(session)}
}

// Ann plays in two sessions, is suspended and comes back. Bob's session lasts
// but an instant; he is suspended, closed, and his session tidied up at last.
func story() []entry.Record {
	return []entry.Record{
		created(ann, "EUR"),
		created(bob, "JPY"),
		opened(1, ann, noon, time.Hour),
		opened(2, ann, noon, players.SessionLongest),
		opened(3, bob, noon, time.Microsecond),
		change(ann, players.Suspended),
		change(ann, players.Open),
		closed(1, ann, noon.Add(time.Minute)),
		change(bob, players.Suspended),
		change(bob, players.Closed),
		closed(3, bob, noon.Add(time.Hour)),
	}
}

func tell(t *testing.T, entries ...entry.Record) book.Memory {
	t.Helper()
	rows := book.Memory{}
	for i, r := range entries {
		if err := players.Fold(rows, r); err != nil {
			t.Fatalf("entry %d, %s: %v", i, r.Type(), err)
		}
	}
	return rows
}

const toldRows = `player/aa000000000000000000000000000000 {"currency":"EUR","state":"open"}
player/bb000000000000000000000000000000 {"currency":"JPY","state":"closed"}
session/00000000-0000-4000-8000-000000000001 {"closed":true,"expires":"2026-03-01T13:00:00.000000Z","game":"lamplight-quay","player":"aa000000000000000000000000000000"}
session/00000000-0000-4000-8000-000000000002 {"closed":false,"expires":"2026-03-31T12:00:00.000000Z","game":"lamplight-quay","player":"aa000000000000000000000000000000"}
session/00000000-0000-4000-8000-000000000003 {"closed":true,"expires":"2026-03-01T12:00:00.000001Z","game":"lamplight-quay","player":"bb000000000000000000000000000000"}`

func TestStory(t *testing.T) {
	if got := booktest.Written(t, players.Kinds, tell(t, story()...)); got != toldRows {
		t.Errorf("rows:\n%s\nwant:\n%s", got, toldRows)
	}
}

// A row that was put stays as it was: whoever read it holds what it said then.
func TestRowsAreNotChangedInPlace(t *testing.T) {
	rows := tell(t, story()[:5]...)
	before := maps.Clone(rows)
	was := booktest.Written(t, players.Kinds, before)
	for _, r := range story()[5:] {
		if err := players.Fold(rows, r); err != nil {
			t.Fatal(err)
		}
	}
	if is := booktest.Written(t, players.Kinds, before); is != was {
		t.Errorf("rows that were read before:\n%s\nnow say:\n%s", was, is)
	}
}

func TestBrokenRules(t *testing.T) {
	for name, c := range map[string]struct {
		r    entry.Record
		rule string
	}{
		"player created twice":                  {created(ann, "EUR"), "player-once"},
		"player created again in other money":   {created(ann, "JPY"), "player-once"},
		"closed player created again":           {created(bob, "JPY"), "player-once"},
		"unknown player suspended":              {change(eve, players.Suspended), "player-state"},
		"open player opened":                    {change(ann, players.Open), "player-state"},
		"closed player opened":                  {change(bob, players.Open), "player-state"},
		"no such state":                         {change(ann, "frozen"), "player-state"},
		"no state":                              {change(ann, ""), "player-state"},
		"session of an unknown player":          {opened(9, eve, noon, time.Hour), "session-player"},
		"session of a closed player":            {opened(9, bob, noon, time.Hour), "session-player"},
		"session that expires as it opens":      {opened(9, ann, noon, 0), "session-expiry"},
		"session that expired before it opened": {opened(9, ann, noon, -time.Microsecond), "session-expiry"},
		"session that lives too long":           {opened(9, ann, noon, players.SessionLongest+time.Microsecond), "session-expiry"},
		"unknown session closed":                {closed(9, ann, noon), "session-open"},
		"session closed twice":                  {closed(1, ann, noon), "session-open"},
		"another player's session closed":       {closed(2, bob, noon), "session-open"},
		"session closed for nobody":             {closed(2, entry.Ref{}, noon), "session-open"},
	} {
		t.Run(name, func(t *testing.T) {
			rows := tell(t, story()...)
			booktest.Breaks(t, players.Fold(rows, c.r), c.rule)
			if got := booktest.Written(t, players.Kinds, rows); got != toldRows {
				t.Errorf("the refused entry changed the rows:\n%s", got)
			}
		})
	}
	t.Run("session of a suspended player", func(t *testing.T) {
		booktest.Breaks(t, players.Fold(tell(t, story()[:6]...), opened(9, ann, noon, time.Hour)), "session-player")
	})
}

// What an account in each state may do, and become. Closed is for ever, but
// does not keep a player's money.
func TestStates(t *testing.T) {
	for _, c := range []struct {
		state          players.State
		path           []entry.Record
		play, withdraw error
		become         map[players.State]error
	}{
		{players.Open, nil, nil, nil,
			map[players.State]error{players.Open: players.ErrUnchanged, players.Suspended: nil, players.Closed: nil}},
		{players.Suspended, []entry.Record{change(ann, players.Suspended)}, players.ErrSuspended, players.ErrSuspended,
			map[players.State]error{players.Open: nil, players.Suspended: players.ErrUnchanged, players.Closed: nil}},
		{players.Closed, []entry.Record{change(ann, players.Closed)}, players.ErrClosed, nil,
			map[players.State]error{players.Open: players.ErrClosed, players.Suspended: players.ErrClosed, players.Closed: players.ErrUnchanged}},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			path := append([]entry.Record{created(ann, "EUR")}, c.path...)
			rows := tell(t, path...)
			p, err := players.Find(rows, ann)
			if err != nil || !reflect.DeepEqual(*p, players.Player{Currency: "EUR", State: c.state}) {
				t.Fatalf("%v, %v", p, err)
			}
			for what, m := range map[string]struct {
				may  func(book.Reader, entry.Ref) (*players.Player, error)
				want error
			}{"play": {players.MayPlay, c.play}, "withdraw": {players.MayWithdraw, c.withdraw}} {
				if got, err := m.may(rows, ann); !errors.Is(err, m.want) || (got == p) != (m.want == nil) {
					t.Errorf("%s: %v, %v; want %v", what, got, err, m.want)
				}
			}
			for to, want := range c.become {
				if err := p.Change(to); !errors.Is(err, want) {
					t.Errorf("to %s: %v, want %v", to, err, want)
				}
				rows := tell(t, path...)
				if err := players.Fold(rows, change(ann, to)); want != nil {
					booktest.Breaks(t, err, "player-state")
				} else if now, _ := players.Find(rows, ann); err != nil || now.State != to || now.Currency != "EUR" {
					t.Errorf("to %s: %v, now %v", to, err, now)
				}
			}
		})
	}
	for what, may := range map[string]func(book.Reader, entry.Ref) (*players.Player, error){"find": players.Find, "play": players.MayPlay, "withdraw": players.MayWithdraw} {
		if p, err := may(book.Memory{}, eve); p != nil || !errors.Is(err, players.ErrUnknownPlayer) {
			t.Errorf("%s for one who is not there: %v, %v", what, p, err)
		}
	}
}

// A session can be played in from its opening until the instant it expires, and
// not once it is closed, which is said first.
func TestLiveSessions(t *testing.T) {
	rows := tell(t, story()...)
	one, two, three := players.SessionKey(id(1)), players.SessionKey(id(2)), players.SessionKey(id(3))
	end := noon.Add(players.SessionLongest)
	for name, c := range map[string]struct {
		actor string
		at    entry.Time
		want  error
	}{
		"at its opening":               {two, noon, nil},
		"an instant before its expiry": {two, end - 1, nil},
		"at its expiry":                {two, end, players.ErrSessionExpired},
		"after its expiry":             {two, end + 1, players.ErrSessionExpired},
		"closed":                       {one, noon, players.ErrSessionClosed},
		"closed after its expiry":      {three, noon.Add(time.Hour), players.ErrSessionClosed},
		"unknown":                      {players.SessionKey(id(9)), noon, players.ErrUnknownSession},
		"the operator":                 {"operator", noon, players.ErrUnknownSession},
		"nobody":                       {"", noon, players.ErrUnknownSession},
		"no session's name":            {"session/", noon, players.ErrUnknownSession},
		"a player's row":               {players.PlayerKey(ann), noon, players.ErrUnknownSession},
	} {
		s, err := players.Live(rows, c.actor, c.at)
		if !errors.Is(err, c.want) || (s == nil) != (c.want != nil) {
			t.Errorf("%s: %v, %v; want %v", name, s, err, c.want)
		}
	}
	s, err := players.Live(tell(t, story()[:5]...), three, noon)
	if err != nil || *s != (players.Session{Expires: noon + 1, Game: "lamplight-quay", Player: bob}) {
		t.Errorf("a session of one instant: %+v, %v", s, err)
	}
}
