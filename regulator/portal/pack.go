package portal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/wallet"
	"countroom/regulator/dispute"
	"countroom/regulator/replay"
)

// Of the entries around a round a pack has those of its player and those about
// the house, as far as it looks.
const (
	packBefore, packAfter = 4 * blockEntries, 8 * blockEntries // entries that are read
	aroundMost            = 50                                 // lines on either side
)

// packData is a dispute pack.
type packData struct {
	Origin, Made, Policy string
	Style                template.CSS
	Size                 uint64
	*entryData
	Steps         []replay.Step
	Verdict       replay.State
	Rules         *rulesData
	Around        []eventLine
	Displayed     []claimLine
	From, To      uint64
	Cut           bool
	SessionOpened string
	SessionEnd    string
	Answers       []template.HTML
}

// rulesData are the rules of a game, for people.
type rulesData struct {
	*slots.Definition
	Maths   string
	Returns string
	Lines   []string
}

// Pack makes the dispute pack of a round, which ErrNotFound says there is none
// of.
func (p *Portal) Pack(ctx context.Context, id entry.UUID) ([]byte, error) {
	made, err := p.byID(id)
	if err != nil {
		return nil, err
	}
	e := made.Data.(*entryData)
	if e.Round == nil {
		return nil, ledger.ErrNotFound
	}
	p.catchUp()
	d := &packData{Origin: p.cfg.Ledger.Origin(), Made: p.cfg.Ledger.Now().String(), entryData: e, Style: packStyle, Policy: packPolicy}
	report := replay.Check(&replay.Question{VKey: p.cfg.Ledger.VKey(), Answer: e.Answer, More: e.More, Nonce: e.Round.Nonce})
	d.Steps, d.Verdict, d.Size = report.Steps, report.Verdict(), report.Size
	if d.Rules, err = p.rules(e.Round.Enabled); err != nil {
		return nil, err
	}
	if err := p.around(d); err != nil {
		return nil, err
	}
	proofs := []uint64{0}
	p.tally.mu.RLock()
	for _, ev := range p.tally.events {
		if ev.typ == "key.introduced" {
			proofs = append(proofs, ev.index)
		}
	}
	p.tally.mu.RUnlock()
	texts := append([]string{e.Answer}, e.More...)
	if e.Round.Session != 0 {
		proofs = append(proofs, e.Round.Session)
	}
	if e.Round.NonceEntry != 0 {
		proofs = append(proofs, e.Round.NonceEntry)
	}
	for _, index := range proofs {
		text, _, err := p.answer(index)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		d.Answers = append(d.Answers, template.HTML(dispute.Answer(text)))
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "pack", d); err != nil {
		return nil, err
	}
	return dispute.Seal(b.Bytes(), dispute.Said{Origin: d.Origin, Round: e.ID, Index: e.Index, Size: d.Size}, func(payload []byte) ([]byte, error) { return p.cfg.Sign(ctx, payload) })
}

// rules reads the rules that a game.enabled put in force.
func (p *Portal) rules(index uint64) (*rulesData, error) {
	leaf, err := p.leaf(index)
	if err != nil {
		return nil, err
	}
	var enabled rounds.GameEnabled
	if err := entry.Decode(leaf, &enabled); err != nil {
		return nil, err
	}
	d, err := slots.Parse(enabled.Definition)
	if err != nil {
		return nil, err
	}
	r := &rulesData{Definition: d, Maths: hex.EncodeToString(enabled.Maths[:])}
	if returns, ok := slots.Return(enabled.Maths); ok {
		r.Returns = theoryText(returns)
	}
	for _, line := range d.Lines {
		text := ""
		for _, row := range line {
			text += strconv.Itoa(row+1) + " "
		}
		r.Lines = append(r.Lines, strings.TrimSpace(text))
	}
	return r, nil
}

// claimLine is what a client said that it displayed of the round.
type claimLine struct {
	Index        uint64
	Time, Digest string
	Matches      bool
}

