// Package replay checks one entry of a house for one person: that it is in the
// log that the house signed, that the draw gives the outcome by the game's
// rules, and, once the seed is out, that the seed gives the draw. It says of
// each step in plain words whether it holds.
//
// It is made to run where the reader is, in a browser too, and uses the code by
// which the house plays and the verifier checks. It opens nothing and trusts one
// thing: the verifier key that it is given.
package replay

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"countroom/games/play"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/saved"
	"countroom/rngcert/chance"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// State is what a step came to.
type State string

// The states of a step.
const (
	Holds State = "holds"
	Fails State = "fails"
	Open  State = "open" // it cannot be said yet, or not from what was given
)

// Step is one thing that was looked at.
type Step struct {
	State State
	Title string
	Text  string // what was done and found, in plain words
}

// Report is what the check of an answer came to.
type Report struct {
	Steps []Step
	Index uint64 // of the entry that the answer is about
	Type  string
	Leaf  []byte // canonical; empty when there was none to read
	Size  uint64 // of the tree that the house signed
	Round *Round // of a round that could be played again
}

// Verdict is Fails if a step fails, or else Open if one is open.
func (r *Report) Verdict() State {
	verdict := Holds
	for _, s := range r.Steps {
		if s.State == Fails {
			return Fails
		}
		if s.State == Open {
			verdict = Open
		}
	}
	return verdict
}

func (r *Report) add(state State, title, format string, args ...any) {
	r.Steps = append(r.Steps, Step{state, title, fmt.Sprintf(format, args...)})
}

// Question is what there is to check an answer with.
type Question struct {
	VKey   string // verifier key of the house, from somebody else than the house
	Answer string // as the house gave it: JSON with a leaf and a receipt, of which the first is looked at
	// More are further answers: of the game, whose definition was in force, and of
	// the seed epoch. They are believed no more than the answer is.
	More  []string
	Nonce string // the player's standing nonce in hex, empty for none
}

// evidence is what the further answers prove.
type evidence struct {
	enabled                        map[uint64]*rounds.GameEnabled
	committed, activated, revealed map[uint64]seed
	abandoned                      map[uint64]seed
}

// seed is an entry of a seed epoch, with those of its members that it has.
type seed struct {
	index                    uint64
	policy                   string
	commitment, secret, salt [32]byte
	external                 []byte
}

// Check checks an answer. Whatever it is given it answers with a report.
func Check(q *Question) *Report {
	r := new(Report)
	answers, err := saved.Read([]byte(q.Answer))
	if err != nil {
		r.add(Fails, "The answer can be read", "It cannot: %v.", err)
		return r
	}
	a := &answers[0]
	r.Index, r.Leaf = a.Receipt.Index, a.Leaf
	r.Type, err = entry.TypeOf(a.Leaf)
	if err != nil {
		r.add(Fails, "The answer can be read", "The entry has no type: %v.", err)
		return r
	}
	r.add(Holds, "The answer can be read", "It holds entry %d of a log, of type %s, and a receipt for it.", r.Index, r.Type)
	head, err := a.Receipt.Includes(a.Leaf)
	switch {
	case err != nil:
		r.add(Fails, "The entry is in the log", "The fingerprint (SHA-256) of the entry and the %d fingerprints of the receipt do not lead to the root that the receipt names, so the entry or the receipt is not what the house gave: %v.", len(a.Receipt.Hashes), err)
	default:
		r.Size = head.Size
		r.add(Holds, "The entry is in the log", "The fingerprint (SHA-256) of the entry, put together with the %d fingerprints of the receipt, gives exactly the root %s of a log of %d entries. Change one letter of the entry, and it does not.", len(a.Receipt.Hashes), short(head.Root[:]), head.Size)
	}
	v, err := tlog.NewVerifier(strings.TrimSpace(q.VKey))
	if err != nil {
		r.add(Open, "The house signed that log", "There is no verifier key to check this with: %v. Get it from the regulator, or from anybody but the house.", err)
		return r
	}
	if _, err := tlog.Open(a.Receipt.Checkpoint, v); err != nil {
		r.add(Fails, "The house signed that log", "The key %s+%08x did not sign the root that the receipt names: %v.", v.Name(), v.KeyHash(), err)
		return r
	}
	r.add(Holds, "The house signed that log", "The signature (Ed25519) under the root is that of the key %s+%08x, which you trust. The house cannot take back what it signed.", v.Name(), v.KeyHash())
	if r.Verdict() == Fails {
		return r
	}
	if r.Type == "round.settled" {
		r.round(q, v)
	}
	return r
}

