package books_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/games/subjects"
	"countroom/ledger/book"
	"countroom/ledger/book/booktest"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/money"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/assessment"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

var (
	ann = entry.Ref{0xaa}
	bob = entry.Ref{0xbb}
)

const (
	quay = "lamplight-quay"
	mill = "mill-race"
)

// Times are seconds after noon.
var noon = entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))

func after(seconds int) entry.Time { return noon.Add(time.Duration(seconds) * time.Second) }

func at(seconds int) entry.Header { return entry.Header{At: after(seconds)} }

func id(n byte) entry.UUID { return entry.NewUUID([16]byte{15: n}) }

func eur(amount int64) money.Money { return money.Money{Amount: amount, Currency: "EUR"} }
func jpy(amount int64) money.Money { return money.Money{Amount: amount, Currency: "JPY"} }

func enabled(game string) *rounds.GameEnabled {
	definition := []byte(`{"id":"` + game + `"}`)
	return &rounds.GameEnabled{Game: game, Definition: definition, Maths: sha256.Sum256(definition)}
}

func committed(n, draws uint64) *epoch.Committed {
	return &epoch.Committed{Statement: epoch.Statement{
		Epoch: n, Limits: epoch.Limits{AgeSeconds: 600, Draws: draws, RevealDelaySeconds: 30}, Minimum: 1, Policy: epoch.PolicyNone,
		Sources: []epoch.Source{{Group: "kernel", Bytes: 64, Healthy: true, Name: "linux-getrandom"}},
	}}
}

func opened(session byte, player entry.Ref, game string, seconds, lives int) *players.SessionOpened {
	r := &players.SessionOpened{Header: at(seconds), Expires: after(seconds + lives), Game: game, Player: player}
	r.ID = id(session)
	return r
}

func deposited(player entry.Ref, m money.Money, cashier, cash int64) *wallet.Deposited {
	return &wallet.Deposited{Movement: wallet.Movement{Amount: m, Player: player, Postings: []money.Posting{
		{Account: "house/cashier", Amount: -m.Amount, Balance: cashier, Currency: m.Currency},
		{Account: "player/" + player.String() + "/cash", Amount: m.Amount, Balance: cash, Currency: m.Currency},
	}}}
}

func withdrawn(player entry.Ref, m money.Money, cash, cashier int64) *wallet.Withdrawn {
	return &wallet.Withdrawn{Movement: wallet.Movement{Amount: m, Player: player, Postings: []money.Posting{
		{Account: "player/" + player.String() + "/cash", Amount: -m.Amount, Balance: cash, Currency: m.Currency},
		{Account: "house/cashier", Amount: m.Amount, Balance: cashier, Currency: m.Currency},
	}}}
}

// settled is a player's round n at the quay, draw number of epoch 1, with the
// balances after it of the game's hold and the player.
func settled(session byte, player entry.Ref, n, number uint64, stake, payout money.Money, hold, cash int64) *rounds.Settled {
	result := payout.Amount - stake.Amount
	return &rounds.Settled{
		Header: entry.Header{Actor: "session/" + id(session).String(), At: after(10)},
		Draw:   rounds.Draw{Epoch: 1, N: n, Number: number}, Enabled: 2, Game: quay, Player: player, Stake: stake, Payout: payout,
		Postings: []money.Posting{
			{Account: "house/games/" + quay, Amount: -result, Balance: hold, Currency: stake.Currency},
			{Account: "player/" + player.String() + "/cash", Amount: result, Balance: cash, Currency: stake.Currency},
		},
	}
}

func change(player entry.Ref, to players.State) *players.StateChanged {
	return &players.StateChanged{Player: player, State: to}
}

