// Package wallet is the book of accounts: double entry, in minor units, with
// the balance after each posting in the log. An account is named by a path:
//
//	player/<ref>/cash     a player's money; never below zero
//	house/cashier         the other side of deposits and withdrawals
//	house/games/<game>    the other side of play: what the game holds
package wallet

import (
	"errors"
	"fmt"
	"strings"

	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// ErrFunds says that an account that may not go below zero would.
var ErrFunds = errors.New("insufficient funds")

// Cashier is the account opposite to deposits and withdrawals.
const Cashier = "house/cashier"

// Cash names a player's account.
func Cash(player entry.Ref) string {
	b := append(make([]byte, 0, 64), "player/"...)
	return string(append(player.Append(b), "/cash"...))
}

// Hold names the account of what a game holds.
func Hold(game string) string { return "house/games/" + game }

// Parties are the accounts that a round is posted to. Postings that are right name
// them, so that no name has to be made.
func Parties(postings []money.Posting, game string, player entry.Ref) (hold, cash string) {
	name := func(i int, b []byte) string {
		if i < len(postings) && postings[i].Account == string(b) {
			return postings[i].Account
		}
		return string(b)
	}
	var buf [64]byte
	hold = name(0, append(append(buf[:0], "house/games/"...), game...))
	return hold, name(1, append(player.Append(append(buf[:0], "player/"...)), "/cash"...))
}

// Account is the row of an account in one currency.
type Account struct{ Balance int64 }

// Code visits the members.
func (a *Account) Code(c *entry.Coder) { c.Int("balance", &a.Balance) }

// Key is the row's key.
func Key(account string, currency money.Currency) string {
	return "wallet/" + account + "/" + string(currency)
}

func appendKey(dst []byte, account string, currency money.Currency) []byte {
	dst = append(append(dst, "wallet/"...), account...)
	return append(append(dst, '/'), currency...)
}

// Kinds are the rows of this book.
var Kinds = book.Kinds{"wallet": func() book.Row { return new(Account) }}

// Balance returns what an account holds, zero when it was never used.
func Balance(rows book.Reader, account string, currency money.Currency) int64 {
	if a := book.Find[Account](rows, appendKey(make([]byte, 0, 80), account, currency)); a != nil {
		return a.Balance
	}
	return 0
}

// Transfer returns the two postings that move an amount (of either sign, or
// zero) from one account to another, with the balances after. It changes
// nothing.
func Transfer(rows book.Reader, from, to string, m money.Money) ([]money.Posting, error) {
	postings := make([]money.Posting, 2)
	for i := range postings {
		var err error
		if postings[i], _, err = leg(rows, i, from, to, m, nil); err != nil {
			return nil, err
		}
	}
	return postings, nil
}

// leg works out one posting of a transfer, 0 or 1, and appends the key of its row.
func leg(rows book.Reader, i int, from, to string, m money.Money, key []byte) (money.Posting, []byte, error) {
	var err error
	p := money.Posting{Account: from, Amount: -m.Amount, Currency: m.Currency}
	if i == 1 {
		p.Account, p.Amount = to, m.Amount
	}
	key = appendKey(key, p.Account, p.Currency)
	var before int64
	if a := book.Find[Account](rows, key); a != nil {
		before = a.Balance
	}
	if p.Balance, err = money.Add(before, p.Amount); err != nil {
		return p, key, fmt.Errorf("account %s: %w", p.Account, err)
	}
	if p.Balance < 0 && isPlayers(p.Account) {
		return p, key, fmt.Errorf("account %s: %w", p.Account, ErrFunds)
	}
	return p, key, nil
}

func isPlayers(account string) bool { return strings.HasPrefix(account, "player/") }

// Post applies the postings of an entry, which must be the transfer of m from
// one account to another.
func Post(rows book.Rows, postings []money.Posting, from, to string, m money.Money) error {
	if err := money.Balanced(postings); err != nil {
		return book.Broken("postings-balanced", "postings that sum to zero per currency", err)
	}
	if len(postings) != 2 {
		return book.Broken("postings", "2 postings", len(postings))
	}
	for i, p := range postings {
		var buf [80]byte
		w, key, err := leg(rows, i, from, to, m, buf[:0])
		switch {
		case err != nil:
			return book.Broken("funds", "every balance in range and no player below zero", err)
		case p.Account != w.Account || p.Currency != w.Currency:
			return book.Broken("postings", w.Account+" in "+string(w.Currency), p.Account+" in "+string(p.Currency))
		case p.Amount != w.Amount:
			return book.Broken("posting-amount", fmt.Sprintf("%s %+d %s", w.Account, w.Amount, w.Currency), fmt.Sprintf("%+d", p.Amount))
		case p.Balance != w.Balance:
			return book.Broken("balance", fmt.Sprintf("%s at %d %s", w.Account, w.Balance, w.Currency), p.Balance)
		}
		book.Put(rows, key, &Account{w.Balance})
	}
	return nil
}

// Deposited is money that came in for a player ("wallet.deposited").
type Deposited struct{ Movement }

// Withdrawn is money that a player took out ("wallet.withdrawn").
type Withdrawn struct{ Movement }

// Movement is what deposits and withdrawals have in common.
type Movement struct {
	entry.Header
	Amount   money.Money
	Player   entry.Ref
	Postings []money.Posting
}

// Type is "wallet.deposited".
func (*Deposited) Type() string { return "wallet.deposited" }

// Type is "wallet.withdrawn".
func (*Withdrawn) Type() string { return "wallet.withdrawn" }

// Code visits the members.
func (r *Deposited) Code(c *entry.Coder) { r.code(c, r.Type()) }

// Code visits the members.
func (r *Withdrawn) Code(c *entry.Coder) { r.code(c, r.Type()) }

func (r *Movement) code(c *entry.Coder, typ string) {
	c.Actor(&r.Header)
	c.Money("amount", &r.Amount)
	c.At(&r.Header)
	c.Fingerprint(&r.Header)
	c.ID(&r.Header)
	c.Key(&r.Header)
	c.Hex("player", r.Player[:])
	c.Postings("postings", &r.Postings)
	c.Is("type", typ)
}

// Fold applies an entry of this package.
func Fold(rows book.Rows, r entry.Record) error {
	switch r := r.(type) {
	case *Deposited:
		return r.fold(rows, Cashier, Cash(r.Player))
	case *Withdrawn:
		return r.fold(rows, Cash(r.Player), Cashier)
	}
	return nil
}

func (r *Movement) fold(rows book.Rows, from, to string) error {
	if r.Amount.Amount <= 0 {
		return book.Broken("amount", "a positive amount", r.Amount.Amount)
	}
	return Post(rows, r.Postings, from, to, r.Amount)
}
