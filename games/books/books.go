// Package books puts the books of a gaming house together: which record types
// its log may hold, which rows they make, and the one fold that the server, a
// rebuild and every verifier run over them.
package books

import (
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"

	"countroom/games/certificates"
	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger/book"
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
	"countroom/rngcert/verdict"
)

// Version is the version of the rows that Fold makes. Stored rows of another
// version are built anew from the log.
const Version = 9

// ErrUnknownType says that an entry is of a type this code does not know.
var ErrUnknownType = fmt.Errorf("%w: unknown entry type", entry.ErrFormat)

// New returns an empty record of a type.
func New(typ string) (entry.Record, error) {
	switch typ {
	case "round.settled":
		return new(rounds.Settled), nil
	case "round.displayed":
		return new(rounds.Displayed), nil
	case "house.created":
		return new(system.HouseCreated), nil
	case "house.active":
		return new(system.HouseActive), nil
	case "house.active.v2":
		return new(system.PairActive), nil
	case "house.restored":
		return new(system.HouseRestored), nil
	case "clock.stepped":
		return new(system.ClockStepped), nil
	case "alarm.raised":
		return new(system.AlarmRaised), nil
	case "key.introduced":
		return new(keys.Introduced), nil
	case "key.retired":
		return new(keys.Retired), nil
	case "officer.enrolled":
		return new(officers.Enrolled), nil
	case "officer.retired":
		return new(officers.Retired), nil
	case "game.enabled":
		return new(rounds.GameEnabled), nil
	case "game.disabled":
		return new(rounds.GameDisabled), nil
	case "chance.alarmed":
		return new(monitor.Alarmed), nil
	case "chance.observed":
		return new(monitor.Observed), nil
	case "player.created":
		return new(players.Created), nil
	case "player.state-changed":
		return new(players.StateChanged), nil
	case "player.nonce-set":
		return new(players.NonceSet), nil
	case "subject.recorded":
		return new(subjects.Recorded), nil
	case "subject.erased":
		return new(subjects.Erased), nil
	case "vault.rewrapped":
		return new(subjects.Rewrapped), nil
	case "session.opened":
		return new(players.SessionOpened), nil
	case "session.closed":
		return new(players.SessionClosed), nil
	case "wallet.deposited":
		return new(wallet.Deposited), nil
	case "wallet.withdrawn":
		return new(wallet.Withdrawn), nil
	case "rng.assessed":
		return new(assessment.Assessed), nil
	case "laboratory.recognised":
		return new(certificates.Recognised), nil
	case "game.certified":
		return new(certificates.Certified), nil
	case "house.production":
		return new(certificates.Production), nil
	case "software.verified":
		return new(certificates.Verified), nil
	case "seed.committed":
		return new(epoch.CommittedV1), nil
	case "seed.committed.v2":
		return new(epoch.Committed), nil
	case "seed.activated":
		return new(epoch.ActivatedV1), nil
	case "seed.activated.v2":
		return new(epoch.Activated), nil
	case "seed.closed":
		return new(epoch.Closed), nil
	case "seed.revealed":
		return new(epoch.Revealed), nil
	case "seed.halted":
		return new(epoch.Halted), nil
	case "seed.ended":
		return new(decision.Ended), nil
	case "seed.abandoned":
		return new(decision.Abandoned), nil
	case "entropy.failed":
		return new(noise.Failed), nil
	case "entropy.restored":
		return new(noise.Restored), nil
	}
	return nil, fmt.Errorf("%w %q", ErrUnknownType, typ)
}

// Decode reads a leaf of any known type.
func Decode(leaf []byte) (entry.Record, error) {
	typ, err := entry.TypeOf(leaf)
	if err != nil {
		return nil, err
	}
	r, err := New(typ)
	if err != nil {
		return nil, err
	}
	return r, entry.Decode(leaf, r)
}

// Kinds are the rows of all books.
var Kinds = func() book.Kinds {
	all := book.Kinds{}
	for _, k := range []book.Kinds{system.Kinds, officers.Kinds, keys.Kinds, wallet.Kinds, players.Kinds, rounds.Kinds, monitor.Kinds, epoch.Kinds, noise.Kinds, certificates.Kinds, subjects.Kinds} {
		maps.Copy(all, k)
	}
	return all
}()

