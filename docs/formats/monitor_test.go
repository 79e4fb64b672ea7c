package formats_test

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"countroom/games/books"
	"countroom/games/monitor"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
)

// What follows is written from monitor.md and not from package monitor: integers of any size, and nothing kept that could
// be counted again.

// logarithm is L of monitor.md.
func logarithm(n *big.Int) *big.Int {
	k := n.BitLen() - 1
	x := new(big.Int).Lsh(n, 128)
	x.Rsh(x, uint(x.BitLen()-64))
	l := big.NewInt(int64(k))
	for range 32 {
		l.Lsh(l, 1)
		x.Mul(x, x)
		if x.BitLen() == 128 {
			l.SetBit(l, 0, 1)
			x.Rsh(x, 64)
		} else {
			x.Rsh(x, 63)
		}
	}
	return l
}

func lg(n int64) int64 { return logarithm(big.NewInt(n)).Int64() }

// plain is a stream of monitor.md.
type plain struct {
	Name     string  `json:"name"`
	Evidence int64   `json:"evidence"`
	Counts   []int64 `json:"counts,omitempty"`
	Block    []int64 `json:"block,omitempty"`
	sizes    []int64
	cells    map[uint32]int
}

func (p *plain) event(cell int) {
	p.Block[cell]++
	var b, t, s int64
	for j := range p.Block {
		b, t, s = b+p.Block[j], t+p.Counts[j], s+p.sizes[j]
	}
	if b < 256 {
		return
	}
	for j, n := range p.Block {
		if n > 0 {
			p.Evidence += n * (lg(p.Counts[j]+1) + lg(s) - lg(t+int64(len(p.Block))) - 2 - lg(p.sizes[j]) - 2)
		}
	}
	for j, n := range p.Block {
		p.Counts[j] += n
	}
	clear(p.Block)
}

const monitorVector = "countroom monitor vector "

type monitorState struct {
	Rounds  int     `json:"rounds"`
	Streams []plain `json:"streams"`
	Bets    []plain `json:"bets"`
}

type monitorVectors struct {
	Logarithms []struct {
		N string `json:"n"`
		L int64  `json:"l"`
	} `json:"logarithms"`
	Bets []struct {
		Name string `json:"name"`
		A    int64  `json:"a"`
		B    int64  `json:"b"`
	} `json:"bets"`
	States []monitorState `json:"states"`
}

// The theory of the bundled game, as in monitor.md.
const theoryReturn, theoryVariance = 956369, 26345822

func lowBet(k uint) (a, b int64) {
	unit := new(big.Rat).SetInt64(1 << 32)
	lambda := big.NewRat(1, 1<<k)
	less, more := big.NewRat(1442695040, 1000000000), big.NewRat(1442695041, 1000000000)
	mul := func(f ...*big.Rat) *big.Rat {
		p := big.NewRat(1, 1)
		for _, x := range f {
			p.Mul(p, x)
		}
		return p
	}
	psi := mul(lambda, lambda, big.NewRat(theoryVariance, 1000000))
	psi.Quo(psi, mul(big.NewRat(2, 1), new(big.Rat).Sub(big.NewRat(1, 1), mul(lambda, big.NewRat(1, 3)))))
	gain := mul(unit, new(big.Rat).Sub(mul(less, lambda, big.NewRat(theoryReturn, 1000000)), mul(more, psi)))
	loss := mul(unit, more, lambda)
	a = new(big.Int).Div(gain.Num(), gain.Denom()).Int64()
	b = new(big.Int).Neg(new(big.Int).Div(new(big.Int).Neg(loss.Num()), loss.Denom())).Int64()
	return a, b
}