// A house opens. Ann loses a round, wins one and takes some money out; Bob
// plays one for all he has and is suspended, then closed, and gets his money.
func story() []entry.Record {
	return []entry.Record{
		&system.HouseCreated{Format: 1},
		&system.HouseActive{Size: 1, Term: 1},
		enabled(quay),
		enabled(mill),
		committed(1, 5),
		&epoch.Activated{Header: at(0), Epoch: 1, Policy: epoch.PolicyNone},
		&players.Created{Player: ann, Currency: "EUR"},
		&players.Created{Player: bob, Currency: "JPY"},
		deposited(ann, eur(500), -500, 500),
		deposited(bob, jpy(200), -200, 200),
		opened(1, ann, quay, 1, 3600),
		opened(2, bob, quay, 1, 3600),
		opened(3, ann, mill, 1, 3600),
		opened(4, ann, quay, 1, 2), // has expired when the rounds are played
		settled(1, ann, 1, 1, eur(100), eur(0), 100, 400),
		settled(2, bob, 1, 2, jpy(200), jpy(90), 110, 90),
		settled(1, ann, 2, 3, eur(100), eur(250), -50, 550),
		opened(5, ann, quay, 10, 3600),
		&players.SessionClosed{Header: at(10), Player: ann, Session: id(5)},
		withdrawn(ann, eur(50), 500, -450),
		&system.ClockStepped{StepMicroseconds: 3},
		change(bob, players.Suspended),
		change(bob, players.Closed),
		withdrawn(bob, jpy(90), 0, -110),
	}
}

// tell folds entries from entry 0 on.
func tell(t testing.TB, entries []entry.Record) book.Memory {
	t.Helper()
	rows := book.Memory{}
	for i, r := range entries {
		if err := books.Fold(rows, uint64(i), r); err != nil {
			t.Fatalf("entry %d, %s: %v", i, r.Type(), err)
		}
	}
	return rows
}

// none is a hash that is not there.
var none = strings.Repeat("0", 64)

func TestStory(t *testing.T) {
	const (
		annRef, bobRef = "aa000000000000000000000000000000", "bb000000000000000000000000000000"
		session        = "session/00000000-0000-4000-8000-00000000000"
		limits         = `"limits":{"age_seconds":600,"draws":5,"reveal_delay_seconds":30}`
		one            = `"expires":"2026-03-01T13:00:01.000000Z","game":"`
	)
	maths := func(game string) string { return fmt.Sprintf(`%x`, sha256.Sum256([]byte(`{"id":"`+game+`"}`))) }
	want := strings.Join([]string{
		`chance/lamplight-quay {"maths":"0f9f2d3feca2b6be7f2166371a8d969d25c8544853234f453267cd1e966c1590","observed":0,"rounds":0,"since":2,"through":0}`,
		`chance/mill-race {"maths":"484856f2b510cc8d12266ff5d1491a5880a63023fb560fc9b8a4c685575ca445","observed":0,"rounds":0,"since":3,"through":0}`,
		`epoch/1 {"abandoned_index":0,"activated_index":5,"closed_at":"1970-01-01T00:00:00.000000Z","closed_index":0,"commitment":"` + strings.Repeat("0", 64) + `","committed_index":4,"draws":0,"external":"","halted_index":0,` + limits + `,"policy":"none","revealed_index":0}`,
		`epochs {"activated_at":"2026-03-01T12:00:00.000000Z","active":1,"ahead":0,"closed":0,"committed":1,"downgraded":false,"draws":3,"halted":0,` + limits + `,"revealed":0}`,
		`game/lamplight-quay {"enabled":2,"maths":"` + maths(quay) + `","on":true}`,
		`game/mill-race {"enabled":3,"maths":"` + maths(mill) + `","on":true}`,
		`games {"ids":["lamplight-quay","mill-race"]}`,
		`house {"format":1,"term":1}`,
		`keys {"keys":[]}`,
		`noise {"groups":1,"minimum":1,"out":[],"seeded":true,"sound":[{"group":"kernel","source":"linux-getrandom"}]}`,
		`officers {"officers":[],"origin":""}`,
		`player/` + annRef + ` {"currency":"EUR","state":"open"}`,
		`player/` + bobRef + ` {"currency":"JPY","state":"closed"}`,
		`release/lamplight-quay/ {"maths":"` + maths(quay) + `"}`,
		`release/mill-race/ {"maths":"` + maths(mill) + `"}`,
		`round/` + annRef + `/lamplight-quay {"last":16,"n":2}`,
		`round/` + bobRef + `/lamplight-quay {"last":15,"n":1}`,
		session + `1 {"closed":false,` + one + `lamplight-quay","player":"` + annRef + `"}`,
		session + `2 {"closed":false,` + one + `lamplight-quay","player":"` + bobRef + `"}`,
		session + `3 {"closed":false,` + one + `mill-race","player":"` + annRef + `"}`,
		session + `4 {"closed":false,"expires":"2026-03-01T12:00:03.000000Z","game":"lamplight-quay","player":"` + annRef + `"}`,
		session + `5 {"closed":true,"expires":"2026-03-01T13:00:10.000000Z","game":"lamplight-quay","player":"` + annRef + `"}`,
		`software {"code":"` + none + `","configuration":"` + none + `","matches":false,"production":false,"running":"` + none[:32] + `","verified":false}`,
		`subjects {"live":2,"period":0}`,
		`wallet/house/cashier/EUR {"balance":-450}`,
		`wallet/house/cashier/JPY {"balance":-110}`,
		`wallet/house/games/lamplight-quay/EUR {"balance":-50}`,
		`wallet/house/games/lamplight-quay/JPY {"balance":110}`,
		`wallet/player/` + annRef + `/cash/EUR {"balance":500}`,
		`wallet/player/` + bobRef + `/cash/JPY {"balance":0}`,
	}, "\n")
	if got := booktest.Written(t, books.Kinds, tell(t, story())); got != want {
		t.Errorf("rows:\n%s\nwant:\n%s", got, want)
	}
}