// Fold applies the entry at an index to the books. An error is a broken rule
// (book.Violation); the rows are then not to be used any more.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	if index == 0 {
		if _, ok := r.(*system.HouseCreated); !ok {
			return book.Broken("house-created-first", "house.created as entry 0", r.Type())
		}
	}
	switch r := r.(type) {
	case *rounds.Settled:
		return foldRound(rows, index, r)
	case *wallet.Deposited:
		if err := holder(rows, r.Player, r.Amount.Currency, players.MayPlay); err != nil {
			return err
		}
	case *wallet.Withdrawn:
		if err := holder(rows, r.Player, r.Amount.Currency, players.MayWithdraw); err != nil {
			return err
		}
	case *players.NonceSet:
		s := epoch.Now(rows)
		return players.SetNonce(rows, r, s.Committed+1, max(s.Active, s.Closed+1))
	case *assessment.Assessed:
		return assessed(rows, r)
	case *rounds.Displayed:
		s, err := players.Live(rows, r.Actor, r.At)
		if err != nil {
			return book.Broken("displayed-session", "a session that can be played in as actor", r.Actor+": "+err.Error())
		}
		if s.Player != r.Player {
			return book.Broken("displayed-session", "the session's player", r.Player)
		}
		if _, err := players.Present(rows, r.Player); err != nil {
			return book.Broken("player-state", "an account that is not erased", err)
		}
		return nil
	case *players.SessionOpened:
		if _, err := rounds.Playable(rows, r.Game); err != nil {
			return book.Broken("session-game", "an enabled game", r.Game+": "+err.Error())
		}
	}
	for _, fold := range []func() error{
		func() error { return system.Fold(rows, index, r) },
		func() error { return officers.Fold(rows, index, r) },
		func() error { return keys.Fold(rows, index, r) },
		func() error { return wallet.Fold(rows, r) },
		func() error { return players.Fold(rows, r) },
		func() error { return subjects.Fold(rows, index, r) },
		func() error { return rounds.Fold(rows, index, r) },
		func() error { return monitor.Fold(rows, index, r) },
		func() error { return epoch.Fold(rows, index, r) },
		func() error { return decision.Fold(rows, index, r) },
		func() error { return foldNoise(rows, index, r) },
		func() error { return certificates.Fold(rows, index, r) },
	} {
		if err := fold(); err != nil {
			return err
		}
	}
	return nil
}

func foldRound(rows book.Rows, index uint64, r *rounds.Settled) error {
	s, err := players.Live(rows, r.Actor, r.At)
	if err != nil {
		return book.Broken("round-session", "a session that can be played in as actor", r.Actor+": "+err.Error())
	}
	if s.Player != r.Player || s.Game != r.Game {
		return book.Broken("round-session", "the session's player and game", r.Player.String()+" at "+r.Game)
	}
	if err := holder(rows, r.Player, r.Stake.Currency, players.MayPlay); err != nil {
		return err
	}
	if err := noise.Round(rows); err != nil {
		return err
	}
	if err := epoch.Draw(rows, r.Draw.Epoch, r.Draw.Number, r.At); err != nil {
		return err
	}
	if err := rounds.Fold(rows, index, r); err != nil {
		return err
	}
	if err := certificates.Round(rows, r); err != nil {
		return err
	}
	hold, cash := wallet.Parties(r.Postings, r.Game, r.Player)
	if funds := wallet.Balance(rows, cash, r.Stake.Currency); funds < r.Stake.Amount {
		return book.Broken("funds", "a balance that covers the stake of "+strconv.FormatInt(r.Stake.Amount, 10), funds)
	}
	return wallet.Post(rows, r.Postings, hold, cash, r.Result())
}

// foldNoise keeps the book of the sources of entropy.
func foldNoise(rows book.Rows, index uint64, r entry.Record) error {
	switch r := r.(type) {
	case *system.HouseActive, *system.PairActive:
		noise.Begin(rows)
	case *epoch.Committed:
		return noise.Seed(rows, members(r.Sources), r.Minimum)
	case *epoch.CommittedV1:
		list := members(r.Sources)
		for i := range list {
			list[i].Group = "" // it names none
		}
		return noise.Seed(rows, list, 0)
	}
	return noise.Fold(rows, index, r)
}

// members are a seed's sources. What is said of their health is for the book of
// seeds.
func members(sources []epoch.Source) []noise.Member {
	list := make([]noise.Member, len(sources))
	for i, s := range sources {
		list[i] = noise.Member{Group: s.Group, Source: s.Name}
	}
	return list
}

// assessed checks what an examination says of the games.
func assessed(rows book.Reader, r *assessment.Assessed) error {
	if r.Outcome != string(verdict.Pass) && r.Outcome != string(verdict.Fail) {
		return book.Broken("assessment-outcome", verdict.Pass+" or "+verdict.Fail, r.Outcome)
	}
	for _, g := range r.Games {
		release := book.Get[rounds.Release](rows, rounds.ReleaseKey(g.Game, g.Release))
		if release == nil || release.Maths != g.Maths {
			return book.Broken("assessment-game", "a release that was enabled, with its maths", g.Game+" "+g.Release+" "+hex.EncodeToString(g.Maths[:]))
		}
	}
	return nil
}

// holder checks that an account may be used, in its currency.
func holder(rows book.Rows, ref entry.Ref, c money.Currency, may func(book.Reader, entry.Ref) (*players.Player, error)) error {
	p, err := may(rows, ref)
	if err != nil {
		return book.Broken("player-state", "an account in a state that allows this", err)
	}
	if p.Currency != c {
		return book.Broken("player-currency", p.Currency, c)
	}
	return nil
}