// round looks at the round that the entry settles.
func (r *Report) round(q *Question, v note.Verifier) {
	var s rounds.Settled
	if err := entry.Decode(r.Leaf, &s); err != nil {
		r.add(Fails, "The entry is a round", "It is not in the one form that the log has: %v.", err)
		return
	}
	result := s.Result()
	if len(s.Postings) != 2 || s.Postings[1].Account != wallet.Cash(s.Player) || s.Postings[1].Amount != result.Amount || money.Balanced(s.Postings) != nil {
		r.add(Fails, "The money moved", "The stake is %s and the payout %s, but the postings do not move the difference to the player.", s.Stake.Decimal(), s.Payout.Decimal())
	} else {
		r.add(Holds, "The money moved", "On %s the player staked %s and was paid %s. The difference, %s, was moved, and the balance after it is %s.",
			s.At.Std().Format("2 January 2006 at 15:04:05 UTC"), s.Stake.Decimal(), s.Payout.Decimal(), result.Decimal(), money.Money{Amount: s.Postings[1].Balance, Currency: s.Stake.Currency}.Decimal())
	}
	more, err := evidenceOf(q.More, v)
	if err != nil {
		r.add(Open, "What else was given holds", "A further answer does not prove what it says under this key, so it is left aside: %v.", err)
		return
	}
	g := more.enabled[s.Enabled]
	if g == nil {
		r.add(Open, "The rules give this outcome", "The game's definition stands in entry %d, which was not given.", s.Enabled)
	} else {
		r.play(&s, g)
	}
	r.chance(q, &s, g, more, v.Name())
}

// play plays the round again.
func (r *Report) play(s *rounds.Settled, g *rounds.GameEnabled) {
	const numbers, rules = "The draw gives these numbers", "The rules give this outcome"
	d, err := slots.Parse(g.Definition)
	if err == nil && g.Game != s.Game {
		err = fmt.Errorf("entry %d enables %s", s.Enabled, g.Game)
	}
	if err != nil {
		r.add(Fails, rules, "The definition that the round names is none of its game: %v.", err)
		return
	}
	m, err := slots.Compile(d)
	var p play.Play
	if err == nil {
		err = p.Round(m, s.Draw.R, s.Stake.Amount)
	}
	if err != nil {
		r.add(Fails, rules, "The round cannot be played: %v.", err)
		return
	}
	if !slices.Equal(p.Values, s.Draw.Values) {
		r.add(Fails, numbers, "The draw %s gives the numbers %s, the entry says %s.", short(s.Draw.R[:]), numbersOf(p.Values), numbersOf(s.Draw.Values))
	} else {
		r.add(Holds, numbers, "The draw %s was turned into numbers again, by the same generator (HMAC-DRBG) and without bias: %s. They are those of the entry.", short(s.Draw.R[:]), numbersOf(p.Values))
	}
	if !bytes.Equal(p.Outcome, s.Outcome) || p.Payout != s.Payout.Amount {
		r.add(Fails, rules, "By the rules of %s %s the numbers pay %s, the entry says %s.", d.Name, d.Version, money.Money{Amount: p.Payout, Currency: s.Payout.Currency}.Decimal(), s.Payout.Decimal())
	} else {
		r.add(Holds, rules, "The round was played again here by the rules of %s %s, which were in force (entry %d). It shows the same reels and pays the same %s.", d.Name, d.Version, s.Enabled, s.Payout.Decimal())
	}
	r.Round = shown(d, &p.Shown, s)
}

