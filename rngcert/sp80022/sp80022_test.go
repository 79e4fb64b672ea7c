package sp80022

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/cmplx"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// sequence reads a sequence as the publication prints it.
func sequence(s string) Bits {
	var b Bits
	for _, c := range s {
		if c == '0' || c == '1' {
			b = append(b, byte(c-'0'))
		}
	}
	return b
}

// The binary expansions, integer part included, that the publication takes its sequences from.
var (
	expansionOfE = sync.OnceValue(func() Bits {
		// Σ 1/k! by binary splitting.
		var split func(a, b int64) (p, q *big.Int)
		split = func(a, b int64) (p, q *big.Int) {
			if b-a == 1 {
				return big.NewInt(1), big.NewInt(b)
			}
			p1, q1 := split(a, (a+b)/2)
			p2, q2 := split((a+b)/2, b)
			return p1.Add(p1.Mul(p1, q2), p2), q1.Mul(q1, q2)
		}
		p, q := split(0, 90_000)
		p.Add(p, q)
		return leading(p.Lsh(p, Least+64).Quo(p, q))
	})
	expansionOfPi = sync.OnceValue(func() Bits {
		// Chudnovsky, by binary splitting: 14.18 decimal digits a term.
		var split func(a, b int64) (p, q, r *big.Int)
		split = func(a, b int64) (p, q, r *big.Int) {
			if b-a == 1 {
				p = big.NewInt(-(6*a - 5) * (2*a - 1))
				p.Mul(p, big.NewInt(6*a-1))
				q = big.NewInt(10939058860032000)
				q.Mul(q, big.NewInt(a*a)).Mul(q, big.NewInt(a))
				return p, q, new(big.Int).Mul(p, big.NewInt(545140134*a+13591409))
			}
			m := (a + b) / 2
			p1, q1, r1 := split(a, m)
			p2, q2, r2 := split(m, b)
			r1.Mul(r1, q2).Add(r1, r2.Mul(r2, p1))
			return p1.Mul(p1, p2), q1.Mul(q1, q2), r1
		}
		_, q, r := split(1, (Least+64)/47+2)
		root := big.NewInt(10005)
		root.Sqrt(root.Lsh(root, 2*(Least+64)))
		r.Add(r, new(big.Int).Mul(q, big.NewInt(13591409)))
		return leading(root.Mul(root, q.Mul(q, big.NewInt(426880))).Quo(root, r))
	})
	expansionOfRoot2 = sync.OnceValue(func() Bits { return root(2) })
	expansionOfRoot3 = sync.OnceValue(func() Bits { return root(3) })
)

func root(n int64) Bits {
	x := big.NewInt(n)
	return leading(x.Sqrt(x.Lsh(x, 2*(Least+64))))
}

func leading(x *big.Int) Bits {
	return sequence(x.Text(2)[:Least])
}

// digits holds a value against one that is printed. The publication's own program computes the functions to about seven
// digits, so the last digit printed may be off by one.
func digits(t *testing.T, what string, got float64, printed string) {
	t.Helper()
	_, decimals, _ := strings.Cut(printed, ".")
	want, err := strconv.ParseFloat(printed, 64)
	if err != nil {
		t.Fatal(err)
	}
	if unit := math.Pow10(-len(decimals)); math.Abs(math.Round(got/unit)-math.Round(want/unit)) > 1 {
		t.Errorf("%s: %.*f, the publication has %s", what, len(decimals), got, printed)
	}
}

// poisson returns the probabilities of 0, 1 … 4, and more overlapping matches by the approximation of section 3.8, with
// which the publication's examples are worked.
func poisson() []float64 {
	const eta = 1.0 // (1032 − 9 + 1) / 2^9 / 2
	p := []float64{math.Exp(-eta)}
	rest := 1 - p[0]
	for u := 1; u < 5; u++ {
		sum, choose, power := 0.0, 1.0, 1.0
		for l := 1; l <= u; l++ {
			power *= eta / float64(l)
			sum += choose * power
			choose *= float64(u-l) / float64(l)
		}
		p = append(p, math.Exp(-eta)*math.Exp2(float64(-u))*sum)
		rest -= p[u]
	}
	return append(p, rest)
}

const hundredOfPi = "11001001000011111101101010100010001000010110100011 00001000110100110001001100011001100010100010111000"

