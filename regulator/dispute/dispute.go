// Package dispute seals and checks dispute packs: one self-contained page that
// has everything about one round, for people to read, and for programs the
// answers of the house that prove it, under a signature of the house's key for
// exports.
//
// A pack is the page, a mark, and a Sigstore bundle after it. The bundle's
// statement has the SHA-256 of the page, which is all bytes before the mark; what
// follows the mark is in one form only, so that nothing unsigned can be shown.
// The key for exports stands in entry 0 or a key.introduced, which is among the
// answers; so all that one needs is the house's verifier key.
package dispute

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"slices"
	"strconv"
	"strings"

	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/replay"
	"countroom/regulator/saved"
)

// PredicateType is that of a pack's statement.
const PredicateType = "urn:countroom:dispute-pack:v1"

// Most is the size in bytes of the largest pack that is read.
const Most = 4 << 20

// Said is the predicate: what the pack is about.
type Said struct {
	Origin string `json:"origin"`
	Round  string `json:"round"` // id
	Index  uint64 `json:"index"` // of its entry
	Size   uint64 `json:"size"`  // of the log as of which the pack was made
}

const (
	mark  = "\n<!-- the signature is over everything above this line -->\n"
	begin = mark + `<section class="signature"><h2>Signature</h2><p>By the house’s key for exports, over everything above. <code>countroom-verify dispute FILE --vkey FILE</code> checks it.</p><pre>`
	end   = "</pre></section>\n</body>\n</html>\n"

	answerBegin, answerEnd = "<pre class=\"answer\">", "</pre>"
)

// ErrFormat says that a file is not a dispute pack.
var ErrFormat = errors.New("not a dispute pack")

// Seal has a page signed. The page ends where its body does; answers are in it
// as Answer writes them.
func Seal(page []byte, said Said, sign func(payload []byte) (bundle []byte, err error)) ([]byte, error) {
	if bytes.Contains(page, []byte(mark)) {
		return nil, fmt.Errorf("%w: the page has the mark of its end in it", ErrFormat)
	}
	payload, err := dsse.NewStatement(PredicateType, said, dsse.Subject{Name: "dispute-" + said.Round + ".html", Digest: dsse.SHA256(page)})
	if err != nil {
		return nil, err
	}
	bundle, err := sign(payload)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(page), begin+html.EscapeString(string(bundle))+end...), nil
}

// Answer is an answer of the house as it stands in a page.
func Answer(text string) string { return answerBegin + html.EscapeString(text) + answerEnd }

// Pack is a pack whose signature holds.
type Pack struct {
	Said
	Report *replay.Report // of the round
}

// Check checks a pack: that the house's key for exports signed the page, that
// the log which the verifier key signed has that key, and the round. What the
// answers themselves prove is in the report, also when it is against the house.
func Check(pack []byte, vkey string) (*Pack, error) {
	if len(pack) > Most {
		return nil, fmt.Errorf("%w: %d bytes, at most %d expected", ErrFormat, len(pack), Most)
	}
	page, rest, ok := bytes.Cut(pack, []byte(begin))
	bundle, ended := bytes.CutSuffix(rest, []byte(end))
	if !ok || !ended || bytes.Contains(page, []byte(mark)) {
		return nil, fmt.Errorf("%w: expected a page, the mark of its end and a signature, and nothing else", ErrFormat)
	}
	plain := html.UnescapeString(string(bundle))
	if html.EscapeString(plain) != string(bundle) {
		return nil, fmt.Errorf("%w: the signature is not in its one form", ErrFormat)
	}
	envelope, err := dsse.Parse([]byte(plain))
	if err != nil {
		return nil, err
	}
	p := new(Pack)
	statement, err := envelope.Statement(PredicateType, &p.Said)
	if err != nil {
		return nil, err
	}
	if len(statement.Subject) != 1 || statement.Subject[0].Digest != dsse.SHA256(page) {
		return nil, fmt.Errorf("%w: the page is not the one that was signed", dsse.ErrSignature)
	}
	answers, err := answersIn(page)
	if err != nil {
		return nil, err
	}
	v, err := tlog.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return nil, err
	}
	if v.Name() != p.Origin {
		return nil, fmt.Errorf("%w: a pack of the house %q, expected %q", ErrFormat, p.Origin, v.Name())
	}
	q := &replay.Question{VKey: vkey}
	var signers []dsse.Key
	found := evidence{nonces: map[uint64]*players.NonceSet{}, committed: map[uint64]uint64{}}
	for _, text := range answers {
		list, err := saved.Read([]byte(text))
		if err != nil {
			return nil, err
		}
		a := &list[0]
		if _, err := a.Receipt.Verify(a.Leaf, v); err != nil {
			return nil, err
		}
		switch {
		case a.Receipt.Index == p.Index:
			q.Answer = text
		default:
			q.More = append(q.More, text)
		}
		if err := found.take(a.Receipt.Index, a.Leaf, a.Receipt.Index == p.Index); err != nil {
			return nil, err
		}
		key, err := exportsKey(a.Leaf)
		if err != nil {
			return nil, err
		}
		signers = append(signers, key...)
	}
	if !slices.ContainsFunc(signers, func(k dsse.Key) bool { return envelope.Verify(k) == nil }) {
		return nil, fmt.Errorf("%w: not by a key for exports that the log has", dsse.ErrSignature)
	}
	q.Nonce = found.nonce()
	p.Report = replay.Check(q)
	if q.Answer == "" || member(p.Report.Leaf, "id") != p.Round {
		return nil, fmt.Errorf("%w: it has no answer about round %q at entry %d", ErrFormat, p.Round, p.Index)
	}
	return p, nil
}