func TestBrokenRules(t *testing.T) {
	whole := len(story())
	// round is Ann's next, spoilt.
	round := func(spoil func(*rounds.Settled)) entry.Record {
		r := settled(1, ann, 3, 4, eur(100), eur(40), 10, 440)
		spoil(r)
		return r
	}
	if err := books.Fold(tell(t, story()), uint64(whole), round(func(*rounds.Settled) {})); err != nil {
		t.Fatalf("the round to be spoilt is bad already: %v", err)
	}
	actor := func(s string) func(*rounds.Settled) { return func(r *rounds.Settled) { r.Actor = s } }
	const bobPlays = 16 // entries of the story until Bob has played
	for name, c := range map[string]struct {
		after []entry.Record
		r     entry.Record
		rule  string
	}{
		"a house not created":       {nil, &system.HouseActive{Size: 0, Term: 1}, "house-created-first"},
		"a clock before the house":  {nil, &system.ClockStepped{}, "house-created-first"},
		"a player before the house": {nil, &players.Created{Player: ann, Currency: "EUR"}, "house-created-first"},
		"a second house":            {story(), &system.HouseCreated{Format: 1}, "house-created-first"},
		"a head of another size":    {story(), &system.HouseActive{Size: 1, Term: 2}, "active-head"},

		"deposit to the unknown":    {story(), deposited(entry.Ref{0xee}, eur(5), -455, 5), "player-state"},
		"deposit to the suspended":  {story()[:22], deposited(bob, jpy(5), -205, 95), "player-state"},
		"deposit to the closed":     {story(), deposited(bob, jpy(5), -115, 5), "player-state"},
		"deposit in other money":    {story(), deposited(ann, jpy(5), -115, 5), "player-currency"},
		"withdrawal by the unknown": {story(), withdrawn(entry.Ref{0xee}, eur(5), -5, -445), "player-state"},
		"withdrawal when suspended": {story()[:22], withdrawn(bob, jpy(90), 0, -110), "player-state"},
		"withdrawal of other money": {story(), withdrawn(ann, jpy(5), -5, -105), "player-currency"},
		"withdrawal of too much":    {story(), withdrawn(ann, eur(501), -1, 51), "funds"},
		"deposit misposted":         {story(), deposited(ann, eur(5), -455, 506), "balance"},

		"player created twice":      {story(), &players.Created{Player: ann, Currency: "EUR"}, "player-once"},
		"session at no game":        {story(), opened(9, ann, "nowhere", 10, 60), "session-game"},
		"session at a game off":     {append(story(), &rounds.GameDisabled{Game: mill}), opened(9, ann, mill, 10, 60), "session-game"},
		"session of a closed one":   {story(), opened(9, bob, quay, 10, 60), "session-player"},
		"game enabled twice":        {story(), enabled(quay), "game-state"},
		"epoch committed twice":     {story(), committed(1, 5), "epoch-order"},
		"epoch closed at whim":      {story(), &epoch.Closed{Header: at(11), Draws: 3, Epoch: 1, Reason: epoch.ByTime}, "epoch-early"},
		"epoch closed, miscounted":  {story(), &epoch.Closed{Header: at(600), Draws: 2, Epoch: 1, Reason: epoch.ByTime}, "epoch-draws"},
		"round in a closed session": {story(), round(actor("session/" + id(5).String())), "round-session"},
		"round in one not opened":   {story(), round(actor("session/" + id(9).String())), "round-session"},
		"round in one expired":      {story(), round(actor("session/" + id(4).String())), "round-session"},
		"round as one expires":      {story(), round(func(r *rounds.Settled) { r.At = after(3601) }), "round-session"},
		"round in another's":        {story(), round(actor("session/" + id(2).String())), "round-session"},
		"round in another game's":   {story(), round(actor("session/" + id(3).String())), "round-session"},
		"round by the operator":     {story(), round(actor("operator")), "round-session"},
		"round by a player's row":   {story(), round(actor("player/" + ann.String())), "round-session"},
		"round for another player":  {story(), round(func(r *rounds.Settled) { r.Player = bob }), "round-session"},
		"round at another game":     {story(), round(func(r *rounds.Settled) { r.Game = mill }), "round-session"},

		"round when suspended":   {append(story(), change(ann, players.Suspended)), round(func(*rounds.Settled) {}), "player-state"},
		"round when closed":      {append(story(), change(ann, players.Closed)), round(func(*rounds.Settled) {}), "player-state"},
		"round in other money":   {story(), settled(1, ann, 3, 4, jpy(1), jpy(5), 106, 4), "player-currency"},
		"payout in other money":  {story(), round(func(r *rounds.Settled) { r.Payout.Currency = "JPY" }), "stake-and-payout"},
		"round of another epoch": {story(), round(func(r *rounds.Settled) { r.Draw.Epoch = 2 }), "draw-epoch"},
		"draw number skipped":    {story(), round(func(r *rounds.Settled) { r.Draw.Number = 5 }), "draw-number"},
		"another's draw number":  {story(), round(func(r *rounds.Settled) { r.Draw.Number = 2 }), "draw-number"},
		"round after the epoch":  {story(), round(func(r *rounds.Settled) { r.At = after(600) }), "epoch-over"},
		"a draw too many": {
			append(story(), settled(1, ann, 3, 4, eur(1), eur(0), -49, 499), settled(1, ann, 4, 5, eur(1), eur(0), -48, 498)),
			settled(1, ann, 5, 6, eur(1), eur(0), -47, 497), "epoch-over",
		},
		"round number again":    {story(), round(func(r *rounds.Settled) { r.Draw.N = 2 }), "round-number"},
		"another step":          {story(), round(func(r *rounds.Settled) { r.Draw.Step = 1 }), "round-step"},
		"old definition":        {story(), round(func(r *rounds.Settled) { r.Enabled = 3 }), "game-definition"},
		"game off":              {append(story(), &rounds.GameDisabled{Game: quay}), round(func(*rounds.Settled) {}), "game-enabled"},
		"a stake without funds": {story(), settled(1, ann, 3, 4, eur(501), eur(0), 451, -1), "funds"},
		"a stake that only its payout would cover":   {story(), settled(1, ann, 3, 4, eur(501), eur(9000), -8549, 8999), "funds"},
		"a stake that its payout would just replace": {story(), settled(1, ann, 3, 4, eur(501), eur(501), -50, 500), "funds"},
		"a stake of one more than there is":          {story()[:bobPlays], settled(2, bob, 2, 3, jpy(91), jpy(91), 110, 90), "funds"},
		"round misposted":                            {story(), round(func(r *rounds.Settled) { r.Postings[0].Account = wallet.Cashier }), "postings"},
		"round that pays more than its payout": {story(), round(func(r *rounds.Settled) {
			r.Postings[0].Amount, r.Postings[1].Amount = 59, -59
		}), "posting-amount"},
		"round with a false balance": {story(), round(func(r *rounds.Settled) { r.Postings[1].Balance++ }), "balance"},
		"round that loses a cent":    {story(), round(func(r *rounds.Settled) { r.Postings[1].Amount-- }), "postings-balanced"},
	} {
		t.Run(name, func(t *testing.T) {
			err := books.Fold(tell(t, c.after), uint64(len(c.after)), c.r)
			var v *book.Violation
			if !errors.Is(err, book.ErrBroken) || !errors.As(err, &v) || v.Rule != c.rule {
				t.Errorf("%v; want %s broken", err, c.rule)
			}
		})
	}
	t.Run("all a player has may be staked", func(t *testing.T) {
		if err := books.Fold(tell(t, story()), uint64(whole), settled(1, ann, 3, 4, eur(500), eur(0), 450, 0)); err != nil {
			t.Error(err)
		}
	})
}

