// Package cdb makes and checks deliveries for a control databank as the Netherlands ask for: records by type in XML, at
// most 512 in a file, each delivery chained to the one before it, corrected by replacing and cancelling.
//
// It follows what is publicly said of that regime. The authority's schema is not part of this repository, and the
// elements and their names are this house's own (docs/vault-deliveries.md).
package cdb

import (
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"strings"

	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/vault"
)

// Format names this version of files and manifests.
const Format = "countroom/vault/cdb/1"

// RecordsMost is how many records a file has at most.
const RecordsMost = 512

// places are the decimal places of amounts.
const places = 2

// Kind is a type of records, which names their files.
type Kind string

// The kinds, in the order of a delivery's files. Of what else the regime knows (limits, flags, deposit thresholds,
// interventions, complaints) the log has no entries.
const (
	Operators     Kind = "operator"
	Profiles      Kind = "profile"
	Games         Kind = "game"
	Sessions      Kind = "session"
	Bets          Kind = "bet"
	Transactions  Kind = "transaction"
	Cancellations Kind = "cancellation"
)

var kinds = []Kind{Operators, Profiles, Games, Sessions, Bets, Transactions, Cancellations}

// Ledger binds a record to the log: the entries that it is of, the hash of the first as a leaf (RFC 6962), and the
// checkpoint under which it was made.
type Ledger struct {
	First uint64 `xml:"first,attr"`
	Last  uint64 `xml:"last,attr"`
	Leaf  string `xml:"leaf,attr"`
	Size  uint64 `xml:"size,attr"`
	Root  string `xml:"root,attr"`
}

// Actions of a record.
const (
	ActionNew     = "new"
	ActionReplace = "replace"
	ActionCancel  = "cancel"
)

// Head is the beginning of each record. Corrects is the delivery that had the record that is replaced or cancelled.
type Head struct {
	Action   string `xml:"action,attr"`
	Corrects uint64 `xml:"corrects,attr,omitempty"`
	ID       string `xml:"id,attr"` // of the entry
	Ledger   Ledger `xml:"Ledger"`
	DateTime string `xml:"DateTime"`
}

func (h *Head) head() *Head { return h }

// Record is one of the types below.
type Record interface {
	head() *Head
	kind() Kind
}

// Operator is the house.
type Operator struct {
	Head
	Name string `xml:"Log_Origin"`
}

// Profile is a player's account as it is from an entry on. Whom it stands for is in no record.
type Profile struct {
	Head
	Player   string `xml:"Player_Profile_ID"`
	Currency string `xml:"Currency,omitempty"` // when it is opened
	Status   string `xml:"Status"`
}

// Game is a game as it is from an entry on.
type Game struct {
	Head
	Game    string `xml:"Game_ID"`
	Status  string `xml:"Status"` // enabled, disabled, suspended
	Release string `xml:"Release,omitempty"`
	Maths   string `xml:"Maths_SHA256,omitempty"`
}

// Session is the beginning or the end of a player's session at a game.
type Session struct {
	Head
	Session string `xml:"Game_Session_ID"`
	Player  string `xml:"Player_Profile_ID"`
	Game    string `xml:"Game_ID,omitempty"` // when it begins
	Status  string `xml:"Status"`            // opened, closed
	Expires string `xml:"Expires,omitempty"`
}

// Bet is a round: stake and result.
type Bet struct {
	Head
	Player   string `xml:"Player_Profile_ID"`
	Session  string `xml:"Game_Session_ID"`
	Game     string `xml:"Game_ID"`
	Enabled  uint64 `xml:"Game_Ledger_Index"`
	Round    uint64 `xml:"Round_Number"`
	Epoch    uint64 `xml:"RNG_Epoch"`
	Draw     uint64 `xml:"RNG_Draw"`
	Currency string `xml:"Currency"`
	Stake    string `xml:"Stake"`
	Payout   string `xml:"Payout"`
	Balance  string `xml:"Balance_After"`
}