// evidence is what answers say of the player's nonce.
type evidence struct {
	round     rounds.Settled
	nonces    map[uint64]*players.NonceSet // by the index of the entry
	committed map[uint64]uint64            // index of the commitment, by epoch
}

func (e *evidence) take(index uint64, leaf []byte, round bool) error {
	typ, err := entry.TypeOf(leaf)
	if err != nil {
		return err
	}
	switch typ {
	case "round.settled":
		if round {
			return entry.Decode(leaf, &e.round)
		}
	case "player.nonce-set":
		r := new(players.NonceSet)
		if err := entry.Decode(leaf, r); err != nil {
			return err
		}
		e.nonces[index] = r
	case "seed.committed", "seed.committed.v2":
		v, err := entry.Parse(leaf)
		if err != nil {
			return err
		}
		if m, ok := v.Get("epoch"); ok {
			if n, err := strconv.ParseUint(m.Text, 10, 64); err == nil {
				e.committed[n] = index
			}
		}
	}
	return nil
}

// nonce is the player's that counted in the round's epoch, set before the house bound
// itself to the seed: any other could have been chosen for the draw that it gives.
func (e *evidence) nonce() string {
	committed, ok := e.committed[e.round.Draw.Epoch]
	var newest *players.NonceSet
	at := uint64(0)
	for index, r := range e.nonces {
		if r.Player == e.round.Player && r.Epoch <= e.round.Draw.Epoch && ok && index < committed && (newest == nil || index > at) {
			newest, at = r, index
		}
	}
	if newest == nil {
		return ""
	}
	return hex.EncodeToString(newest.Nonce[:])
}

// answersIn finds the answers in a page.
func answersIn(page []byte) (list []string, err error) {
	const answersMost = 256
	for rest := string(page); ; {
		_, after, ok := strings.Cut(rest, answerBegin)
		if !ok {
			return list, nil
		}
		text, next, ok := strings.Cut(after, answerEnd)
		if !ok || len(list) == answersMost {
			return nil, fmt.Errorf("%w: expected at most %d answers, each with its end", ErrFormat, answersMost)
		}
		list, rest = append(list, html.UnescapeString(text)), next
	}
}

// exportsKey returns the key for exports that an entry names, if it does.
func exportsKey(leaf []byte) ([]dsse.Key, error) {
	typ, err := entry.TypeOf(leaf)
	if err != nil {
		return nil, err
	}
	public := ""
	switch typ {
	case "house.created":
		r := new(system.HouseCreated)
		if err := entry.Decode(leaf, r); err != nil {
			return nil, err
		}
		if k := r.Key(system.RoleExports); k != nil {
			public = k.Public
		}
	case "key.introduced":
		r := new(keys.Introduced)
		if err := entry.Decode(leaf, r); err != nil {
			return nil, err
		}
		if r.Role == system.RoleExports {
			public = r.Public
		}
	}
	if public == "" {
		return nil, nil
	}
	k, err := dsse.ParseKey(public)
	return []dsse.Key{k}, err
}

// member returns a text in an entry, "" when there is none.
func member(leaf []byte, name string) string {
	v, err := entry.Parse(leaf)
	if err != nil {
		return ""
	}
	if m, ok := v.Get(name); ok {
		return m.Text
	}
	return ""
}
