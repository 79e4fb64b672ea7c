package formats_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"countroom/games/books"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/rngcert/chance"
)

// What follows is written from chance.md and not from package chance, with
// nothing but hashes of the standard library.

func frame(fields ...[]byte) (b []byte) {
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func mac(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)
}

// words is the stream of 32-bit words that r expands to.
type words struct {
	k, v  []byte
	taken int // bytes of v
	due   bool
}

func expand(r []byte) *words {
	w := &words{k: make([]byte, 32), v: bytes.Repeat([]byte{1}, 32), taken: 32}
	w.update(r, []byte("countroom/drbg/1"))
	return w
}

func (w *words) update(data ...[]byte) {
	for _, separator := range []byte{0, 1} {
		w.k = mac(w.k, append([][]byte{w.v, {separator}}, data...)...)
		w.v = mac(w.k, w.v)
		if len(data) == 0 {
			return
		}
	}
}

func (w *words) next() uint32 {
	if w.taken == 32 {
		if w.due {
			w.update()
		}
		w.v, w.taken, w.due = mac(w.k, w.v), 0, true
	}
	w.taken += 4
	return binary.BigEndian.Uint32(w.v[w.taken-4:])
}

// below returns the next integer in [0, n) and the words that it took.
func (w *words) below(n uint32) (v uint32, took []uint32) {
	limit := uint64(1<<32) / uint64(n) * uint64(n)
	for {
		word := w.next()
		took = append(took, word)
		if uint64(word) < limit {
			return word % n, took
		}
	}
}