// chance looks at where the draw came from.
func (r *Report) chance(q *Question, s *rounds.Settled, g *rounds.GameEnabled, more *evidence, origin string) {
	const before, gives = "The seed was fixed before the round", "The seed gives this draw"
	committed, ok := more.committed[s.Draw.Epoch]
	activated, active := more.activated[s.Draw.Epoch]
	switch {
	case !ok || !active:
		r.add(Open, before, "The entries of seed epoch %d were not given.", s.Draw.Epoch)
		return
	case committed.index >= activated.index || activated.index >= r.Index:
		r.add(Fails, before, "The log has the commitment at entry %d and the start of the epoch at entry %d, the round at entry %d: not in that order.", committed.index, activated.index, r.Index)
		return
	}
	policy := "Nothing from outside was mixed in (policy none), so that the house could have tried several seeds before it chose this one."
	if activated.policy != "none" {
		policy = "Something from outside was mixed in afterwards (policy " + activated.policy + "); that it is genuine countroom-verify checks in the whole log."
	}
	r.add(Holds, before, "The house bound itself to the seed of epoch %d in entry %d, by its fingerprint %s, and began to use it in entry %d, before this round. %s", s.Draw.Epoch, committed.index, short(committed.commitment[:]), activated.index, policy)
	revealed, out := more.revealed[s.Draw.Epoch]
	if lost, given := more.abandoned[s.Draw.Epoch]; given && !out {
		r.add(Open, gives, "Two officers abandoned epoch %d in entry %d, so its seed is never shown. That it gives this draw can be proven by nobody: ask the house why.", s.Draw.Epoch, lost.index)
		return
	}
	if !out {
		r.add(Open, gives, "The seed of epoch %d is still secret, since it can still decide rounds. Come back some minutes after the epoch has ended.", s.Draw.Epoch)
		return
	}
	if chance.Commitment(origin, s.Draw.Epoch, revealed.secret, revealed.salt) != committed.commitment {
		r.add(Fails, gives, "The seed that entry %d shows is not the one that entry %d bound the house to.", revealed.index, committed.index)
		return
	}
	if g == nil {
		r.add(Open, gives, "For this the game's definition is needed, too.")
		return
	}
	nonce, err := hex.DecodeString(strings.TrimSpace(q.Nonce))
	if err != nil || len(nonce) != 0 && len(nonce) != chance.NonceSize {
		r.add(Open, gives, "The player's nonce has to be %d hexadecimal digits, or nothing.", 2*chance.NonceSize)
		return
	}
	drawer := chance.NewDrawer(chance.DeriveKey(revealed.secret, committed.commitment, activated.external), origin)
	defer drawer.Destroy()
	gave := func(nonce []byte) bool {
		return drawer.Draw(g.Game, g.Release, s.Player, s.Draw.N, 0, nonce) == s.Draw.R
	}
	with := "no nonce of the player's own"
	if len(nonce) > 0 {
		with = "the player's nonce " + short(nonce)
	}
	switch {
	case gave(nonce):
		r.add(Holds, gives, "Entry %d shows the seed. It is the one that the house had bound itself to, and with the player's reference, his round number %d at this game and %s it gives exactly the draw %s. Nothing in it depends on the stake or on earlier results.",
			revealed.index, s.Draw.N, with, short(s.Draw.R[:]))
	case len(nonce) == 0:
		r.add(Open, gives, "Without a nonce the seed does not give this draw. If the player had set a nonce before the seed was made, it is needed here; if he had not, this is evidence against the house.")
	case gave(nil):
		r.add(Open, gives, "The seed gives this draw without the nonce. If the player had set it before the house bound itself to the seed in entry %d, it had to count, and this is evidence against the house; if he set it later, it counts from a later seed on.", committed.index)
	default:
		r.add(Fails, gives, "Neither with this nonce nor without one does the seed that entry %d shows give the draw %s.", revealed.index, short(s.Draw.R[:]))
	}
}

// evidenceOf proves further answers under the same key. They mostly come under
// one checkpoint, whose signature is checked once.
func evidenceOf(texts []string, v note.Verifier) (*evidence, error) {
	e := &evidence{enabled: map[uint64]*rounds.GameEnabled{}, committed: map[uint64]seed{}, activated: map[uint64]seed{}, revealed: map[uint64]seed{}, abandoned: map[uint64]seed{}}
	opened := map[string]bool{}
	for _, text := range texts {
		if strings.TrimSpace(text) == "" {
			continue
		}
		answers, err := saved.Read([]byte(text))
		if err != nil {
			return nil, err
		}
		for _, a := range answers {
			if !opened[string(a.Receipt.Checkpoint)] {
				if _, err := tlog.Open(a.Receipt.Checkpoint, v); err != nil {
					return nil, err
				}
				opened[string(a.Receipt.Checkpoint)] = true
			}
			if _, err := a.Receipt.Includes(a.Leaf); err != nil {
				return nil, err
			}
			if err := e.take(a.Receipt.Index, a.Leaf); err != nil {
				return nil, fmt.Errorf("entry %d: %w", a.Receipt.Index, err)
			}
		}
	}
	return e, nil
}