// TestExamples works the examples of chapter 2, section by section.
func TestExamples(t *testing.T) {
	pi := sequence(hundredOfPi)
	if len(pi) != 100 {
		t.Fatalf("%d bits", len(pi))
	}
	e := expansionOfE()

	digits(t, "2.1.4", Frequency(sequence("1011010101")), "0.527089")
	digits(t, "2.1.8", Frequency(pi), "0.109599")
	digits(t, "2.2.4", BlockFrequency(sequence("0110011010"), 3), "0.801252")
	digits(t, "2.2.8", BlockFrequency(pi, 10), "0.706438")
	digits(t, "2.3.4", Runs(sequence("1001101011")), "0.147232")
	digits(t, "2.3.8", Runs(pi), "0.500798")

	// The example is worked with rounded intermediate values: it prints 4.882457 and 0.180609 where its own counts and
	// probabilities give 4.882605 and 0.180598.
	eight := sequence("11001100000101010110110001001100111000000000001001 00110101010001000100111101011010000000110101111100 1100111001101101100010110010")
	counts := longestRunCounts(eight, 8, 1, 4)
	if fmt.Sprint(counts) != "[4 9 3 0]" {
		t.Errorf("2.4.8: counts %v", counts)
	}
	digits(t, "2.4.8", LongestRun(eight), "0.1806")

	// The example has the probabilities to four digits, and matrices of 3 by 3.
	counts = rankCounts(sequence("01011001001010101101"), 3)
	digits(t, "2.5.4", chiP(chiSquare(counts, []float64{0.2888, 0.5776, 0.1336}), 2), "0.741948")
	counts = rankCounts(e[:100_000], 32)
	if fmt.Sprint(counts) != "[23 60 14]" {
		t.Errorf("2.5.8: counts %v", counts)
	}
	digits(t, "2.5.8", Rank(e[:100_000]), "0.532069")

	// The small examples of section 2.6 do not follow from its definition: they print 0.029523 and 0.168669 for 4 and 46
	// peaks below the limit, where there are 5 and 48. Appendix B does follow, see TestExpansions.
	for s, below := range map[string]int{"1001010011": 5, hundredOfPi: 48} {
		if n := peaksBelow(sequence(s)); n != below {
			t.Errorf("2.6: %d peaks below the limit, expected %d", n, below)
		}
	}
	digits(t, "2.6.4", Spectral(sequence("1001010011")), "0.468160")
	digits(t, "2.6.8", Spectral(pi), "0.646355")
	digits(t, "2.7.4", NonOverlapping(sequence("10100100101110010110"), []uint32{0b001}, 3, 2)[0], "0.344154")

	counts = overlappingCounts(e, 9, 1032)
	if fmt.Sprint(counts) != "[329 164 150 111 78 136]" {
		t.Errorf("2.8.8: counts %v", counts)
	}
	digits(t, "2.8.8", chiSquare(counts, poisson()), "8.965859")
	digits(t, "2.8.8", chiP(chiSquare(counts, poisson()), 5), "0.110434")

	f, _ := universalStatistic(sequence("01011010011101010111"), 2, 4)
	digits(t, "2.9.4", f, "1.1949875")
	digits(t, "2.9.4", math.Erfc(math.Abs(f-1.5374383)/math.Sqrt(2*1.338)), "0.767189")

	if l := shortestRegister(sequence("1101011110001")); l != 4 {
		t.Errorf("2.10.4: a register of %d, the publication has 4", l)
	}
	counts = linearCounts(e, 1000)
	if fmt.Sprint(counts) != "[11 31 116 501 258 57 26]" {
		t.Errorf("2.10.8: counts %v", counts)
	}
	digits(t, "2.10.8", LinearComplexity(e, 1000), "0.845406")

	first, second := Serial(sequence("0011011101"), 3)
	digits(t, "2.11.4", first, "0.808792")
	digits(t, "2.11.4", second, "0.670320")
	first, second = Serial(e, 2)
	digits(t, "2.11.8", first, "0.843764")
	digits(t, "2.11.8", second, "0.561915")
	digits(t, "2.12.4", ApproximateEntropy(sequence("0100110101"), 3), "0.261961")
	digits(t, "2.12.8", ApproximateEntropy(pi, 2), "0.235301")

	forward, _ := CumulativeSums(sequence("1011010111"))
	digits(t, "2.13.4", forward, "0.411659")
	forward, backward := CumulativeSums(pi)
	digits(t, "2.13.8", forward, "0.219194")
	digits(t, "2.13.8", backward, "0.114866")

	w := newWalk(sequence("0110110101"))
	digits(t, "2.14.4", chiSquare(w.visits[4][:], visitProbabilities(1)), "4.333333")
	digits(t, "2.15.4", w.variant()[variantMost], "0.683091")
	excursions, ok := RandomExcursions(e)
	if j := newWalk(e).cycles; !ok || j != 1490 {
		t.Errorf("2.14.8: %d cycles, the publication has 1490", j)
	}
	for i, printed := range []string{"0.573306", "0.197996", "0.164011", "0.007779", "0.786868", "0.440912", "0.797854", "0.778186"} {
		digits(t, fmt.Sprintf("2.14.8, state %+d", excursionStates[i]), excursions[i], printed)
	}
	variant, _ := RandomExcursionsVariant(e)
	for i, printed := range []string{
		"0.858946", "0.794755", "0.576249", "0.493417", "0.633873", "0.917283", "0.934708", "0.816012", "0.826009",
		"0.137861", "0.200642", "0.441254", "0.939291", "0.505683", "0.445935", "0.512207", "0.538635", "0.593930",
	} {
		digits(t, fmt.Sprintf("2.15.8, state %+d", variantState(i)), variant[i], printed)
	}
}

