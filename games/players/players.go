// Package players is the book of player accounts and their sessions. A player
// is a random reference; whom it stands for is kept outside the log.
package players

import (
	"errors"
	"strings"
	"time"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// State is the state of a player's account.
type State string

// The states. A closed account stays closed; what it still holds can be
// withdrawn, since closing must not lock a player's money in. Nothing can be done
// with an account whose owner was erased (package subjects): it is nobody's.
const (
	Open      State = "open"
	Suspended State = "suspended"
	Closed    State = "closed"
	Erased    State = "erased"
)

// Refusals.
var (
	ErrUnknownPlayer  = errors.New("unknown player")
	ErrSuspended      = errors.New("player account is suspended")
	ErrClosed         = errors.New("player account is closed")
	ErrErased         = errors.New("player was erased")
	ErrUnchanged      = errors.New("player account is in that state already")
	ErrUnknownSession = errors.New("unknown session")
	ErrSessionClosed  = errors.New("session is closed")
	ErrSessionExpired = errors.New("session has expired")
)

// Created opens an account ("player.created").
type Created struct {
	entry.Header
	Currency money.Currency
	Player   entry.Ref
}

// Type is "player.created".
func (*Created) Type() string { return "player.created" }

// Code visits the members.
func (r *Created) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Currency("currency", &r.Currency)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Is("type", r.Type())
}

// StateChanged opens, suspends or closes an account ("player.state-changed").
// Reason is the salted commitment (entry.Commitment) to the operator's words.
type StateChanged struct {
	entry.Header
	Player entry.Ref
	Reason [32]byte
	State  State
}

// Type is "player.state-changed".
func (*StateChanged) Type() string { return "player.state-changed" }

// Code visits the members.
func (r *StateChanged) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Hex("reason", r.Reason[:])
	s := string(r.State)
	c.Text("state", &s, 16)
	r.State = State(s)
	c.Is("type", r.Type())
}

// SessionOpened lets a player play one game until it expires
// ("session.opened"). The session's id is the entry's.
type SessionOpened struct {
	entry.Header
	Expires entry.Time
	Game    string
	Player  entry.Ref
}

// Type is "session.opened".
func (*SessionOpened) Type() string { return "session.opened" }

// Code visits the members.
func (r *SessionOpened) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Time("expires", &r.Expires)
	c.Fingerprint(&r.Header)
	c.Text("game", &r.Game, 32)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Is("type", r.Type())
}

// SessionClosed revokes a session ("session.closed").
type SessionClosed struct {
	entry.Header
	Player  entry.Ref
	Session entry.UUID
}

// Type is "session.closed".
func (*SessionClosed) Type() string { return "session.closed" }

// Code visits the members.
func (r *SessionClosed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.UUID("session", &r.Session)
	c.Is("type", r.Type())
}

// Player is the row of an account.
type Player struct {
	Currency money.Currency
	Nonces   []Nonce // standing nonces that draws to come can have, by rising epoch
	State    State
}

// Code visits the members.
func (p *Player) Code(c *entry.Coder) {
	c.Currency("currency", &p.Currency)
	codeNonces(c, &p.Nonces)
	s := string(p.State)
	c.Text("state", &s, 16)
	p.State = State(s)
}

// Session is the row of a session.
type Session struct {
	Closed  bool
	Expires entry.Time
	Game    string
	Player  entry.Ref
}

// Code visits the members.
func (s *Session) Code(c *entry.Coder) {
	c.Bool("closed", &s.Closed)
	c.Time("expires", &s.Expires)
	c.Text("game", &s.Game, 32)
	c.Hex("player", s.Player[:])
}

// PlayerKey is the key of a player's row.
func PlayerKey(ref entry.Ref) string { return string(appendPlayerKey(make([]byte, 0, 40), ref)) }

func appendPlayerKey(dst []byte, ref entry.Ref) []byte {
	return ref.Append(append(dst, "player/"...))
}

// SessionKey is the key of a session's row, and how a session is named as an
// entry's actor.
func SessionKey(id entry.UUID) string {
	return string(id.Append(append(make([]byte, 0, 44), sessionPrefix...)))
}

const sessionPrefix = "session/"

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	"player":  func() book.Row { return new(Player) },
	"session": func() book.Row { return new(Session) },
}