// Transaction is money that came in or went out.
type Transaction struct {
	Head
	Player   string `xml:"Player_Profile_ID"`
	Type     string `xml:"Transaction_Type"` // deposit, withdrawal
	Currency string `xml:"Currency"`
	Amount   string `xml:"Amount"`
	Balance  string `xml:"Balance_After"`
}

// Cancellation takes back a record. Its id is that record's.
type Cancellation struct {
	Head
	Of     Kind   `xml:"Record_Type"`
	Reason string `xml:"Reason"`
}

func (*Operator) kind() Kind     { return Operators }
func (*Profile) kind() Kind      { return Profiles }
func (*Game) kind() Kind         { return Games }
func (*Session) kind() Kind      { return Sessions }
func (*Bet) kind() Kind          { return Bets }
func (*Transaction) kind() Kind  { return Transactions }
func (*Cancellation) kind() Kind { return Cancellations }

// mapping makes the record of an entry, or says why there is none.
type mapping func(index uint64, leaf []byte, r entry.Record, under tlog.Checkpoint) (Record, string, error)

// recordOf is the one mapping from entries to records.
func recordOf(index uint64, leaf []byte, r entry.Record, under tlog.Checkpoint) (Record, string, error) {
	hash := tlog.LeafHash(leaf)
	head := Head{
		Action: ActionNew, ID: r.Head().ID.String(), DateTime: r.Head().At.String(),
		Ledger: Ledger{First: index, Last: index, Leaf: hex.EncodeToString(hash[:]), Size: under.Size, Root: hex.EncodeToString(under.Root[:])},
	}
	switch r := r.(type) {
	case *system.HouseCreated:
		return &Operator{Head: head, Name: r.Origin}, "", nil
	case *players.Created:
		return &Profile{Head: head, Player: r.Player.String(), Currency: string(r.Currency), Status: string(players.Open)}, "", nil
	case *players.StateChanged:
		return &Profile{Head: head, Player: r.Player.String(), Status: string(r.State)}, "", nil
	case *rounds.GameEnabled:
		return &Game{Head: head, Game: r.Game, Status: "enabled", Release: r.Release, Maths: hex.EncodeToString(r.Maths[:])}, "", nil
	case *rounds.GameDisabled:
		return &Game{Head: head, Game: r.Game, Status: "disabled"}, "", nil
	case *monitor.Alarmed:
		if r.Suspended {
			return &Game{Head: head, Game: r.Game, Status: "suspended"}, "", nil
		}
	case *players.SessionOpened:
		return &Session{Head: head, Session: r.ID.String(), Player: r.Player.String(), Game: r.Game, Status: "opened", Expires: r.Expires.String()}, "", nil
	case *players.SessionClosed:
		return &Session{Head: head, Session: r.Session.String(), Player: r.Player.String(), Status: "closed"}, "", nil
	case *rounds.Settled:
		c := r.Stake.Currency
		balance, err := balanceOf(r.Player, r.Postings)
		return &Bet{
			Head: head, Player: r.Player.String(), Session: strings.TrimPrefix(r.Actor, "session/"), Game: r.Game, Enabled: r.Enabled,
			Round: r.Draw.N, Epoch: r.Draw.Epoch, Draw: r.Draw.Number, Currency: string(c),
			Stake: vault.Decimal(r.Stake.Amount, c, places), Payout: vault.Decimal(r.Payout.Amount, c, places), Balance: vault.Decimal(balance, c, places),
		}, "", err
	case *wallet.Deposited:
		return transaction(head, "deposit", &r.Movement)
	case *wallet.Withdrawn:
		return transaction(head, "withdrawal", &r.Movement)
	}
	why, known := vault.Beside[r.Type()]
	if !known {
		return nil, "", fmt.Errorf("entry %d is %s: expected a type that has a record, or a reason to have none", index, r.Type())
	}
	return nil, why, nil
}

func transaction(head Head, typ string, r *wallet.Movement) (Record, string, error) {
	c := r.Amount.Currency
	balance, err := balanceOf(r.Player, r.Postings)
	return &Transaction{
		Head: head, Player: r.Player.String(), Type: typ, Currency: string(c),
		Amount: vault.Decimal(r.Amount.Amount, c, places), Balance: vault.Decimal(balance, c, places),
	}, "", err
}

