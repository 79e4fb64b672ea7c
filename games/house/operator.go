package house

import (
	"context"
	"errors"
	"fmt"

	"countroom/games/certificates"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
)

const operator = "operator"

func byOperator() entry.Header { return entry.Header{Actor: operator} }

// player finds the reference behind an operator's player id.
func (h *House) player(ctx context.Context, id string) (entry.Ref, error) {
	if ref, ok := h.ids.get(id); ok {
		return ref, nil
	}
	keep := !h.ledger.Passive() // who is erased on the machine that writes is dropped there only
	key := h.vault.idRow(id)
	erased := h.erased.Load()
	var ref entry.Ref
	err := h.ledger.View(ctx, func(rows book.Reader) (err error) {
		row := vaultRow(rows, key)
		if row == nil {
			return players.ErrUnknownPlayer
		}
		ref, err = h.vault.ref(key, row)
		return err
	})
	if err == nil && keep {
		h.ids.put(id, ref)
		if h.erased.Load() != erased { // it may have been this one
			h.ids.drop(id)
		}
	}
	return ref, err
}

// CreatePlayer opens an account under an operator's pseudonym.
func (h *House) CreatePlayer(ctx context.Context, req Request, id string, currency money.Currency) (ledger.Receipt, error) {
	ref := entry.Ref(random[[16]byte]())
	byID := h.vault.idRow(id)
	return h.update(ctx, ledger.Command{Reads: []string{byID, players.PlayerKey(ref), subjects.StateKey}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if row := vaultRow(tx, byID); row != nil && !h.vault.over(row) {
			return ErrPlayerExists
		}
		rows, err := h.vault.seat(ref, id) // here: who wraps rows anew sees what the writer did before
		if err != nil {
			return err
		}
		tx.PutVault(byID, rows.id)
		tx.PutVault(h.vault.playerRow(ref), rows.player)
		tx.PutVault(h.vault.subjectRow(ref), rows.subject)
		_, err = tx.Answer(&players.Created{Header: byOperator(), Currency: currency, Player: ref})
		return err
	}})
}

// Deposit adds money to a player's account.
func (h *House) Deposit(ctx context.Context, req Request, id string, m money.Money) (ledger.Receipt, error) {
	return h.move(ctx, req, id, m, players.MayPlay, func(ref entry.Ref) (from, to string) { return wallet.Cashier, wallet.Cash(ref) },
		func(mv wallet.Movement) entry.Record { return &wallet.Deposited{Movement: mv} })
}

// Withdraw takes money out of a player's account.
func (h *House) Withdraw(ctx context.Context, req Request, id string, m money.Money) (ledger.Receipt, error) {
	return h.move(ctx, req, id, m, players.MayWithdraw, func(ref entry.Ref) (from, to string) { return wallet.Cash(ref), wallet.Cashier },
		func(mv wallet.Movement) entry.Record { return &wallet.Withdrawn{Movement: mv} })
}

func (h *House) move(ctx context.Context, req Request, id string, m money.Money,
	may func(book.Reader, entry.Ref) (*players.Player, error), accounts func(entry.Ref) (from, to string), record func(wallet.Movement) entry.Record) (ledger.Receipt, error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		return h.Refuse(ctx, req, nil, err)
	}
	from, to := accounts(ref)
	reads := []string{players.PlayerKey(ref), wallet.Key(from, m.Currency), wallet.Key(to, m.Currency)}
	return h.update(ctx, ledger.Command{Reads: reads, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		p, err := may(tx, ref)
		if err != nil {
			return err
		}
		if p.Currency != m.Currency {
			return fmt.Errorf("%w: %s", ErrCurrency, p.Currency)
		}
		postings, err := wallet.Transfer(tx, from, to, m)
		if errors.Is(err, money.ErrOverflow) {
			return ErrBalanceFull
		}
		if err != nil {
			return err
		}
		_, err = tx.Answer(record(wallet.Movement{Header: byOperator(), Amount: m, Player: ref, Postings: postings}))
		return err
	}})
}

// reason prepares the operator's words: a commitment for the log, the words
// themselves, encrypted, for the vault.
func (h *House) reason(words string) (commitment [32]byte, key string, sealed []byte) {
	salt := random[[32]byte]()
	commitment = entry.Commitment(salt, words)
	key = h.vault.name("reason", string(commitment[:]))
	return commitment, key, h.vault.seal(key, append(salt[:], words...))
}

