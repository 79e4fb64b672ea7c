package portal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/replay"
	"countroom/rngcert/epoch"
)

// moment is a time for people.
func moment(at entry.Time) string { return at.Std().Format("2006-01-02 15:04:05.000") }

// overviewData is what the first page has.
type overviewData struct {
	Ready        string // "" when the house plays, or why it does not
	Keys         []system.Key
	Software     bool // a key is a file
	Production   bool
	Nodes        []nodeLine
	Members      []system.Member
	Checkpoint   string
	Root         string
	Cosignatures []cosignatureLine
	Alarms       []eventLine
	Games        []gameLine
	Seeds        epoch.State
	Activated    string
}

type nodeLine struct {
	Name, Release, Reason, Since string
	Term, Index                  uint64
	Writer                       bool
}

type cosignatureLine struct{ Witness, Key, Time string }

type eventLine struct {
	Index             uint64
	Time, Type, About string
}

type gameLine struct {
	ID, Name, Release, Maths, Theory string
	On                               bool
	Enabled                          uint64
	Certificates                     []certificateLine
}

type certificateLine struct {
	Laboratory, Begins, Expires, Returns string
	Index                                uint64
	InForce                              bool
}

// overview: GET /regulator/.
func (p *Portal) overview(*http.Request) (*page, error) {
	d := &overviewData{}
	if err := p.cfg.Ready(); err != nil {
		d.Ready = err.Error()
	}
	signed := p.cfg.Ledger.Signed()
	if signed == nil {
		return nil, ledger.ErrNotFound
	}
	d.Checkpoint, d.Root = string(signed.Checkpoint), hex.EncodeToString(signed.Root[:])
	if cosigned := p.cfg.Ledger.Cosigned(); cosigned != nil {
		_, lines, err := tlog.Text(cosigned.Checkpoint)
		if err != nil {
			return nil, err
		}
		list, err := tlog.ParseCosignatures(lines)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			d.Cosignatures = append(d.Cosignatures, cosignatureLine{c.Name, fmt.Sprintf("%08x", c.KeyHash), c.At().UTC().Format("2006-01-02 15:04:05")})
		}
	}
	first, err := p.leaf(0)
	if err != nil {
		return nil, err
	}
	var created system.HouseCreated
	if err := entry.Decode(first, &created); err != nil {
		return nil, err
	}
	d.Keys = created.Keys
	d.Software = slices.ContainsFunc(created.Keys, func(k system.Key) bool { return k.Assurance == system.AssuranceSoftware })
	if d.Games, err = p.listGames(); err != nil {
		return nil, err
	}
	ctx, cancel := p.context()
	defer cancel()
	if err := p.cfg.Ledger.View(ctx, func(rows book.Reader) error {
		d.Seeds = epoch.Now(rows)
		return nil
	}); err != nil {
		return nil, err
	}
	d.Activated = moment(d.Seeds.ActivatedAt)
	t := p.tally
	t.mu.RLock()
	alarms := slices.Clone(t.alarms)
	d.Production, d.Members = t.production, t.members
	for i, n := range slices.Backward(t.nodes) {
		d.Nodes = append(d.Nodes, nodeLine{n.name, n.release, n.reason, moment(n.at), n.term, n.index, i == len(t.nodes)-1})
	}
	t.mu.RUnlock()
	slices.Reverse(alarms)
	if d.Alarms, err = p.eventLines(alarms); err != nil {
		return nil, err
	}
	return &page{Title: "Overview", Template: "overview", Here: "overview", Data: d}, nil
}

// leaf returns an entry without its proof.
func (p *Portal) leaf(index uint64) (leaf []byte, err error) {
	err = p.cfg.Ledger.Leaves(index, index+1, func(_ uint64, b []byte) error {
		leaf = slices.Clone(b)
		return nil
	})
	return leaf, err
}