// balanceOf is what the postings of an entry leave a player.
func balanceOf(player entry.Ref, postings []money.Posting) (int64, error) {
	for _, p := range postings {
		if p.Account == wallet.Cash(player) {
			return p.Balance, nil
		}
	}
	return 0, fmt.Errorf("no posting to the player %s", player)
}

// count adds a record, as it stands in its file, to what the vault comes to.
func count(t *vault.Totals, r Record) error {
	day, _, _ := strings.Cut(r.head().DateTime, "T")
	switch r := r.(type) {
	case *Bet:
		stake, err := vault.ParseDecimal(r.Stake, money.Currency(r.Currency), places)
		if err != nil {
			return err
		}
		payout, err := vault.ParseDecimal(r.Payout, money.Currency(r.Currency), places)
		if err != nil {
			return err
		}
		return t.Add(vault.PlayKey{Day: day, Game: r.Game, Currency: r.Currency}, vault.Play{Rounds: 1, Stakes: stake, Payouts: payout})
	case *Transaction:
		amount, err := vault.ParseDecimal(r.Amount, money.Currency(r.Currency), places)
		if err != nil {
			return err
		}
		sum := vault.Cash{Deposits: amount, DepositCount: 1}
		if r.Type != "deposit" {
			sum = vault.Cash{Withdrawals: amount, WithdrawalCount: 1}
		}
		return t.AddCash(vault.CashKey{Day: day, Currency: r.Currency}, sum)
	}
	return nil
}

// file is a file of records of one kind.
type file struct {
	XMLName  xml.Name `xml:"Records"`
	Format   string   `xml:"format,attr"`
	Origin   string   `xml:"origin,attr"`
	Delivery uint64   `xml:"delivery,attr"`
	Number   uint64   `xml:"number,attr"` // of this kind in the delivery, from 1
	Kind     Kind     `xml:"type,attr"`

	Operator     []*Operator     `xml:"Operator"`
	Profile      []*Profile      `xml:"Player_Profile"`
	Game         []*Game         `xml:"Game"`
	Session      []*Session      `xml:"Game_Session"`
	Bet          []*Bet          `xml:"Bet"`
	Transaction  []*Transaction  `xml:"Account_Transaction"`
	Cancellation []*Cancellation `xml:"Cancellation"`

	added int
}

func (f *file) add(r Record) {
	f.added++
	switch r := r.(type) {
	case *Operator:
		f.Operator = append(f.Operator, r)
	case *Profile:
		f.Profile = append(f.Profile, r)
	case *Game:
		f.Game = append(f.Game, r)
	case *Session:
		f.Session = append(f.Session, r)
	case *Bet:
		f.Bet = append(f.Bet, r)
	case *Transaction:
		f.Transaction = append(f.Transaction, r)
	case *Cancellation:
		f.Cancellation = append(f.Cancellation, r)
	}
}

func (f *file) records() (list []Record) {
	for _, r := range f.Operator {
		list = append(list, r)
	}
	for _, r := range f.Profile {
		list = append(list, r)
	}
	for _, r := range f.Game {
		list = append(list, r)
	}
	for _, r := range f.Session {
		list = append(list, r)
	}
	for _, r := range f.Bet {
		list = append(list, r)
	}
	for _, r := range f.Transaction {
		list = append(list, r)
	}
	for _, r := range f.Cancellation {
		list = append(list, r)
	}
	return list
}

// parseFile reads a file of records.
func parseFile(data []byte) (*file, error) {
	f := new(file)
	if err := vault.Decode(data, f); err != nil {
		return nil, err
	}
	list := f.records()
	if len(list) == 0 || len(list) > RecordsMost {
		return nil, fmt.Errorf("%d records, expected 1 to %d", len(list), RecordsMost)
	}
	for _, r := range list {
		if r.kind() != f.Kind {
			return nil, fmt.Errorf("a record of type %s, expected %s", r.kind(), f.Kind)
		}
	}
	return f, nil
}