// Find returns the player's row, whatever its state.
func Find(rows book.Reader, ref entry.Ref) (*Player, error) {
	p := book.Find[Player](rows, appendPlayerKey(make([]byte, 0, 40), ref))
	if p == nil {
		return nil, ErrUnknownPlayer
	}
	return p, nil
}

// Present returns the player's row unless he was erased.
func Present(rows book.Reader, ref entry.Ref) (*Player, error) {
	p, err := Find(rows, ref)
	if err == nil && p.State == Erased {
		return nil, ErrErased
	}
	return p, err
}

// Erase makes a player nobody. That he may be is for the caller to know.
func Erase(rows book.Rows, ref entry.Ref) {
	rows.Put(PlayerKey(ref), &Player{Currency: book.Get[Player](rows, PlayerKey(ref)).Currency, State: Erased})
}

// MayPlay returns the player's row if the account is open; deposits ask the
// same.
func MayPlay(rows book.Reader, ref entry.Ref) (*Player, error) {
	p, err := Present(rows, ref)
	if err != nil {
		return nil, err
	}
	switch p.State {
	case Suspended:
		return nil, ErrSuspended
	case Closed:
		return nil, ErrClosed
	}
	return p, nil
}

// MayWithdraw returns the player's row unless the account is suspended.
func MayWithdraw(rows book.Reader, ref entry.Ref) (*Player, error) {
	p, err := Present(rows, ref)
	if err == nil && p.State == Suspended {
		return nil, ErrSuspended
	}
	return p, err
}

// Live returns the row of the session that is named as an actor, if it can be
// played in at that time.
func Live(rows book.Reader, actor string, at entry.Time) (*Session, error) {
	if !strings.HasPrefix(actor, sessionPrefix) {
		return nil, ErrUnknownSession
	}
	s := book.Get[Session](rows, actor)
	switch {
	case s == nil:
		return nil, ErrUnknownSession
	case s.Closed:
		return nil, ErrSessionClosed
	case at >= s.Expires:
		return nil, ErrSessionExpired
	}
	return s, nil
}

// Change tells whether an account may go from its state to another.
func (p *Player) Change(to State) error {
	switch {
	case p.State == Erased:
		return ErrErased
	case p.State == Closed && to != Closed:
		return ErrClosed
	case p.State == to:
		return ErrUnchanged
	}
	return nil
}

// SessionLongest bounds how long a session can live.
const SessionLongest = 30 * 24 * time.Hour

// Fold applies an entry of this package.
func Fold(rows book.Rows, r entry.Record) error {
	switch r := r.(type) {
	case *Created:
		if rows.Get(PlayerKey(r.Player)) != nil {
			return book.Broken("player-once", "a player reference that is new", r.Player)
		}
		rows.Put(PlayerKey(r.Player), &Player{Currency: r.Currency, State: Open})
	case *StateChanged:
		p, err := Find(rows, r.Player)
		if err == nil {
			err = p.Change(r.State)
		}
		if err == nil && r.State != Open && r.State != Suspended && r.State != Closed {
			err = errors.New("no such state")
		}
		if err != nil {
			return book.Broken("player-state", "a change that the account's state allows", string(r.State)+": "+err.Error())
		}
		changed := *p
		changed.State = r.State
		rows.Put(PlayerKey(r.Player), &changed)
	case *SessionOpened:
		if _, err := MayPlay(rows, r.Player); err != nil {
			return book.Broken("session-player", "an open player account", err)
		}
		if r.Expires <= r.At || r.Expires > r.At.Add(SessionLongest) {
			return book.Broken("session-expiry", "an expiry after the opening and within "+SessionLongest.String(), r.Expires)
		}
		rows.Put(SessionKey(r.ID), &Session{Expires: r.Expires, Game: r.Game, Player: r.Player})
	case *SessionClosed:
		s := book.Get[Session](rows, SessionKey(r.Session))
		if s == nil || s.Closed || s.Player != r.Player {
			return book.Broken("session-open", "an open session of this player", r.Session)
		}
		if _, err := Present(rows, r.Player); err != nil {
			return book.Broken("player-state", "an account that is not erased", err)
		}
		closed := *s
		closed.Closed = true
		rows.Put(SessionKey(r.Session), &closed)
	}
	return nil
}
