package api

import (
	"context"
	"errors"

	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"

	"github.com/labstack/echo/v4"
)

// byOperator reads an operator's command.
func (s *Server) byOperator(c echo.Context, bodyNeeded bool) (*command, error) {
	if err := s.admit(c, operator); err != nil {
		return nil, err
	}
	return s.command(c, nil, bodyNeeded)
}

// carryOut does what a command says, unless its fields were refused, and
// answers.
func (s *Server) carryOut(c echo.Context, cmd *command, do func(context.Context) (ledger.Receipt, error), more func(r *ledger.Receipt, dst []byte) ([]byte, error)) error {
	ctx := s.context()
	var r ledger.Receipt
	err := cmd.end()
	if err != nil {
		r, err = s.house.Refuse(ctx, cmd.req, cmd.session, err)
	} else {
		r, err = do(ctx)
	}
	if err != nil {
		return err
	}
	return cmd.answer(c, &r, more)
}

// createPlayer: POST /v1/players.
func (s *Server) createPlayer(c echo.Context) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	id, currency := cmd.player("id"), cmd.currency("currency")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.CreatePlayer(ctx, cmd.req, id, currency)
	}, func(_ *ledger.Receipt, dst []byte) ([]byte, error) { return appendQuoted(dst, "id", id), nil })
}

// deposit: POST /v1/players/{id}/deposits.
func (s *Server) deposit(c echo.Context) error { return s.move(c, s.house.Deposit) }

// withdraw: POST /v1/players/{id}/withdrawals.
func (s *Server) withdraw(c echo.Context) error { return s.move(c, s.house.Withdraw) }

func (s *Server) move(c echo.Context, do func(context.Context, house.Request, string, money.Money) (ledger.Receipt, error)) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	id := cmd.pathPlayer(c)
	m := money.Money{Amount: cmd.integer("amount", 1, money.Max), Currency: cmd.currency("currency")}
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return do(ctx, cmd.req, id, m)
	}, nil)
}

// setPlayerState: POST /v1/players/{id}/state.
func (s *Server) setPlayerState(c echo.Context) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	id := cmd.pathPlayer(c)
	state := players.State(cmd.oneOf("state", string(players.Open), string(players.Suspended), string(players.Closed)))
	reason := cmd.words("reason")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.SetPlayerState(ctx, cmd.req, id, state, reason)
	}, nil)
}

// recordSubject: PUT /v1/players/{id}/subject.
func (s *Server) recordSubject(c echo.Context) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	id, list := cmd.pathPlayer(c), cmd.attributes("values")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.RecordSubject(ctx, cmd.req, id, list)
	}, nil)
}

// openSession: POST /v1/sessions.
func (s *Server) openSession(c echo.Context) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	player, game := cmd.player("player"), cmd.game("game")
	var token string
	return s.carryOut(c, cmd, func(ctx context.Context) (r ledger.Receipt, err error) {
		r, _, token, err = s.house.OpenSession(ctx, cmd.req, player, game)
		return r, err
	}, func(r *ledger.Receipt, dst []byte) ([]byte, error) { return appendSession(r, dst, token) })
}

// closeSession: POST /v1/sessions/{id}/close.
func (s *Server) closeSession(c echo.Context) error {
	cmd, err := s.byOperator(c, false)
	if err != nil {
		return err
	}
	defer cmd.done()
	id, err := entry.ParseUUID(c.Param("id"))
	if err != nil {
		cmd.bad = players.ErrUnknownSession
	}
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		r, err := s.house.CloseSession(ctx, cmd.req, id)
		if errors.Is(err, players.ErrSessionClosed) {
			err = sessionClosed.with("")
		}
		return r, err
	}, nil)
}

// spin: POST /v1/spins.
func (s *Server) spin(c echo.Context) error {
	session, err := s.player(c)
	if err != nil {
		return err
	}
	cmd, err := s.command(c, session, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	stake := cmd.integer("stake", 1, money.Max)
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.Spin(ctx, cmd.req, *session, stake)
	}, appendSpin)
}

// setNonce: PUT /v1/nonce.
func (s *Server) setNonce(c echo.Context) error {
	session, err := s.player(c)
	if err != nil {
		return err
	}
	cmd, err := s.command(c, session, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	nonce := cmd.bytes32("nonce")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.SetNonce(ctx, cmd.req, *session, nonce)
	}, nil)
}

// displayed: POST /v1/rounds/{id}/displayed.
func (s *Server) displayed(c echo.Context) error {
	session, err := s.player(c)
	if err != nil {
		return err
	}
	cmd, err := s.command(c, session, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	round, err := entry.ParseUUID(c.Param("id"))
	if err != nil {
		cmd.bad = ledger.ErrNotFound
	}
	digest := cmd.bytes32("sha256")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.Displayed(ctx, cmd.req, *session, round, digest)
	}, nil)
}

// setGameState: POST /v1/games/{id}/state.
func (s *Server) setGameState(c echo.Context) error {
	cmd, err := s.byOperator(c, true)
	if err != nil {
		return err
	}
	defer cmd.done()
	id := c.Param("id")
	if !gameID.MatchString(id) {
		cmd.bad = rounds.ErrUnknownGame
	}
	on := cmd.oneOf("state", stateEnabled, stateDisabled) == stateEnabled
	reason := cmd.words("reason")
	return s.carryOut(c, cmd, func(ctx context.Context) (ledger.Receipt, error) {
		return s.house.SetGameState(ctx, cmd.req, id, on, reason)
	}, nil)
}

// States of a game.
const (
	stateEnabled  = "enabled"
	stateDisabled = "disabled"
)

// pathPlayer reads the player's id in the path.
func (cmd *command) pathPlayer(c echo.Context) string {
	id := c.Param("id")
	if !playerID.MatchString(id) {
		cmd.bad = players.ErrUnknownPlayer
	}
	return id
}