// everyRecord has one record of each type, its members set so that no two of one
// record could be taken for each other.
func everyRecord() []entry.Record {
	serial := byte(0)
	next := func() byte {
		if serial++; serial == 0 {
			serial = 1 // no record has so many members that a number comes twice in it
		}
		return serial
	}
	hash := func() [32]byte { n := next(); return [32]byte{n, 31: n} }
	header := func() entry.Header { // of what the house does of itself
		return entry.Header{Actor: fmt.Sprint("actor-", next()), At: after(int(next())), ID: id(next())}
	}
	request := func() entry.Header {
		h := header()
		h.Request = entry.Request{Key: hash(), Fingerprint: [16]byte{next()}}
		return h
	}
	number := func() uint64 { return 1000 + uint64(next()) }
	text := func() string { return fmt.Sprint("text-", next()) }
	raw := func() []byte { return fmt.Appendf(nil, `{"a":[%d,"]}"],"b":null}`, next()) }
	sum := func(c money.Currency) money.Money { return money.Money{Amount: int64(number()), Currency: c} }
	postings := func() []money.Posting {
		return []money.Posting{
			{Account: text(), Amount: -int64(number()), Balance: int64(number()), Currency: "EUR"},
			{Account: text(), Amount: int64(number()), Balance: -int64(number()), Currency: "JPY"},
		}
	}
	ref := func() entry.Ref { n := next(); return entry.Ref{n, 15: n} }
	movement := func() wallet.Movement {
		return wallet.Movement{Header: request(), Amount: sum("CHF"), Player: ref(), Postings: postings()}
	}
	return []entry.Record{
		&rounds.Settled{
			Header:  request(),
			Draw:    rounds.Draw{Epoch: number(), N: number(), Number: number(), R: hash(), Step: number(), Values: []rounds.Drawn{{Range: 32, Value: 31}, {Range: 1<<32 - 1, Value: 1}}},
			Enabled: number(), Game: text(), Outcome: raw(), Payout: sum("EUR"), Player: ref(), Postings: postings(), Stake: sum("USD"),
		},
		&system.HouseCreated{Header: header(), Format: number(), Keys: []system.Key{{Algorithm: text(), Assurance: text(), Public: text(), Role: text()}, {Algorithm: text(), Assurance: text(), Public: text(), Role: text()}}, Origin: text()},
		&system.HouseRestored{Header: header(), Backup: hash(), Reason: hash(), Root: hash(), Signed: number(), Size: number()},
		&system.HouseActive{Header: header(), Node: text(), Reason: text(), Release: text(), Root: hash(), Size: number(), Term: number()},
		&system.PairActive{
			Header: header(), Members: []system.Member{{Name: text(), Role: text()}}, Node: text(), Reason: text(), Release: text(), Root: hash(), Size: number(), Term: number(),
		},
		&system.ClockStepped{Header: header(), StepMicroseconds: -int64(number())},
		&system.AlarmRaised{Header: header(), About: hash(), Alarm: text(), Count: number()},
		&rounds.GameEnabled{Header: request(), Definition: raw(), Engine: text(), Game: text(), LeafMax: number(), Maths: hash(), PayoutMax: int64(number()), Reason: hash(), Release: text()},
		&rounds.GameDisabled{Header: request(), Game: text(), Reason: hash()},
		&keys.Introduced{Header: request(), Algorithm: text(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Assurance: text(), Public: text(), Role: text(), SignatureNew: []byte{next()}, SignatureOld: []byte{next()}},
		&keys.Retired{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Public: text(), Reason: hash(), Role: text()},
		&monitor.Alarmed{Header: header(), Evidence: uint64(next()), Game: text(), Maths: hash(), Monitor: text(), Round: uint64(next()), Rounds: uint64(next()), Suspended: true},
		&monitor.Observed{
			Header: header(), Bets: []monitor.Bet{{Name: text(), Evidence: -int64(next()), Alarmed: true}}, Game: text(), Maths: hash(), Rounds: uint64(next()),
			Streams: []monitor.Stream{{Name: text(), Evidence: int64(next()), Alarmed: true, Counts: []uint64{uint64(next())}, Block: []uint64{uint64(next())}}}, Through: uint64(next()),
		},
		&officers.Enrolled{Header: request(), Algorithm: text(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}, {Officer: text(), Signature: []byte{next()}}}, Officer: text(), Public: []byte{next()}},
		&noise.Failed{Header: header(), Count: number(), Group: text(), Groups: number(), Minimum: number(), Reason: text(), Source: text()},
		&noise.Restored{Header: header(), Count: number(), Group: text(), Groups: number(), Minimum: number(), Source: text()},
		&officers.Retired{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Officer: text()},
		&assessment.Assessed{
			Header: header(), Bundle: hash(), Configuration: hash(), Games: []assessment.Game{{Game: text(), Maths: hash(), Release: text()}}, Outcome: text(), Page: hash(), Plan: hash(),
			Program: hash(), Report: hash(), Sources: []assessment.Source{{Conditioned: true, Name: text()}, {Conditioned: true, Name: text()}},
		},
		&certificates.Recognised{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Laboratory: text(), Public: text()},
		&certificates.Certified{
			Header: request(), Blob: hash(),
			Certificate: certificates.Certificate{Begins: after(9), Expires: after(99), Game: text(), Laboratory: text(), Maths: hash(), Program: hash(), Release: text(), Returns: text()},
		},
		&certificates.Production{Header: header()},
		&certificates.Verified{Header: header(), Configuration: hash(), Games: hash(), Matches: true, Node: text(), Program: hash(), Reason: text()},
		&players.Created{Header: request(), Currency: "JPY", Player: ref()},
		&players.StateChanged{Header: request(), Player: ref(), Reason: hash(), State: players.Suspended},
		&rounds.Displayed{Header: request(), Displayed: hash(), Expected: hash(), Player: ref(), Round: id(9)},
		&subjects.Recorded{Header: request(), Attributes: []subjects.Value{{Commitment: hash(), Name: text()}, {Commitment: hash(), Name: text()}}, Player: ref()},
		&subjects.Erased{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}, {Officer: text(), Signature: []byte{next()}}}, Commitments: number(), Player: ref()},
		&subjects.Rewrapped{Header: header(), Period: number(), Subjects: number()},
		&players.NonceSet{Header: request(), Epoch: number(), Nonce: hash(), Player: ref()},
		&players.SessionOpened{Header: request(), Expires: after(9999), Game: text(), Player: ref()},
		&players.SessionClosed{Header: request(), Player: ref(), Session: id(next())},
		&wallet.Deposited{Movement: movement()},
		&wallet.Withdrawn{Movement: movement()},
		&epoch.Committed{
			Header: header(),
			Statement: epoch.Statement{
				Assurance: text(), Beacon: &epoch.Beacon{Chain: hash(), Genesis: number(), Group: hash(), ID: text(), Period: 3, Public: [96]byte{next()}, Round: number()},
				Commitment: hash(), Epoch: number(), Escrow: &epoch.Escrow{Recipients: []string{text(), text()}, Sealed: []byte{next()}},
				Limits: epoch.Limits{AgeSeconds: number(), Draws: number(), RevealDelaySeconds: number()}, Minimum: number(),
				Nonces: []epoch.Nonce{{Commitment: hash(), Key: hash(), Signature: [64]byte{next()}, Witness: text()}, {Commitment: hash(), Key: hash(), Signature: [64]byte{next()}, Witness: text()}},
				Policy: text(), Sealed: []byte{next(), 0, next()},
				Sources: []epoch.Source{
					{Assurance: text(), Bytes: number(), Conditioned: true, Group: text(), Healthy: true, Name: text(), Physical: true},
					{Assurance: text(), Bytes: number(), Conditioned: true, Group: text(), Healthy: true, Name: text(), Physical: true},
				},
			},
			Signature: []byte{next()},
		},
		&epoch.CommittedV1{
			Header: header(),
			Statement: epoch.Statement{
				Assurance: text(), Commitment: hash(), Epoch: number(), Limits: epoch.Limits{AgeSeconds: number(), Draws: number(), RevealDelaySeconds: number()},
				Policy: text(), Sealed: []byte{next(), 0, next()},
				Sources: []epoch.Source{{Bytes: number(), Conditioned: true, Healthy: true, Name: text()}, {Bytes: number(), Conditioned: true, Healthy: true, Name: text()}},
			},
			Signature: []byte{next()},
		},
		&epoch.Activated{
			Header: header(), Epoch: number(), External: []byte{next()}, Nonces: []epoch.Shown{{Nonce: hash(), Witness: text()}, {Nonce: hash(), Witness: text()}},
			Policy: text(), Signature: []byte{next()},
		},
		&epoch.ActivatedV1{Activated: epoch.Activated{Header: header(), Epoch: number(), External: []byte{next()}, Policy: text()}},
		&epoch.Closed{Header: header(), Draws: number(), Epoch: number(), Reason: text()},
		&epoch.Revealed{Header: header(), Epoch: number(), Salt: hash(), Secret: hash()},
		&epoch.Halted{Header: request(), Epoch: number(), Reason: hash()},
		&decision.Ended{Decision: decision.Decision{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Draws: number(), Epoch: number(), Reason: hash()}},
		&decision.Abandoned{Decision: decision.Decision{Header: request(), Approvals: []officers.Approval{{Officer: text(), Signature: []byte{next()}}}, Draws: number(), Epoch: number(), Reason: hash()}},
	}
}