// peaksBelow counts the peaks below the limit by the definition of the discrete Fourier transform.
func peaksBelow(b Bits) (below int) {
	n := float64(len(b))
	for k := range len(b) / 2 {
		var sum complex128
		for j, v := range b {
			sum += complex(2*float64(v)-1, 0) * cmplx.Exp(complex(0, -2*math.Pi*float64(j*k)/n))
		}
		if cmplx.Abs(sum) < math.Sqrt(math.Log(1/0.05)*n) {
			below++
		}
	}
	return below
}

// TestExpansions holds every test against appendix B: a million bits each of π, e, √2 and √3.
func TestExpansions(t *testing.T) {
	columns := []struct {
		name string
		b    func() Bits
	}{{"pi", expansionOfPi}, {"e", expansionOfE}, {"root 2", expansionOfRoot2}, {"root 3", expansionOfRoot3}}
	rows := []struct {
		name    string
		run     func(b Bits) float64
		printed [4]string
	}{
		{"frequency", Frequency, [4]string{"0.578211", "0.953749", "0.811881", "0.610051"}},
		{"block frequency", func(b Bits) float64 { return BlockFrequency(b, 128) }, [4]string{"0.380615", "0.211072", "0.833222", "0.473961"}},
		{"cumulative sums, forward", func(b Bits) float64 { p, _ := CumulativeSums(b); return p }, [4]string{"0.628308", "0.669887", "0.879009", "0.917121"}},
		{"cumulative sums, backward", func(b Bits) float64 { _, p := CumulativeSums(b); return p }, [4]string{"0.663369", "0.724266", "0.957206", "0.689519"}},
		{"runs", Runs, [4]string{"0.419268", "0.561917", "0.313427", "0.261123"}},
		{"longest run", LongestRun, [4]string{"0.024390", "0.718945", "0.012117", "0.446726"}},
		{"rank", Rank, [4]string{"0.083553", "0.306156", "0.823810", "0.314498"}},
		{"spectral", Spectral, [4]string{"0.010186", "0.847187", "0.581909", "0.776046"}},
		{"non-overlapping", func(b Bits) float64 { return NonOverlapping(b, []uint32{1}, 9, 8)[0] }, [4]string{"0.165757", "0.078790", "0.569461", "0.532235"}},
		{"overlapping", func(b Bits) float64 { return chiP(chiSquare(overlappingCounts(b, 9, 1032), poisson()), 5) }, [4]string{"0.296897", "0.110434", "0.791982", "0.082716"}},
		{"universal", Universal, [4]string{"0.669012", "0.282568", "0.130805", "0.165981"}},
		{"approximate entropy", func(b Bits) float64 { return ApproximateEntropy(b, 10) }, [4]string{"0.361595", "0.700073", "0.884740", "0.180481"}},
		{"random excursions, +1", func(b Bits) float64 { p, _ := RandomExcursions(b); return p[4] }, [4]string{"0.844143", "0.786868", "0.216235", "0.783283"}},
		{"random excursions variant, -1", func(b Bits) float64 { p, _ := RandomExcursionsVariant(b); return p[8] }, [4]string{"0.760966", "0.826009", "0.566118", "0.155066"}},
		{"linear complexity", func(b Bits) float64 { return LinearComplexity(b, 500) }, [4]string{"0.255475", "0.826335", "0.317127", "0.346469"}},
		{"serial", func(b Bits) float64 { p, _ := Serial(b, 16); return p }, [4]string{"0.143005", "0.766182", "0.861925", "0.157500"}},
	}
	for i, c := range columns {
		b := c.b()
		for _, r := range rows {
			digits(t, r.name+" of "+c.name, r.run(b), r.printed[i])
		}
	}
}

