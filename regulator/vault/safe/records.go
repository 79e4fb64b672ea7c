// Package safe makes and checks deliveries for a SAFE as Denmark asks for: for each day the sessions that were played in
// it, what the day comes to, and its jackpots, sealed by a token of the authority's TamperToken service.
//
// It follows what is publicly said of that regime. The authority's schema and the protocol of its token service are not
// part of this repository; the elements and their names are this house's own (docs/vault-deliveries.md).
package safe

import (
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/vault"
)

// Format names this version of files and manifests.
const Format = "countroom/vault/safe/1"

// RecordsMost is how many sessions a file has at most.
const RecordsMost = 512

// places are the decimal places of amounts.
const places = 10

// outside says why entries of a type are in no record of this format.
var outside = map[string]string{
	"house.created": "the operator is known by its licence", "player.created": "accounts are no records of play", "player.state-changed": "accounts are no records of play",
	"game.enabled": "sessions name the releases that were played", "game.disabled": "sessions name the releases that were played",
}

// Ledger binds a record to the log: its entries, as ranges such as "7 9-12", their hashes as leaves (RFC 6962) one after
// another under SHA-256, and the checkpoint under which the record was made.
type Ledger struct {
	First   uint64 `xml:"first,attr"`
	Last    uint64 `xml:"last,attr"`
	Size    uint64 `xml:"size,attr"`
	Root    string `xml:"root,attr"`
	Entries string `xml:"entries,attr"`
	Leaves  string `xml:"leaves,attr"`
}

// Session is what one player played at one game in one session on one day. A session of several days has a record on
// each. Begin and end are there where they are of that day.
type Session struct {
	ID            string     `xml:"id,attr"`
	Day           string     `xml:"day,attr"`
	Ledger        Ledger     `xml:"Ledger"`
	Player        string     `xml:"SpillerPseudonym"`
	Game          string     `xml:"SpilID"`
	Opened        string     `xml:"SessionStart,omitempty"`
	Closed        string     `xml:"SessionSlut,omitempty"`
	First         string     `xml:"FoersteSpil,omitempty"` // times of the first and last round
	Last          string     `xml:"SidsteSpil,omitempty"`
	Currency      string     `xml:"Valuta,omitempty"` // where there are rounds
	Rounds        uint64     `xml:"AntalSpil"`
	Stakes        string     `xml:"IndskudSpil"`
	Payouts       string     `xml:"GevinstSpil"`
	StakesJackpot string     `xml:"IndskudJackpot"`
	WonJackpot    string     `xml:"GevinstJackpot"`
	Chance        *Chance    `xml:"RNG"`
	Software      []Software `xml:"Software"` // in the order in which it was played
}

// Chance names the seed epochs that decided the rounds.
type Chance struct {
	First uint64 `xml:"first_epoch,attr"`
	Last  uint64 `xml:"last_epoch,attr"`
}

// Software is a release of the game: the entry that put it into play, and the hash of its definition.
type Software struct {
	Enabled uint64 `xml:"ledger_index,attr"`
	Release string `xml:"release,attr"`
	Maths   string `xml:"sha256,attr"`
	Rounds  uint64 `xml:"rounds,attr"`
}

// Play is what a game comes to on a day in a currency, over the sessions.
type Play struct {
	Game     string `xml:"SpilID"`
	Currency string `xml:"Valuta"`
	Sessions uint64 `xml:"AntalSessioner"`
	Rounds   uint64 `xml:"AntalSpil"`
	Stakes   string `xml:"IndskudSpil"`
	Payouts  string `xml:"GevinstSpil"`
}

// Cash is what came in and went out on a day in a currency. Its entries are in no session.
type Cash struct {
	Currency        string `xml:"Valuta"`
	Ledger          Ledger `xml:"Ledger"`
	DepositCount    uint64 `xml:"AntalIndbetalinger"`
	Deposits        string `xml:"Indbetalinger"`
	WithdrawalCount uint64 `xml:"AntalUdbetalinger"`
	Withdrawals     string `xml:"Udbetalinger"`
}

// EndOfDay is the control total of a day.
type EndOfDay struct {
	XMLName xml.Name      `xml:"EndOfDay"`
	Format  string        `xml:"format,attr"`
	Origin  string        `xml:"origin,attr"`
	Day     string        `xml:"day,attr"`
	Ledger  vault.Entries `xml:"Ledger"`
	Play    []Play        `xml:"Spil"`
	Cash    []Cash        `xml:"Konto"`
}