// SetPlayerState opens, suspends or closes an account.
func (h *House) SetPlayerState(ctx context.Context, req Request, id string, state players.State, words string) (ledger.Receipt, error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		return h.Refuse(ctx, req, nil, err)
	}
	salt := random[[32]byte]()
	commitment := entry.Commitment(salt, words)
	subject := h.vault.subjectRow(ref)
	return h.update(ctx, ledger.Command{Reads: []string{players.PlayerKey(ref), subject}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		p, err := players.Find(tx, ref)
		if err != nil {
			return err
		}
		if err := p.Change(state); err != nil {
			return err
		}
		key, sealed := h.vault.name("reason", string(commitment[:])), append(salt[:], words...)
		if row := vaultRow(tx, subject); row != nil {
			own, err := h.vault.personal(subject, row)
			if err != nil {
				return err
			}
			key = h.vault.wordsRow(ref, commitment)
			tx.PutVault(key, own.seal(key, sealed))
		} else { // as an older house had it, until its rows are moved
			tx.PutVault(key, h.vault.seal(key, sealed))
		}
		_, err = tx.Answer(&players.StateChanged{Header: byOperator(), Player: ref, Reason: commitment, State: state})
		return err
	}})
}

// OpenSession lets a player play a game and returns the session's token.
func (h *House) OpenSession(ctx context.Context, req Request, id, gameID string) (r ledger.Receipt, session entry.UUID, token string, err error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		r, err = h.Refuse(ctx, req, nil, err)
	} else {
		r, err = h.openSession(ctx, req, ref, gameID)
	}
	if err != nil {
		return r, session, "", err
	}
	session = r.Record.Head().ID
	return r, session, h.token(session), nil
}

func (h *House) openSession(ctx context.Context, req Request, ref entry.Ref, gameID string) (ledger.Receipt, error) {
	return h.update(ctx, ledger.Command{Reads: []string{players.PlayerKey(ref), rounds.GameKey(gameID)}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if _, err := players.MayPlay(tx, ref); err != nil {
			return err
		}
		if _, err := rounds.Playable(tx, gameID); err != nil {
			return err
		}
		_, err := tx.Answer(&players.SessionOpened{Header: byOperator(), Expires: tx.At().Add(h.cfg.SessionAge), Game: gameID, Player: ref})
		return err
	}})
}

// CloseSession revokes a session.
func (h *House) CloseSession(ctx context.Context, req Request, id entry.UUID) (ledger.Receipt, error) {
	return h.update(ctx, ledger.Command{Reads: []string{players.SessionKey(id)}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		s := book.Get[players.Session](tx, players.SessionKey(id))
		switch {
		case s == nil:
			return players.ErrUnknownSession
		case s.Closed:
			return players.ErrSessionClosed
		}
		if _, err := players.Present(tx, s.Player); err != nil {
			return err
		}
		_, err := tx.Answer(&players.SessionClosed{Header: byOperator(), Player: s.Player, Session: id})
		return err
	}})
}

// SetGameState enables or disables a game.
func (h *House) SetGameState(ctx context.Context, req Request, id string, on bool, words string) (ledger.Receipt, error) {
	if on {
		g := h.definitions[id]
		if g == nil {
			return h.Refuse(ctx, req, nil, rounds.ErrUnknownGame)
		}
		return h.enable(ctx, req.entry(operatorScope), g, words)
	}
	commitment, key, sealed := h.reason(words)
	return h.update(ctx, ledger.Command{Reads: []string{rounds.GameKey(id)}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if _, err := rounds.Playable(tx, id); errors.Is(err, rounds.ErrGameDisabled) {
			return ErrGameState
		} else if err != nil {
			return err
		}
		tx.PutVault(key, sealed)
		_, err := tx.Answer(&rounds.GameDisabled{Header: byOperator(), Game: id, Reason: commitment})
		return err
	}})
}

func (h *House) enable(ctx context.Context, req entry.Request, g *game, words string) (ledger.Receipt, error) {
	enabling := h.enabling(operator, g, words)
	r, err := h.update(ctx, ledger.Command{Reads: []string{rounds.GameKey(g.id), rounds.GamesKey}, Request: req, Run: func(tx *ledger.Tx) error {
		if row := book.Get[rounds.Game](tx, rounds.GameKey(g.id)); row != nil && row.On {
			return ErrGameState
		}
		if err := certificates.MayPlay(tx, g.id, g.maths, tx.At()); err != nil {
			return err
		}
		_, err := tx.Answer(enabling(tx))
		return err
	}})
	if err == nil {
		h.keepGame(g)
	}
	return r, err
}

// enabling readies a game for play and returns what makes the entry that puts
// it there.
func (h *House) enabling(actor string, g *game, words string) func(*ledger.Tx) *rounds.GameEnabled {
	h.machines.Store(g.maths, g) // before a spin can meet the entry
	commitment, key, sealed := h.reason(words)
	return func(tx *ledger.Tx) *rounds.GameEnabled {
		tx.PutVault(key, sealed)
		return &rounds.GameEnabled{
			Header: entry.Header{Actor: actor}, Definition: g.canonical, Engine: "slots", Game: g.id, LeafMax: g.leafMax,
			Maths: g.maths, PayoutMax: g.bounds.Payout, Reason: commitment, Release: g.release,
		}
	}
}