// knownTypes are the types that books.New has a case for, read from its source.
func knownTypes(t *testing.T) (types []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "books.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if fn, ok := n.(*ast.FuncDecl); ok {
			return fn.Name.Name == "New"
		}
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				typ, err := strconv.Unquote(e.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				types = append(types, typ)
			}
		}
		return true
	})
	return types
}

// A leaf of each type gives back the record it was made of, member by member.
func TestEachTypeIsReadAsItWasWritten(t *testing.T) {
	var types []string
	for _, r := range everyRecord() {
		types = append(types, r.Type())
		t.Run(r.Type(), func(t *testing.T) {
			if empty := firstEmpty(reflect.ValueOf(r).Elem(), "", laterMembers[r.Type()]...); empty != "" {
				t.Fatalf("%s is not set, so that this would not miss it", empty)
			}
			leaf, err := entry.Append(nil, r)
			if err != nil {
				t.Fatal(err)
			}
			if jcs, err := entry.Canonical(leaf); err != nil || !bytes.Equal(jcs, leaf) {
				t.Errorf("its RFC 8785 form is another: %s, %v", jcs, err)
			}
			back, err := books.Decode(leaf)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(back, r) {
				t.Errorf("read as %+v,\nwritten as %+v", back, r)
			}
			if again, err := entry.Append(nil, back); err != nil || !bytes.Equal(again, leaf) {
				t.Errorf("written again it is %s, %v", again, err)
			}
			if _, err := books.Decode(leaf[:len(leaf)-1]); !errors.Is(err, entry.ErrFormat) || errors.Is(err, books.ErrUnknownType) {
				t.Errorf("cut off: %v", err)
			}
		})
	}
	known := knownTypes(t)
	slices.Sort(types)
	slices.Sort(known)
	if !slices.Equal(types, known) {
		t.Errorf("books.New knows\n%v, here are\n%v", known, types)
	}
	for _, typ := range known {
		if r, err := books.New(typ); err != nil || r.Type() != typ {
			t.Errorf("New(%q) is %T, %v", typ, r, err)
		}
	}
}