// Jackpots is the report of a day's jackpots. The log has no entry of a jackpot, so there are none.
type Jackpots struct {
	XMLName  xml.Name      `xml:"Jackpots"`
	Format   string        `xml:"format,attr"`
	Origin   string        `xml:"origin,attr"`
	Day      string        `xml:"day,attr"`
	Ledger   vault.Entries `xml:"Ledger"`
	Triggers uint64        `xml:"Udloest"`
}

// sessions is a file of them.
type sessions struct {
	XMLName xml.Name   `xml:"KasinospilPrSession"`
	Format  string     `xml:"format,attr"`
	Origin  string     `xml:"origin,attr"`
	Day     string     `xml:"day,attr"`
	Number  uint64     `xml:"number,attr"`
	List    []*Session `xml:"Session"`
}

func parseSessions(data []byte) (*sessions, error) {
	f := new(sessions)
	if err := vault.Decode(data, f); err != nil {
		return nil, err
	}
	if len(f.List) == 0 || len(f.List) > RecordsMost {
		return nil, fmt.Errorf("%d sessions, expected 1 to %d", len(f.List), RecordsMost)
	}
	return f, nil
}

// bound gathers the entries of a record.
type bound struct {
	ranges [][2]uint64 // from the first to the last
	hashes []byte
}

func (b *bound) add(index uint64, leaf []byte) {
	h := tlog.LeafHash(leaf)
	b.hashes = append(b.hashes, h[:]...)
	if n := len(b.ranges); n > 0 && b.ranges[n-1][1]+1 == index {
		b.ranges[n-1][1] = index
		return
	}
	b.ranges = append(b.ranges, [2]uint64{index, index})
}

func (b *bound) ledger(under tlog.Checkpoint) Ledger {
	l := Ledger{Size: under.Size, Root: hex.EncodeToString(under.Root[:]), Leaves: vault.Digest(b.hashes)}
	var list []string
	for _, r := range b.ranges {
		s := strconv.FormatUint(r[0], 10)
		if r[1] > r[0] {
			s += "-" + strconv.FormatUint(r[1], 10)
		}
		list = append(list, s)
	}
	l.First, l.Last, l.Entries = b.ranges[0][0], b.ranges[len(b.ranges)-1][1], strings.Join(list, " ")
	return l
}

var rangesForm = regexp.MustCompile(`^(0|[1-9][0-9]{0,15})(-[1-9][0-9]{0,15})?( [1-9][0-9]{0,15}(-[1-9][0-9]{0,15})?)*$`)

var errRanges = errors.New(`expected ranges of entries that rise, such as "7 9-12"`)

// parseRanges reads the entries of a record, from the first to the last of each range.
func parseRanges(s string) (list [][2]uint64, err error) {
	if !rangesForm.MatchString(s) {
		return nil, errRanges
	}
	for part := range strings.SplitSeq(s, " ") {
		a, b, ranged := strings.Cut(part, "-")
		var r [2]uint64
		if r[0], err = strconv.ParseUint(a, 10, 63); err != nil {
			return nil, errRanges
		}
		if r[1] = r[0]; ranged {
			if r[1], err = strconv.ParseUint(b, 10, 63); err != nil {
				return nil, errRanges
			}
		}
		if ranged && r[1] <= r[0] || len(list) > 0 && r[0] <= list[len(list)-1][1]+1 {
			return nil, errRanges
		}
		list = append(list, r)
	}
	return list, nil
}

// day is what the entries of a day come to as records.
type day struct {
	sessions []*Session // by the first of their entries
	end      EndOfDay
	jackpots Jackpots
	omitted  vault.Omissions
}

// sums are a session's or a game's figures on the way.
type sums struct{ rounds, stakes, payouts int64 }

type playing struct {
	*Session
	bound
	sums
	currency money.Currency
}

type playKey struct {
	game     string
	currency money.Currency
}