// TestSuiteOfAGoodGenerator: p-values of a good generator are uniform. The seed is fixed, so the test cannot fail by
// chance, but would if a test were off.
func TestSuiteOfAGoodGenerator(t *testing.T) {
	r := rand.NewChaCha8([32]byte{6})
	data := make([]byte, Least/8)
	r.Read(data)
	values, err := Suite(Unpack(data))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]int{}
	low := 0
	for _, v := range values {
		names[v.Test]++
		if !(v.P >= 0 && v.P <= 1) {
			t.Errorf("%s %s: p-value %v", v.Test, v.Variant, v.P)
		}
		if v.P < 0.01 {
			low++
		}
	}
	if len(names) != 15 || len(values) != 188 {
		t.Errorf("%d values of %d tests, expected 188 of 15: %v", len(values), len(names), names)
	}
	if low > 6 { // of 188 values 1.9 are expected
		t.Errorf("%d of %d p-values are below 0.01", low, len(values))
	}
}

func TestShortSequence(t *testing.T) {
	if _, err := Suite(make(Bits, Least-1)); !errors.Is(err, ErrShort) {
		t.Errorf("got %v", err)
	}
}

// TestOddSequences runs the suite on the oddest sequences there are.
func TestOddSequences(t *testing.T) {
	for name, bit := range map[string]func(i int) byte{
		"zeros": func(int) byte { return 0 }, "ones": func(int) byte { return 1 },
		"alternating": func(i int) byte { return byte(i & 1) }, "halves": func(i int) byte { return byte(2 * i / Least) },
	} {
		b := make(Bits, Least)
		for i := range b {
			b[i] = bit(i)
		}
		values, err := Suite(b)
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for _, v := range values {
			if !(v.P >= 0 && v.P <= 1) {
				t.Errorf("%s: %s %s has the p-value %v", name, v.Test, v.Variant, v.P)
			}
			if v.P < 1e-6 {
				failed++
			}
		}
		if failed < 5 {
			t.Errorf("%s: only %d p-values below 1e-6", name, failed)
		}
	}
}

// TestShortestRegister: a sequence made by a register of a length has this complexity.
func TestShortestRegister(t *testing.T) {
	r := rand.New(rand.NewChaCha8([32]byte{2}))
	for _, length := range []int{1, 2, 17, 63, 64, 65, 130} {
		taps := make([]int, 0, length)
		for i := 1; i < length; i++ {
			if r.IntN(2) == 1 {
				taps = append(taps, i)
			}
		}
		taps = append(taps, length)
		b := make(Bits, 500)
		b[length-1] = 1
		for i := length; i < len(b); i++ {
			for _, tap := range taps {
				b[i] ^= b[i-tap]
			}
		}
		if got := shortestRegister(b); got != length {
			t.Errorf("a register of %d makes a sequence of complexity %d", length, got)
		}
	}
	if got := shortestRegister(make(Bits, 500)); got != 0 {
		t.Errorf("zeros have complexity %d", got)
	}
}

func BenchmarkSuite(b *testing.B) {
	data := make([]byte, Least/8)
	rand.NewChaCha8([32]byte{3}).Read(data)
	bits := Unpack(data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Suite(bits); err != nil {
			b.Fatal(err)
		}
	}
}