// take takes an entry of a type that is known here; others are passed over.
func (e *evidence) take(index uint64, leaf []byte) error {
	typ, err := entry.TypeOf(leaf)
	if err != nil {
		return err
	}
	var into map[uint64]seed
	switch typ {
	case "game.enabled":
		r := new(rounds.GameEnabled)
		e.enabled[index] = r
		return entry.Decode(leaf, r)
	case "seed.committed", "seed.committed.v2":
		into = e.committed
	case "seed.activated", "seed.activated.v2":
		into = e.activated
	case "seed.revealed":
		into = e.revealed
	case "seed.abandoned":
		into = e.abandoned
	default:
		return nil
	}
	v, err := entry.Parse(leaf)
	if err != nil {
		return err
	}
	text := func(name string) string {
		if m, ok := v.Get(name); ok {
			return m.Text
		}
		return ""
	}
	epoch, err := strconv.ParseUint(text("epoch"), 10, 64)
	if err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	s := seed{index: index, policy: text("policy")}
	for name, hash := range map[string]*[32]byte{"commitment": &s.commitment, "secret": &s.secret, "salt": &s.salt} {
		if b, err := hex.DecodeString(text(name)); err != nil || len(b) != len(hash) && len(b) != 0 {
			return fmt.Errorf("%s: expected 64 hexadecimal digits", name)
		} else if len(b) > 0 {
			*hash = [32]byte(b)
		}
	}
	if s.external, err = hex.DecodeString(text("external")); err != nil {
		return fmt.Errorf("external: %w", err)
	}
	into[epoch] = s
	return nil
}

// Consistent checks that one of two checkpoints of a house continues the other:
// nothing that the first covers was changed or taken out. The hashes are a
// consistency proof (RFC 6962, 2.1.2) from the smaller to the larger.
func Consistent(vkey, one, two string, hashes []tlog.Hash) *Report {
	r := new(Report)
	v, err := tlog.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		r.add(Open, "The house signed both", "There is no verifier key to check this with: %v.", err)
		return r
	}
	var heads [2]tlog.Checkpoint
	for i, text := range []string{one, two} {
		if heads[i], err = tlog.Open([]byte(text), v); err != nil {
			r.add(Fails, "The house signed both", "Checkpoint %d: %v.", i+1, err)
			return r
		}
	}
	a, b := heads[0], heads[1]
	if a.Size > b.Size {
		a, b = b, a
	}
	r.Size = b.Size
	r.add(Holds, "The house signed both", "Both checkpoints, of %d and of %d entries, have a good signature of the key %s+%08x, which you trust.", a.Size, b.Size, v.Name(), v.KeyHash())
	const grew = "The log only grew"
	if a.Size == b.Size {
		if a.Root != b.Root {
			r.add(Fails, grew, "Two roots for one size of %d entries: %s and %s. The house signed two histories. Keep both checkpoints: they are proof of it.", a.Size, short(a.Root[:]), short(b.Root[:]))
		} else {
			r.add(Holds, grew, "Both have the same root %s.", short(a.Root[:]))
		}
		return r
	}
	raw := make([][]byte, len(hashes))
	for i := range hashes {
		raw[i] = hashes[i][:]
	}
	if err := proof.VerifyConsistency(rfc6962.DefaultHasher, a.Size, b.Size, raw, a.Root[:], b.Root[:]); err != nil {
		r.add(Fails, grew, "The %d fingerprints that were given do not lead from the smaller log to the larger: %v. Ask the house for better ones; if it has none, it signed two histories.", len(hashes), err)
		return r
	}
	r.add(Holds, grew, "%d fingerprints lead from the root of %d entries to the root of %d: the first %d entries are the same in both.", len(hashes), a.Size, b.Size, a.Size)
	return r
}

// Size returns the size that a checkpoint names, whoever signed it.
func Size(checkpoint string) (uint64, error) {
	c, err := tlog.Peek([]byte(checkpoint))
	return c.Size, err
}

var errHashes = errors.New("expected lines of 64 hexadecimal digits")

// ParseHashes reads one hash a line, in hexadecimal.
func ParseHashes(text string) (list []tlog.Hash, err error) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil || len(b) != len(tlog.Hash{}) {
			return nil, errHashes
		}
		list = append(list, tlog.Hash(b))
	}
	return list, nil
}

// short is enough of a hash to recognise it by.
func short(b []byte) string {
	s := hex.EncodeToString(b)
	if len(s) > 16 {
		return s[:16] + "…"
	}
	return s
}

// numbersOf lists integers for people.
func numbersOf(list []rounds.Drawn) string {
	const most = 25
	var b strings.Builder
	for i, d := range list {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(list)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%d of %d", d.Value, d.Range)
	}
	return b.String()
}