// What the outside adds, by the document's formulas and by package chance.
func TestExternalVectors(t *testing.T) {
	file, err := os.ReadFile("vectors/external.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Beacons   []struct{ Origin, Epoch, Chain, Round, Signature, External string }
		Witnesses []struct {
			Origin, Epoch string
			Nonces        []struct{ Witness, Nonce, Commitment string }
			External      string
		}
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	digest := func(what, want string, ours [32]byte, fields ...[]byte) {
		t.Helper()
		if sum := sha256.Sum256(frame(fields...)); hex.EncodeToString(sum[:]) != want || ours != sum {
			t.Errorf("%s: %x by the document, %x by package chance, expected %s", what, sum, ours, want)
		}
	}
	for _, w := range v.Witnesses {
		epoch, fields, nonces := number(w.Epoch), [][]byte{[]byte("countroom/external-witness/v1"), []byte(w.Origin), u64(number(w.Epoch))}, []chance.WitnessNonce(nil)
		for _, n := range w.Nonces {
			nonce := chance.WitnessNonce{Nonce: [32]byte(unhex(t, n.Nonce)), Witness: n.Witness}
			digest("the commitment of "+n.Witness, n.Commitment, nonce.Commitment(w.Origin, epoch), []byte("countroom/nonce-commitment/v1"), []byte(w.Origin), u64(epoch), []byte(n.Witness), nonce.Nonce[:])
			fields, nonces = append(fields, []byte(n.Witness), nonce.Nonce[:]), append(nonces, nonce)
		}
		digest("witnesses", w.External, chance.WitnessExternal(w.Origin, epoch, nonces), fields...)
	}
	for _, b := range v.Beacons {
		chain, signature := unhex(t, b.Chain), unhex(t, b.Signature)
		digest("beacon", b.External, chance.BeaconExternal(b.Origin, number(b.Epoch), [32]byte(chain), number(b.Round), signature),
			[]byte("countroom/external-beacon/v1"), []byte(b.Origin), u64(number(b.Epoch)), chain, u64(number(b.Round)), signature)
	}
	if len(v.Witnesses) < 3 || len(v.Beacons) < 3 {
		t.Errorf("%d cases of witnesses, %d of beacons", len(v.Witnesses), len(v.Beacons))
	}
}

func TestChanceVectorsFollowFromTheDocument(t *testing.T) {
	file, err := os.ReadFile("vectors/chance.json")
	if err != nil {
		t.Fatal(err)
	}
	if ours, err := os.ReadFile("../../rngcert/chance/testdata/vectors.json"); err != nil || !bytes.Equal(file, ours) {
		t.Errorf("vectors/chance.json is not the file that package chance is tested with (%v)", err)
	}
	var v struct {
		Epochs []struct {
			Origin, Epoch, Secret, Salt, Commitment, External, Key string
			Draws                                                  []struct {
				Game, Version, Player, N, Nonce, R string
				Step                               uint64
				Words                              []string
				Ranges, Ints                       []uint32
			}
		}
	}
	if err := json.Unmarshal(file, &v); err != nil {
		t.Fatal(err)
	}
	bin := func(s string) []byte { return must(hex.DecodeString(s)) }
	integer := func(s string) uint64 { return must(strconv.ParseUint(s, 10, 64)) }
	checked := 0
	for _, e := range v.Epochs {
		commitment := sha256.Sum256(frame([]byte("countroom/seed-commitment/v1"), []byte(e.Origin), u64(integer(e.Epoch)), bin(e.Secret), bin(e.Salt)))
		if got := hex.EncodeToString(commitment[:]); got != e.Commitment {
			t.Errorf("epoch %s: commitment %s, want %s", e.Epoch, got, e.Commitment)
		}
		prk := mac(slices.Concat(commitment[:], bin(e.External)), bin(e.Secret))
		key := mac(prk, []byte("countroom/epoch-key/v1"), []byte{1})
		if got := hex.EncodeToString(key); got != e.Key {
			t.Errorf("epoch %s: key %s, want %s", e.Epoch, got, e.Key)
		}
		for _, d := range e.Draws {
			r := mac(key, frame([]byte("countroom/draw/v1"), []byte(e.Origin), []byte(d.Game), []byte(d.Version), bin(d.Player), u64(integer(d.N)), u64(d.Step), bin(d.Nonce)))
			if got := hex.EncodeToString(r); got != d.R {
				t.Errorf("epoch %s, %s: r %s, want %s", e.Epoch, d.Game, got, d.R)
			}
			w := expand(r)
			for i, want := range d.Words {
				if got := fmt.Sprintf("%08x", w.next()); got != want {
					t.Errorf("epoch %s, %s: word %d is %s, want %s", e.Epoch, d.Game, i, got, want)
				}
			}
			w = expand(r)
			for i, n := range d.Ranges {
				if got, _ := w.below(n); got != d.Ints[i] {
					t.Errorf("epoch %s, %s: integer %d below %d is %d, want %d", e.Epoch, d.Game, i, n, got, d.Ints[i])
				}
				checked++
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d integers were checked", checked)
	}
}

// workedRound is a round from its draw value to its payout.
type workedRound struct {
	About   string          `json:"about"`
	R       string          `json:"r"`
	Stake   int64           `json:"stake"`
	Words   []string        `json:"words"`  // all that were taken
	Values  [][2]uint32     `json:"values"` // range, value
	Outcome json.RawMessage `json:"outcome"`
	Payout  int64           `json:"payout"`
}

type worked struct {
	Game   string        `json:"game"`
	Maths  string        `json:"maths"`
	Rounds []workedRound `json:"rounds"`
}

// workedRounds plays rounds whose r is the SHA-256 of "round " and a number, the
// numbers having been looked for.
func workedRounds(m *slots.Machine) worked {
	hash := m.Definition().Hash()
	w := worked{Game: m.Definition().ID, Maths: hex.EncodeToString(hash[:])}
	for _, c := range []struct {
		about string
		n     int
		stake int64
	}{
		{"a losing spin", 0, 20},
		{"one line", 17, 40},
		{"five of a kind", 51, 100},
		{"a line pays for its wilds", 96, 500},
		{"three scatters: ten free spins", 70, 1000},
		{"four scatters", 1075, 200},
		{"free spins win free spins", 4435, 100},
		{"more free spins are won than the maximum allows", 952721, 20},
		{"the round reaches the greatest payout", 331565, 1000},
	} {
		r := sha256.Sum256(fmt.Appendf(nil, "round %d", c.n))
		var p books.Play
		if err := p.Round(m, r, c.stake); err != nil {
			panic(err)
		}
		round := workedRound{About: c.about, R: hex.EncodeToString(r[:]), Stake: c.stake, Outcome: bytes.Clone(p.Outcome), Payout: p.Payout}
		stream := expand(r[:])
		for _, d := range p.Values {
			v, took := stream.below(d.Range)
			round.Values = append(round.Values, [2]uint32{d.Range, v})
			for _, word := range took {
				round.Words = append(round.Words, fmt.Sprintf("%08x", word))
			}
		}
		w.Rounds = append(w.Rounds, round)
	}
	return w
}

// The integers of the worked rounds come from the expansion above; here they
// meet those that the house and the verifier draw.
func TestWorkedRoundsAreWhatIsPlayed(t *testing.T) {
	var w worked
	file, err := os.ReadFile("vectors/rounds.json")
	if err == nil {
		err = json.Unmarshal(file, &w)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := must(slots.Compile(slots.Bundled()))
	for _, c := range w.Rounds {
		var p books.Play
		if err := p.Round(m, [32]byte(must(hex.DecodeString(c.R))), c.Stake); err != nil {
			t.Fatal(err)
		}
		var values [][2]uint32
		for _, d := range p.Values {
			values = append(values, [2]uint32{d.Range, d.Value})
		}
		outcome := must(entry.Canonical(c.Outcome))
		if !slices.Equal(values, c.Values) || !bytes.Equal(p.Outcome, outcome) || p.Payout != c.Payout {
			t.Errorf("%s: plays as %v, %s, %d; the file has %v, %s, %d", c.About, values, p.Outcome, p.Payout, c.Values, outcome, c.Payout)
		}
	}
	if len(w.Rounds) < 9 {
		t.Errorf("only %d rounds", len(w.Rounds))
	}
}

type canonicalText struct {
	Text      string `json:"text"`
	Canonical string `json:"canonical"` // empty: refused
}

// canonicalTexts are request bodies, as sent and as hashed.
func canonicalTexts() []canonicalText {
	var list []canonicalText
	for _, text := range []string{
		`{"stake":100}`,
		` { "stake" : 1e2 } `,
		`{"currency":"EUR","amount":100}`,
		`{"amount":100.0,"currency":"\u0045UR"}`,
		`{"b":[true,false,null],"a":{"z":1,"y":-0}}`,
		`{"n":[1.50,0.000001,1e-7,1e21,100000000000000000000,9007199254740993]}`,
		`{"é":"é\u000a\u0007\"\\\/","\ud83d\ude00":"\ufb33","A":1}`,
		`{}`,
		`{"a":1,"a":1}`,
		`{"a":"\u0000"}`,
		`{"a":"\ud800"}`,
		`{"a":01}`,
		`{"a":1e400}`,
		`{"a":1} x`,
	} {
		c, err := entry.Canonical([]byte(text))
		if err != nil {
			c = nil
		}
		list = append(list, canonicalText{text, string(c)})
	}
	return list
}