// firstEmpty returns the path to a member that has its zero value, or "". What
// the house does of itself has rightly no request.
func firstEmpty(v reflect.Value, path string, but ...string) string {
	if v.Type() == reflect.TypeFor[entry.Request]() && v.IsZero() || slices.Contains(but, path) {
		return ""
	}
	if v.IsZero() {
		return path
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if empty := firstEmpty(v.Field(i), path+"."+v.Type().Field(i).Name, but...); empty != "" {
				return empty
			}
		}
	case reflect.Pointer:
		return firstEmpty(v.Elem(), path, but...)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Struct {
			for i := range v.Len() {
				if empty := firstEmpty(v.Index(i), path+"[]", but...); empty != "" {
					return empty
				}
			}
		}
	}
	return ""
}

// laterMembers are those that the first version of a type does not have.
var laterMembers = map[string][]string{
	"seed.committed": {".Statement.Beacon", ".Statement.Escrow", ".Statement.Minimum", ".Statement.Nonces", ".Statement.Sources[].Assurance", ".Statement.Sources[].Group", ".Statement.Sources[].Physical"},
	"seed.activated": {".Activated.Nonces", ".Activated.Signature"},
}

// A verifier must be able to tell a type of the future from a broken leaf.
func TestUnknownTypes(t *testing.T) {
	leaf, err := entry.Append(nil, everyRecord()[0])
	if err != nil {
		t.Fatal(err)
	}
	retyped := func(typ string) []byte {
		return bytes.Replace(leaf, []byte(`"type":"round.settled"`), []byte(`"type":"`+typ+`"`), 1)
	}
	for name, c := range map[string]struct {
		leaf    []byte
		unknown bool
	}{
		"a later version":     {retyped("round.settled.v2"), true},
		"another family":      {retyped("table.opened"), true},
		"nothing but a type":  {[]byte(`{"a":1,"type":"table.opened"}`), true},
		"another known type":  {retyped("player.created"), false},
		"no type":             {retyped(""), false},
		"type in upper case":  {retyped("ROUND.SETTLED"), false},
		"something after it":  {append(slices.Clone(leaf), '\n'), false},
		"nothing":             {nil, false},
		"too long for a leaf": {fmt.Appendf(nil, `{"alarm":"%s","type":"alarm.raised"}`, strings.Repeat("x", entry.MaxSize)), false},
	} {
		r, err := books.Decode(c.leaf)
		if !errors.Is(err, entry.ErrFormat) || errors.Is(err, books.ErrUnknownType) != c.unknown {
			t.Errorf("%s: %T, %v", name, r, err)
		}
	}
	if r, err := books.New("table.opened"); r != nil || !errors.Is(err, books.ErrUnknownType) {
		t.Errorf("New: %v, %v", r, err)
	}
}