// listGames lists the games in the order in which they were first enabled.
func (p *Portal) listGames() (list []gameLine, err error) {
	ctx, cancel := p.context()
	defer cancel()
	rows := map[string]rounds.Game{}
	var ids []string
	err = p.cfg.Ledger.View(ctx, func(r book.Reader) error {
		if all := book.Get[rounds.Games](r, rounds.GamesKey); all != nil {
			ids = all.IDs
		}
		for _, id := range ids {
			if g := book.Get[rounds.Game](r, rounds.GameKey(id)); g != nil {
				rows[id] = *g
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	now := p.cfg.Ledger.Now()
	for _, id := range ids {
		row := rows[id]
		g := gameLine{ID: id, On: row.On, Enabled: row.Enabled, Maths: hex.EncodeToString(row.Maths[:])}
		if returns, ok := slots.Return(row.Maths); ok {
			g.Theory = theoryText(returns)
		}
		leaf, err := p.leaf(row.Enabled)
		if err != nil {
			return nil, err
		}
		var enabled rounds.GameEnabled
		if err := entry.Decode(leaf, &enabled); err != nil {
			return nil, err
		}
		g.Release = enabled.Release
		if d, err := slots.Parse(enabled.Definition); err == nil {
			g.Name = d.Name
		}
		p.tally.mu.RLock()
		for _, c := range slices.Backward(p.tally.certificates) {
			if c.Game == id && c.Maths == row.Maths {
				g.Certificates = append(g.Certificates, certificateLine{
					c.Laboratory, c.Begins.Std().Format(time.DateOnly), c.Expires.Std().Format(time.DateOnly), c.Returns, c.index, c.Begins <= now && now < c.Expires,
				})
			}
		}
		p.tally.mu.RUnlock()
		list = append(list, g)
	}
	return list, nil
}

// theoryText writes a decimal fraction as percents, cut to four digits.
func theoryText(fraction string) string {
	f, err := strconv.ParseFloat(fraction, 64)
	if err != nil {
		return fraction
	}
	return fmt.Sprintf("%.4f %%", f*100)
}

// eventLines reads what events say.
func (p *Portal) eventLines(list []event) (lines []eventLine, err error) {
	for _, e := range list {
		leaf, err := p.leaf(e.index)
		if err != nil {
			return nil, err
		}
		lines = append(lines, eventLine{e.index, moment(e.at), e.typ, gist(leaf)})
	}
	return lines, nil
}

// header are the members that every entry has, and those that say nothing to
// people.
var header = map[string]bool{"type": true, "id": true, "at": true, "actor": true, "key": true, "fingerprint": true, "definition": true}

// gistMost is how much an event's line shows of an entry.
const gistMost = 240

// gist is what an entry says beyond its header, shortened.
func gist(leaf []byte) string {
	v, err := entry.Parse(leaf)
	if err != nil {
		return ""
	}
	var b bytes.Buffer
	for i := range v.Members {
		m := &v.Members[i]
		if header[m.Name] {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		value := m.Value.Text
		if m.Value.Kind != entry.KindString && m.Value.Kind != entry.KindNumber {
			value = string(m.Value.AppendCanonical(nil))
		}
		if len(value) > 40 {
			value = value[:32] + "…"
		}
		b.WriteString(m.Name + " " + value)
		if b.Len() > gistMost {
			b.WriteString(" …")
			break
		}
	}
	return b.String()
}

// searchData is the page of a search.
type searchData struct {
	Query      *query
	Found      *found
	Wrong      string
	Currencies []money.Currency
}

// searching: GET /regulator/search.
func (p *Portal) searching(r *http.Request) (*page, error) {
	q := readQuery(r.URL.Query())
	d := &searchData{Query: q}
	made := &page{Title: "Search", Template: "search", Here: "search", Data: d}
	p.tally.mu.RLock()
	d.Currencies = slices.Clone(p.tally.currencies)
	p.tally.mu.RUnlock()
	slices.Sort(d.Currencies)
	if q.empty() {
		return made, nil
	}
	if err := q.check(); err != nil {
		d.Wrong = err.Error()
		return made, nil
	}
	if q.Text != "" && !q.ofPlayer {
		if n, err := strconv.ParseUint(q.Text, 10, 63); err == nil {
			return p.entryPage(n)
		}
		id, err := entry.ParseUUID(q.Text)
		if err != nil {
			d.Wrong = "Search for: expected the id of a round (as 14b00b0b-f42b-480e-b42c-5d37ceaecd3e), the reference of a player (32 hexadecimal digits) or the number of an entry."
			return made, nil
		}
		return p.byID(id)
	}
	var err error
	d.Found, err = p.tally.search(q, p.cfg.Groups)
	return made, err
}

// round: GET /regulator/rounds/{id}.
func (p *Portal) round(r *http.Request) (*page, error) {
	id, err := entry.ParseUUID(r.PathValue("id"))
	if err != nil {
		return nil, ledger.ErrNotFound
	}
	return p.byID(id)
}

func (p *Portal) byID(id entry.UUID) (*page, error) {
	found, err := p.cfg.Ledger.Find(ledger.ByID, id, 1<<63, 1)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, ledger.ErrNotFound
	}
	return p.entryPage(found[0])
}

// entry: GET /regulator/entries/{index}.
func (p *Portal) entry(r *http.Request) (*page, error) {
	n, err := strconv.ParseUint(r.PathValue("index"), 10, 63)
	if err != nil {
		return nil, ledger.ErrNotFound
	}
	return p.entryPage(n)
}

// entryData is the page of an entry.
type entryData struct {
	Index      uint64
	Last       bool // it is the newest
	Type, Time string
	Head       entry.Header
	ID         string
	Gist       string
	Pretty     string // for people
	Answer     string // for the check: the leaf and its receipt
	Receipt    string
	More       []string // answers of the game and the seed
	Round      *roundData
}

// roundData is what there is to a round.
type roundData struct {
	*rounds.Settled
	Shown                 *replay.Round
	Result, Stake, Payout string
	Player, R             string
	Values                string
	Session               uint64 // index of the session's opening, 0 when there is none
	Nonce                 string
	NonceEntry            uint64
	Postings              []postingLine
	Committed, Revealed   uint64
	Broken                bool
}

type postingLine struct{ Account, Amount, Balance string }

// answer is an entry with its proof as the house's API gives it.
func (p *Portal) answer(index uint64) (text string, r ledger.Receipt, err error) {
	if r, err = p.cfg.Ledger.Entry(index); err != nil {
		return "", r, err
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the page does that
	err = e.Encode(struct {
		Index   uint64          `json:"index"`
		Leaf    json.RawMessage `json:"leaf"`
		Receipt string          `json:"receipt"`
	}{index, r.Leaf, string(r.Proof)})
	return strings.TrimSpace(b.String()), r, err
}

func (p *Portal) entryPage(index uint64) (*page, error) {
	text, r, err := p.answer(index)
	if err != nil {
		return nil, err
	}
	typ, err := entry.TypeOf(r.Leaf)
	if err != nil {
		return nil, err
	}
	d := &entryData{Index: index, Type: typ, Answer: text, Receipt: string(r.Proof), Gist: gist(r.Leaf)}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, r.Leaf, "", "  "); err != nil {
		return nil, err
	}
	d.Pretty = pretty.String()
	if s := p.cfg.Ledger.Signed(); s != nil {
		d.Last = index+1 >= s.Size
	}
	made := &page{Title: fmt.Sprintf("Entry %d", index), Template: "entry", Here: "search", Data: d}
	if typ == "round.settled" {
		made.Title = fmt.Sprintf("Round at entry %d", index)
		settled := new(rounds.Settled)
		if err := entry.Decode(r.Leaf, settled); err != nil {
			return nil, err
		}
		d.head(&settled.Header)
		return made, p.roundOf(d, settled)
	}
	v, err := entry.Parse(r.Leaf)
	if err != nil {
		return nil, err
	}
	for name, into := range map[string]*string{"at": &d.Time, "id": &d.ID, "actor": &d.Head.Actor} {
		if m, ok := v.Get(name); ok {
			*into = m.Text
		}
	}
	return made, nil
}

func (d *entryData) head(h *entry.Header) {
	d.Head, d.Time, d.ID = *h, h.At.String(), h.ID.String()
}

// roundOf adds what there is to a round, and all that its check takes.
func (p *Portal) roundOf(d *entryData, s *rounds.Settled) error {
	t := p.tally
	r := &roundData{
		Settled: s, Stake: s.Stake.Decimal(), Payout: s.Payout.Decimal(), Result: s.Result().Decimal(), Player: s.Player.String(), R: hex.EncodeToString(s.Draw.R[:]),
	}
	d.Round = r
	for i, v := range s.Draw.Values {
		if i > 0 {
			r.Values += "  "
		}
		r.Values += fmt.Sprintf("%d/%d", v.Value, v.Range)
	}
	for _, q := range s.Postings {
		in := func(n int64) string { return money.Money{Amount: n, Currency: q.Currency}.Decimal() }
		r.Postings = append(r.Postings, postingLine{q.Account, in(q.Amount), in(q.Balance)})
	}
	t.mu.RLock()
	nonce, set := t.nonceOf(s.Player, s.Draw.Epoch)
	t.mu.RUnlock()
	r.Nonce, r.NonceEntry = hex.EncodeToString(nonce), set
	if id, err := entry.ParseUUID(strings.TrimPrefix(s.Actor, "session/")); err == nil {
		found, err := p.cfg.Ledger.Find(ledger.ByID, id, 1<<63, 1)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			r.Session = found[0]
		}
	}
	game, _, err := p.answer(s.Enabled)
	if err != nil {
		return err
	}
	d.More = append(d.More, game)
	ctx, cancel := p.context()
	defer cancel()
	var row epoch.Epoch
	if err := p.cfg.Ledger.View(ctx, func(rows book.Reader) error {
		if e := book.Get[epoch.Epoch](rows, epoch.Key(s.Draw.Epoch)); e != nil {
			row = *e
		}
		return nil
	}); err != nil {
		return err
	}
	for _, index := range []uint64{row.CommittedIndex, row.ActivatedIndex, row.RevealedIndex, row.AbandonedIndex} {
		if index == 0 {
			continue
		}
		text, _, err := p.answer(index)
		if err != nil {
			return err
		}
		d.More = append(d.More, text)
	}
	r.Committed, r.Revealed = row.CommittedIndex, row.RevealedIndex
	report := replay.Check(&replay.Question{VKey: p.cfg.Ledger.VKey(), Answer: d.Answer, More: d.More, Nonce: r.Nonce})
	r.Shown, r.Broken = report.Round, report.Verdict() == replay.Fails
	return nil
}

// gamesData is the page of returns.
type gamesData struct {
	Games   []gameLine
	Returns []returnLine
}

type returnLine struct {
	Game, Release, Currency, Rounds, Stake, Payout, Actual, Theory, Low, High, Sigma string
	Outside                                                                          bool
	Chart                                                                            *chart
}

// games: GET /regulator/games.
func (p *Portal) games(*http.Request) (*page, error) {
	d := &gamesData{}
	var err error
	if d.Games, err = p.listGames(); err != nil {
		return nil, err
	}
	t := p.tally
	t.mu.RLock()
	defer t.mu.RUnlock()
	for i, g := range t.returns {
		now := g.now()
		l := returnLine{
			Game: g.release.game, Release: g.release.version, Currency: string(g.currency), Rounds: count(g.rounds),
			Stake: money.Decimal(g.stake.sum.String(), g.currency), Payout: money.Decimal(g.payout.sum.String(), g.currency), Actual: fmt.Sprintf("%.4f %%", 100*now.payout/now.stake),
		}
		var theory *slots.Theory
		if th, ok := slots.TheoryOf(g.release.maths); ok {
			theory = &th
			mean := float64(th.ReturnMillionths) / 1e6
			d := deviation(float64(th.VarianceMillionths)/1e6, now)
			l.Theory = fmt.Sprintf("%.4f %%", 100*mean)
			l.Low, l.High = fmt.Sprintf("%.2f %%", max(0, 100*(mean-band99*d))), fmt.Sprintf("%.2f %%", 100*(mean+band99*d))
			z := (now.payout/now.stake - mean) / d
			l.Sigma, l.Outside = fmt.Sprintf("%+.2f", z), z > band99 || z < -band99
		}
		points := append(slices.Clone(g.points), now)
		l.Chart = returnChart(fmt.Sprintf("returns-%d", i), fmt.Sprintf("Return of %s %s in %s by rounds", l.Game, l.Release, l.Currency), points, theory)
		d.Returns = append(d.Returns, l)
	}
	return &page{Title: "Games and returns", Template: "games", Here: "games", Data: d}, nil
}

// revenueData is the page of gross gaming revenue.
type revenueData struct {
	Days       int
	Currencies []revenueOf
}

type revenueOf struct {
	Currency string
	Chart    *chart
	Days     []revenueDay
}

type revenueDay struct{ Date, Rounds, Stake, Payout, Revenue, Deposits, Withdrawals string }

// daysShown is how many days a chart of revenue has, and the most it can have.
const daysShown, daysMost = 30, 366

// revenue: GET /regulator/revenue.
func (p *Portal) revenue(r *http.Request) (*page, error) {
	d := &revenueData{Days: daysShown}
	if text := r.URL.Query().Get("days"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > daysMost {
			return nil, &badRequest{fmt.Sprintf("Days: expected a number from 1 to %d.", daysMost)}
		}
		d.Days = n
	}
	t := p.tally
	t.mu.RLock()
	defer t.mu.RUnlock()
	days := t.days[max(0, len(t.days)-d.Days):]
	list := slices.Sorted(slices.Values(t.currencies))
	for _, c := range list {
		of := revenueOf{Currency: string(c)}
		var bars []revenue
		for _, day := range days {
			s := day.sums[c]
			if s == nil {
				s = new(sums)
			}
			var ggr total
			ggr.sum.Sub(&s.stake.sum, &s.payout.sum)
			in := func(t *total) string { return money.Decimal(t.sum.String(), c) }
			of.Days = append(of.Days, revenueDay{day.date, count(s.rounds), in(&s.stake), in(&s.payout), in(&ggr), in(&s.deposits), in(&s.withdrawal)})
			major := ggr.float()
			for range c.Digits() {
				major /= 10
			}
			bars = append(bars, revenue{day.date, in(&ggr), major})
		}
		of.Chart = revenueChart("revenue-"+string(c), "Gross gaming revenue by day in "+string(c), bars)
		slices.Reverse(of.Days)
		d.Currencies = append(d.Currencies, of)
	}
	return &page{Title: "Gross gaming revenue by day", Template: "revenue", Here: "revenue", Data: d}, nil
}

// seedLine is an epoch in a list.
type seedLine struct {
	Epoch                                  uint64
	Committed, Activated, Closed, Revealed uint64
	Draws, Policy, Commitment, Replay      string
	Bad, Good                              bool
}

type seedsData struct {
	Lines []seedLine
	Older uint64 // epoch below which to go on, 0 for none
}

const seedsShown = 50

// listSeeds: GET /regulator/seeds.
func (p *Portal) listSeeds(r *http.Request) (*page, error) {
	below := uint64(1 << 62)
	if text := r.URL.Query().Get("below"); text != "" {
		n, err := strconv.ParseUint(text, 10, 62)
		if err != nil {
			return nil, &badRequest{"Below: expected the number of an epoch."}
		}
		below = n
	}
	t := p.tally
	t.mu.RLock()
	defer t.mu.RUnlock()
	d := &seedsData{}
	// Epochs are numbered without gaps.
	for n := min(below-1, uint64(len(t.seeds))); n >= 1; n-- {
		s := t.seeds[n]
		if s == nil {
			continue
		}
		if len(d.Lines) == seedsShown {
			d.Older = n + 1
			break
		}
		d.Lines = append(d.Lines, s.line())
	}
	return &page{Title: "Seeds", Template: "seeds", Here: "seeds", Data: d}, nil
}

// line says where an epoch stands.
func (s *seed) line() seedLine {
	l := seedLine{
		Epoch: s.epoch, Committed: s.committed, Activated: s.activated, Closed: s.closed, Revealed: s.revealed, Policy: s.policy, Commitment: hex.EncodeToString(s.commitment[:]), Draws: "–",
	}
	if s.closed != 0 {
		l.Draws = count(s.draws)
	}
	switch {
	case s.replay.done && s.replay.wrong != 0:
		l.Replay, l.Bad = fmt.Sprintf("does not hold at entry %d: %s", s.replay.wrong, s.replay.why), true
	case s.replay.done:
		l.Replay, l.Good = fmt.Sprintf("all %s draws follow from the seed", count(s.replay.draws)), true
	case s.revealed != 0:
		l.Replay = "is being replayed"
	case s.abandoned != 0:
		l.Replay, l.Bad = fmt.Sprintf("unprovable: two officers abandoned it in entry %d, so its seed is never shown", s.abandoned), true
	case s.halted != 0 && s.closed == 0:
		l.Replay, l.Bad = fmt.Sprintf("halted in entry %d, until two officers decide", s.halted), true
	case s.closed != 0:
		l.Replay = "not yet provable: the seed is still secret"
	case s.activated != 0:
		l.Replay = "in use"
	default:
		l.Replay = "committed ahead"
	}
	return l
}

// seedData is the page of an epoch.
type seedData struct {
	seedLine
	Secret, Salt, External string
	Entries                []eventLine
}

// seed: GET /regulator/seeds/{n}.
func (p *Portal) seed(r *http.Request) (*page, error) {
	n, err := strconv.ParseUint(r.PathValue("n"), 10, 62)
	if err != nil {
		return nil, ledger.ErrNotFound
	}
	p.tally.mu.RLock()
	s := p.tally.seeds[n]
	if s == nil {
		p.tally.mu.RUnlock()
		return nil, ledger.ErrNotFound
	}
	d := &seedData{seedLine: s.line(), External: hex.EncodeToString(s.external)}
	indexes := []uint64{s.committed, s.activated, s.halted, s.closed, s.abandoned, s.revealed}
	if s.revealed != 0 {
		d.Secret, d.Salt = hex.EncodeToString(s.secret[:]), hex.EncodeToString(s.salt[:])
	}
	p.tally.mu.RUnlock()
	slices.Sort(indexes)
	for _, index := range slices.Compact(indexes) {
		if index == 0 {
			continue
		}
		leaf, err := p.leaf(index)
		if err != nil {
			return nil, err
		}
		typ, err := entry.TypeOf(leaf)
		if err != nil {
			return nil, err
		}
		v, err := entry.Parse(leaf)
		if err != nil {
			return nil, err
		}
		at := ""
		if m, ok := v.Get("at"); ok {
			at = m.Text
		}
		d.Entries = append(d.Entries, eventLine{index, at, typ, gist(leaf)})
	}
	return &page{Title: fmt.Sprintf("Seed epoch %d", n), Template: "seed", Here: "seeds", Data: d}, nil
}

// eventsData is the page of significant events.
type eventsData struct {
	Type  string
	Types []string
	Lines []eventLine
	Older uint64 // index below which to go on, 0 for none
	Lost  int
}

// events: GET /regulator/events.
func (p *Portal) events(r *http.Request) (*page, error) {
	d := &eventsData{Type: r.URL.Query().Get("type")}
	below := uint64(1 << 63)
	if text := r.URL.Query().Get("below"); text != "" {
		n, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, &badRequest{"Below: expected the number of an entry."}
		}
		below = n
	}
	var list []event
	t := p.tally
	t.mu.RLock()
	d.Lost = t.forgotten
	types := map[string]bool{}
	for _, e := range t.events {
		types[e.typ] = true
	}
	last := sort.Search(len(t.events), func(i int) bool { return t.events[i].index >= below })
	for _, e := range slices.Backward(t.events[:last]) {
		if d.Type != "" && e.typ != d.Type {
			continue
		}
		if len(list) == foundMost {
			d.Older = list[foundMost-1].index
			break
		}
		list = append(list, e)
	}
	t.mu.RUnlock()
	for typ := range types {
		d.Types = append(d.Types, typ)
	}
	slices.Sort(d.Types)
	var err error
	d.Lines, err = p.eventLines(list)
	return &page{Title: "Significant events", Template: "events", Here: "events", Data: d}, err
}

// consistencyData is the page that holds two checkpoints against each other.
type consistencyData struct {
	From, To           string
	FromRoot, ToRoot   string
	Hashes             []string
	Wrong              string
	Newest, Checkpoint string
}

// consistency: GET /regulator/consistency.
func (p *Portal) consistency(r *http.Request) (*page, error) {
	signed := p.cfg.Ledger.Signed()
	if signed == nil {
		return nil, ledger.ErrNotFound
	}
	v := r.URL.Query()
	d := &consistencyData{From: v.Get("from"), To: v.Get("to"), Newest: strconv.FormatUint(signed.Size, 10), Checkpoint: string(signed.Checkpoint)}
	made := &page{Title: "Consistency", Template: "consistency", Here: "consistency", Data: d}
	if d.From == "" {
		return made, nil
	}
	if d.To == "" {
		d.To = d.Newest
	}
	from, err := strconv.ParseUint(d.From, 10, 63)
	to, err2 := strconv.ParseUint(d.To, 10, 63)
	if err != nil || err2 != nil || from < 1 || from > to || to > signed.Size {
		d.Wrong = fmt.Sprintf("Expected two sizes of the log, the smaller first, from 1 to %d.", signed.Size)
		return made, nil
	}
	for _, s := range []struct {
		size uint64
		into *string
	}{{from, &d.FromRoot}, {to, &d.ToRoot}} {
		root, err := p.cfg.Ledger.Root(s.size)
		if err != nil {
			return nil, err
		}
		*s.into = hex.EncodeToString(root[:])
	}
	hashes, err := p.cfg.Ledger.Consistency(from, to)
	if err != nil {
		return nil, err
	}
	for _, h := range hashes {
		d.Hashes = append(d.Hashes, hex.EncodeToString(h[:]))
	}
	return made, nil
}
