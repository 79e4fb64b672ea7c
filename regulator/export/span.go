package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"countroom/ledger/dsse"
)

// says is what a certificate claims, in words.
const says = "Entries first to last of this log are all rounds and money movements of this span. In it the round numbers of each player at each game, " +
	"and the draw numbers of each seed epoch, have no gap, and every balance follows from the one before. This is complete as to the log: " +
	"a bet that was refused, or that never reached the house, has no entry and is not in it."

// Draws are the draw numbers of an epoch in a span, which have no gap.
type Draws struct {
	Epoch uint64 `json:"epoch"`
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Cash is what came in and went out in a currency. Sums are decimal strings.
type Cash struct {
	Currency        string `json:"currency"`
	DepositCount    uint64 `json:"deposit_count"`
	Deposits        int64  `json:"deposits,string"`
	WithdrawalCount uint64 `json:"withdrawal_count"`
	Withdrawals     int64  `json:"withdrawals,string"`
}

// Play is a game in a currency.
type Play struct {
	Currency string `json:"currency"`
	Game     string `json:"game"`
	GGR      int64  `json:"ggr,string"`
	Payouts  int64  `json:"payouts,string"`
	Rounds   uint64 `json:"rounds"`
	Stakes   int64  `json:"stakes,string"`
}

// Certificate says of a span that a range of entries is all that the log has of it.
type Certificate struct {
	Cash       []Cash  `json:"cash"`
	Checkpoint Head    `json:"checkpoint"`
	Draws      []Draws `json:"draws"`
	Games      []Play  `json:"games"`
	Origin     string  `json:"origin"`
	Players    uint64  `json:"players"` // whose accounts moved
	Range      Range   `json:"range"`
	Says       string  `json:"says"`
	Span       Span    `json:"span"`
}

// certificate is what the entries that were folded come to.
func (t *Tables) certificate(m *Manifest) (*Certificate, error) {
	if m.Span == nil || !m.Complete || !t.complete {
		return nil, fmt.Errorf("%w: only a whole span can be certified", ErrRange)
	}
	c := &Certificate{Cash: []Cash{}, Checkpoint: m.Checkpoint, Draws: []Draws{}, Games: []Play{}, Origin: m.Origin, Range: m.Range, Says: says, Span: *m.Span}
	for _, v := range t.cash {
		c.Cash = append(c.Cash, *v)
	}
	for _, d := range t.draws {
		c.Draws = append(c.Draws, *d)
	}
	games := map[[2]string]*Play{}
	for _, v := range t.revenue {
		k := [2]string{v.Game, v.Currency}
		g := games[k]
		if g == nil {
			g = &Play{Game: v.Game, Currency: v.Currency}
			games[k] = g
		}
		g.Rounds += uint64(v.Rounds)
		if !add(&g.Stakes, v.Stakes) || !add(&g.Payouts, v.Payouts) {
			return nil, &Broken{m.Range.From, "totals", "totals of 63 bits", "more"}
		}
		g.GGR = g.Stakes - g.Payouts
	}
	for _, g := range games {
		c.Games = append(c.Games, *g)
	}
	refs := map[string]bool{}
	for k := range t.players {
		refs[k.account] = true
	}
	c.Players = uint64(len(refs))
	slices.SortFunc(c.Cash, func(a, b Cash) int { return cmp.Compare(a.Currency, b.Currency) })
	slices.SortFunc(c.Draws, func(a, b Draws) int { return cmp.Compare(a.Epoch, b.Epoch) })
	slices.SortFunc(c.Games, func(a, b Play) int { return cmp.Or(cmp.Compare(a.Game, b.Game), cmp.Compare(a.Currency, b.Currency)) })
	return c, nil
}

// statement is the payload that the key for exports signs: about the leaves of the span, one a line.
func (c *Certificate) statement(leavesSHA256 string) ([]byte, error) {
	return dsse.NewStatement(SpanPredicateType, c, dsse.Subject{Name: leavesName, Digest: dsse.Digest{SHA256: leavesSHA256}})
}

// String is the certificate as people read it.
func (c *Certificate) String() string {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// CertificateOf takes the signed certificate out of an export, unchecked, or fails with ErrContainer.
func CertificateOf(in io.ReaderAt, size int64) ([]byte, error) {
	c, err := openContainer(in, size)
	if err != nil {
		return nil, err
	}
	return c.read(CertificateName, dsse.Most)
}