// take folds the entries of a day into its records: the one mapping from entries to them.
func take(log *vault.Log, date string, from, to uint64, under tlog.Checkpoint) (*day, error) {
	d := &day{omitted: vault.Omissions{}}
	byID := map[string]*playing{}
	var list []*playing
	session := func(id string, index uint64, leaf []byte, player entry.Ref) *playing {
		s := byID[id]
		if s == nil {
			s = &playing{Session: &Session{ID: id, Day: date, Player: player.String()}}
			byID[id] = s
			list = append(list, s)
		}
		s.add(index, leaf)
		return s
	}
	cash := map[money.Currency]*movements{}
	released := map[uint64]*rounds.GameEnabled{}
	if err := log.Records(from, to, func(index uint64, leaf []byte, r entry.Record) error {
		switch r := r.(type) {
		case *players.SessionOpened:
			s := session(r.ID.String(), index, leaf, r.Player)
			s.Game, s.Opened = r.Game, r.At.String()
		case *players.SessionClosed:
			session(r.Session.String(), index, leaf, r.Player).Closed = r.At.String()
		case *rounds.Settled:
			id := strings.TrimPrefix(r.Actor, "session/")
			return session(id, index, leaf, r.Player).round(log, released, r)
		case *wallet.Deposited:
			return moved(cash, index, leaf, &r.Movement, vault.Cash{Deposits: r.Amount.Amount, DepositCount: 1})
		case *wallet.Withdrawn:
			return moved(cash, index, leaf, &r.Movement, vault.Cash{Withdrawals: r.Amount.Amount, WithdrawalCount: 1})
		default:
			why, known := vault.Beside[r.Type()]
			if !known {
				why, known = outside[r.Type()]
			}
			if !known {
				return fmt.Errorf("entry %d is %s: expected a type that has a record, or a reason to have none", index, r.Type())
			}
			d.omitted.Add(r.Type(), why)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	span := vault.Entries{From: from, To: to, Size: under.Size, Root: hex.EncodeToString(under.Root[:])}
	d.end = EndOfDay{Format: Format, Origin: under.Origin, Day: date, Ledger: span}
	d.jackpots = Jackpots{Format: Format, Origin: under.Origin, Day: date, Ledger: span}
	for _, s := range list {
		d.sessions = append(d.sessions, s.record(under))
	}
	d.end.Cash = accounts(cash, under)
	var err error
	d.end.Play, err = control(d.sessions)
	return d, err
}

// round adds a round to its session.
func (s *playing) round(log *vault.Log, released map[uint64]*rounds.GameEnabled, r *rounds.Settled) error {
	if s.Rounds == 0 {
		s.Game, s.First, s.currency = r.Game, r.At.String(), r.Stake.Currency
		s.Chance = &Chance{First: r.Draw.Epoch}
	}
	s.Rounds++
	s.Last, s.Chance.Last = r.At.String(), r.Draw.Epoch
	s.stakes += r.Stake.Amount
	s.payouts += r.Payout.Amount
	if s.stakes < 0 || s.payouts < 0 || r.Game != s.Game || r.Stake.Currency != s.currency {
		return fmt.Errorf("the session %s: expected one game, one currency and totals of 63 bits", s.ID)
	}
	if n := len(s.Software); n == 0 || s.Software[n-1].Enabled != r.Enabled {
		e := released[r.Enabled]
		if e == nil {
			record, err := log.Record(r.Enabled)
			if err != nil {
				return err
			}
			ok := false
			if e, ok = record.(*rounds.GameEnabled); !ok {
				return fmt.Errorf("entry %d is %s: expected the one that enabled the game", r.Enabled, record.Type())
			}
			released[r.Enabled] = e
		}
		s.Software = append(s.Software, Software{Enabled: r.Enabled, Release: e.Release, Maths: hex.EncodeToString(e.Maths[:])})
	}
	s.Software[len(s.Software)-1].Rounds++
	return nil
}

// record finishes a session's record.
func (s *playing) record(under tlog.Checkpoint) *Session {
	s.Ledger = s.ledger(under)
	if s.currency != "" {
		s.Currency = string(s.currency)
	}
	zero := vault.Decimal(0, s.currency, places)
	s.Stakes, s.Payouts = vault.Decimal(s.stakes, s.currency, places), vault.Decimal(s.payouts, s.currency, places)
	s.StakesJackpot, s.WonJackpot = zero, zero
	return s.Session
}

// movements are those of a currency.
type movements struct {
	bound
	vault.Cash
}

func moved(cash map[money.Currency]*movements, index uint64, leaf []byte, r *wallet.Movement, of vault.Cash) error {
	m := cash[r.Amount.Currency]
	if m == nil {
		m = new(movements)
		cash[r.Amount.Currency] = m
	}
	m.add(index, leaf)
	m.Deposits += of.Deposits
	m.Withdrawals += of.Withdrawals
	m.DepositCount += of.DepositCount
	m.WithdrawalCount += of.WithdrawalCount
	if m.Deposits < 0 || m.Withdrawals < 0 {
		return fmt.Errorf("entry %d: expected totals of 63 bits", index)
	}
	return nil
}