// The published example of a round is what its draw value decides.
func TestRoundFromItsDrawValue(t *testing.T) {
	leaf := example(t, "round.settled.json")
	r, err := books.Decode(leaf)
	if err != nil {
		t.Fatal(err)
	}
	round := r.(*rounds.Settled)
	machine, err := slots.Compile(slots.Bundled())
	if err != nil {
		t.Fatal(err)
	}
	var play books.Play
	check := func() {
		t.Helper()
		if err := play.Round(machine, round.Draw.R, round.Stake.Amount); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(play.Values, round.Draw.Values) || !bytes.Equal(play.Outcome, round.Outcome) || play.Payout != round.Payout.Amount {
			t.Errorf("played: %v, %s, %d; logged: %s", play.Values, play.Outcome, play.Payout, leaf)
		}
	}
	check()
	other := round.Draw.R
	other[0] ^= 1
	if err := play.Round(machine, other, round.Stake.Amount); err != nil {
		t.Fatal(err)
	}
	if slices.Equal(play.Values, round.Draw.Values) {
		t.Error("another draw value gives the same round")
	}
	check() // nothing is left of the round between
	if err := play.Round(machine, round.Draw.R, 21); !errors.Is(err, slots.ErrStake) {
		t.Errorf("a stake that is not offered: %v", err)
	}
	check()
}

func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../docs/formats/examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}