func workedMonitor(m *slots.Machine) (v monitorVectors) {
	for _, n := range []string{"1", "2", "3", "5", "956369", "18446744073709551615", "18446744073709551616", "340282366920938463463374607431768211455", "123456789012345678901234567890"} {
		b, _ := new(big.Int).SetString(n, 10)
		v.Logarithms = append(v.Logarithms, struct {
			N string `json:"n"`
			L int64  `json:"l"`
		}{n, logarithm(b).Int64()})
	}
	d := m.Definition()
	var streams, bets []plain
	lengths := map[int]bool{}
	for i := range 5 {
		lengths[len(d.Base[i])], lengths[len(d.Free[i])] = true, true
	}
	for n := 2; n <= 256; n++ {
		if lengths[n] {
			p := plain{Name: "draws/" + strconv.Itoa(n), Counts: make([]int64, n), Block: make([]int64, n)}
			for range n {
				p.sizes = append(p.sizes, 1)
			}
			streams = append(streams, p)
		}
	}
	for i, strip := range d.Base {
		p := plain{Name: "symbols/" + strconv.Itoa(i+1), cells: map[uint32]int{}}
		for at := range strip {
			middle := strip[(at+1)%len(strip)]
			for j, s := range d.Symbols {
				if s.Name == middle {
					p.cells[uint32(at)] = j
					for len(p.sizes) <= j {
						p.sizes = append(p.sizes, 0)
					}
					p.sizes[j]++
				}
			}
		}
		p.Counts, p.Block = make([]int64, len(p.sizes)), make([]int64, len(p.sizes))
		streams = append(streams, p)
	}
	for _, k := range []uint{3, 6, 9} {
		bets = append(bets, plain{Name: fmt.Sprintf("return-high/%d", k)})
	}
	for _, k := range []uint{8, 10, 12} {
		name := fmt.Sprintf("return-low/%d", k)
		a, b := lowBet(k)
		bets = append(bets, plain{Name: name})
		v.Bets = append(v.Bets, struct {
			Name string `json:"name"`
			A    int64  `json:"a"`
			B    int64  `json:"b"`
		}{name, a, b})
	}
	const stake = 100
	for n := 1; n <= 600; n++ {
		var p books.Play
		if err := p.Round(m, sha256.Sum256([]byte(monitorVector+strconv.Itoa(n))), stake); err != nil {
			panic(err)
		}
		for at, drawn := range p.Values {
			for i := range streams {
				s := &streams[i]
				if s.Name == "draws/"+strconv.Itoa(int(drawn.Range)) {
					s.event(int(drawn.Value))
				}
			}
			for i := range streams {
				if s := &streams[i]; s.Name == "symbols/"+strconv.Itoa(at+1) {
					s.event(s.cells[drawn.Value])
				}
			}
		}
		for i := range bets {
			kind, power, _ := strings.Cut(bets[i].Name, "/")
			k := must(strconv.Atoi(power))
			if kind == "return-high" {
				whole := int64(stake*1000000) << k
				bets[i].Evidence += lg(whole+p.Payout*1000000-(theoryReturn+1)*stake) - lg(whole) - 2
				continue
			}
			a, b := lowBet(uint(k))
			bets[i].Evidence += a - (b*p.Payout+stake-1)/stake
		}
		if n == 300 || n == 600 {
			s := monitorState{Rounds: n, Bets: append([]plain(nil), bets...)}
			for _, p := range streams {
				p.Counts, p.Block = append([]int64(nil), p.Counts...), append([]int64(nil), p.Block...)
				s.Streams = append(s.Streams, p)
			}
			v.States = append(v.States, s)
		}
	}
	return v
}

// The monitors that the house and the verifier run come to what monitor.md says.
func TestMonitorsAreWhatIsWritten(t *testing.T) {
	m := must(slots.Compile(slots.Bundled()))
	want := workedMonitor(m)
	g := monitor.New(m.Definition(), &monitor.Theory{ReturnMillionths: theoryReturn, VarianceMillionths: theoryVariance})
	if theory, ok := slots.TheoryOf(m.Definition().Hash()); !ok || theory.ReturnMillionths != theoryReturn || theory.VarianceMillionths != theoryVariance {
		t.Errorf("the theory of the bundled game is %+v", theory)
	}
	text := string(read(t, "monitor.md"))
	hash := m.Definition().Hash()
	if row := fmt.Sprintf("| %x | %d | %d |", hash, theoryReturn, theoryVariance); !strings.Contains(text, row) {
		t.Errorf("monitor.md lacks %s", row)
	}
	for n := 1; n <= 600; n++ {
		var p books.Play
		if err := p.Round(m, sha256.Sum256([]byte(monitorVector+strconv.Itoa(n))), 100); err != nil {
			t.Fatal(err)
		}
		g.Round(uint64(n), p.Values, p.Payout, 100)
		for _, s := range want.States {
			if s.Rounds != n {
				continue
			}
			is := g.State()
			for i, w := range s.Streams {
				if got := is.Streams[i]; got.Name != w.Name || got.Evidence != w.Evidence || fmt.Sprint(got.Counts, got.Block) != fmt.Sprint(w.Counts, w.Block) {
					t.Errorf("after %d rounds %+v, expected %+v", n, got, w)
				}
			}
			for i, w := range s.Bets {
				if got := is.Bets[i]; got.Name != w.Name || got.Evidence != w.Evidence {
					t.Errorf("after %d rounds %+v, expected %+v", n, got, w)
				}
			}
		}
	}
}

// chanceExamples are entries of the types that come only after more rounds than an example can hold. They stand in no log.
func chanceExamples(s *story) map[string][]byte {
	w := monitor.NewWatch()
	d := s.machine.Definition()
	w.Enabled(gameID, d.Hash(), d)
	for n := uint64(1); w.Owed(gameID) == nil; n++ {
		var p books.Play
		if err := p.Round(s.machine, sha256.Sum256([]byte(monitorVector+strconv.FormatUint(n, 10))), 100); err != nil {
			s.t.Fatal(err)
		}
		eur := func(amount int64) money.Money { return money.Money{Amount: amount, Currency: "EUR"} }
		w.Round(100+n, &rounds.Settled{Game: gameID, Draw: rounds.Draw{Values: p.Values}, Payout: eur(p.Payout), Stake: eur(100)})
	}
	observed := w.Owed(gameID).(*monitor.Observed)
	observed.Header = entry.Header{Actor: "house", At: s.now, ID: entry.NewUUID(fixed16("observed"))}
	alarmed := &monitor.Alarmed{
		Header:   entry.Header{Actor: "house", At: s.now, ID: entry.NewUUID(fixed16("alarmed"))},
		Evidence: 26, Game: gameID, Maths: d.Hash(), Monitor: "draws/35", Round: 18_204, Rounds: 17_933, Suspended: true,
	}
	return map[string][]byte{
		"examples/chance.observed.json": must(entry.Append(nil, observed)),
		"examples/chance.alarmed.json":  must(entry.Append(nil, alarmed)),
	}
}