// around finds what happened to the player and to the house around a round.
func (p *Portal) around(d *packData) error {
	r := d.Round
	signed := p.cfg.Ledger.Signed()
	d.From, d.To = d.Index-min(d.Index, packBefore), min(d.Index+packAfter, signed.Size)
	if r.Session != 0 {
		opened, err := p.leaf(r.Session)
		if err != nil {
			return err
		}
		var s players.SessionOpened
		if err := entry.Decode(opened, &s); err == nil {
			d.SessionOpened = "opened at " + s.At.String() + " (entry " + strconv.FormatUint(r.Session, 10) + "), to expire at " + s.Expires.String()
		}
	}
	var before, after []eventLine
	err := p.cfg.Ledger.Leaves(d.From, d.To, func(index uint64, leaf []byte) error {
		typ, err := entry.TypeOf(leaf)
		if err != nil {
			return err
		}
		var owner *entry.Ref
		at := ""
		about := ""
		if rec, err := books.Decode(leaf); err == nil {
			at = rec.Head().At.String()
			switch rec := rec.(type) {
			case *rounds.Settled:
				owner, about = &rec.Player, "game "+rec.Game+", stake "+rec.Stake.Decimal()+", payout "+rec.Payout.Decimal()
			case *rounds.Displayed:
				owner, about = &rec.Player, "round "+rec.Round.String()+": as the log has it"
				if !rec.Matches() {
					about = "round " + rec.Round.String() + ": another result than the log has"
				}
				if rec.Round == r.Settled.ID {
					d.Displayed = append(d.Displayed, claimLine{index, at, hex.EncodeToString(rec.Displayed[:]), rec.Matches()})
				}
			case *wallet.Deposited:
				owner, about = &rec.Player, rec.Amount.Decimal()
			case *wallet.Withdrawn:
				owner, about = &rec.Player, rec.Amount.Decimal()
			case *players.SessionOpened:
				owner = &rec.Player
			case *players.SessionClosed:
				owner = &rec.Player
				if "session/"+rec.Session.String() == r.Actor {
					d.SessionEnd = "closed at " + at + " (entry " + strconv.FormatUint(index, 10) + ")"
				}
			case *players.StateChanged:
				owner = &rec.Player
			case *players.NonceSet:
				owner = &rec.Player
			case *players.Created:
				owner = &rec.Player
			case *subjects.Recorded:
				owner = &rec.Player
			case *subjects.Erased:
				owner = &rec.Player
			}
		}
		if owner != nil && *owner != r.Settled.Player || typ == "chance.observed" {
			return nil
		}
		if about == "" {
			about = gist(leaf)
		}
		l := eventLine{index, at, typ, about}
		switch {
		case index <= d.Index:
			if before = append(before, l); len(before) > aroundMost+1 {
				before, d.Cut = before[1:], true
			}
		case len(after) < aroundMost:
			after = append(after, l)
		default:
			d.Cut = true
		}
		return nil
	})
	d.Around = slices.Concat(before, after)
	return err
}

// pack: GET /regulator/rounds/{id}/dispute-pack.
func (p *Portal) pack(w http.ResponseWriter, r *http.Request) {
	p.inside(w, r, func(r *http.Request) (*page, error) {
		id, err := entry.ParseUUID(r.PathValue("id"))
		if err != nil {
			return nil, ledger.ErrNotFound
		}
		b, err := p.Pack(r.Context(), id)
		return &page{file: b}, err
	})
}

// A pack has its style in itself, and its policy allows that style and nothing
// else.
var packStyle, packPolicy = func() (template.CSS, string) {
	b, err := files.ReadFile("assets/style.css")
	if err != nil {
		panic(err) // it is part of the program
	}
	sum := sha256.Sum256(b)
	return template.CSS(b), "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'none'; base-uri 'none'"
}()

// PackHeader are the header fields that a pack is served with.
func PackHeader(h http.Header, id string) {
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", "dispute-"+id+".html"))
	h.Set("Content-Security-Policy", packPolicy+"; frame-ancestors 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}
