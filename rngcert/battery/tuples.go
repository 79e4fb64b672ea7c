package battery

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// overlapsMost is how many tuples are counted at most.
const overlapsMost = 1 << 14

// overlaps is the serial test on overlapping tuples (section 3.3.2 C and Good, Proc. Cambridge Phil. Soc. 49,
// 1953): pairs, triples and, of small ranges, the longest tuples for which there is room. The statistic is the
// difference between those of tuples and of tuples shorter by one, which is a chi-square one although the
// tuples overlap; the sequence goes on from its start after its end.
func (rs *results) overlaps(s Stream) {
	room := math.Min(float64(len(s.Values))/least, overlapsMost)
	lengths := []int{2, 3}
	if t := int(math.Log(room)/math.Log(float64(s.M)) + 1e-9); t > 3 {
		lengths = append(lengths, t)
	}
	for _, t := range lengths {
		rs.overlapping(s.classes(int(math.Pow(room, 1/float64(t))+1e-9)), t)
	}
}

func (rs *results) overlapping(c classes, t int) {
	d := len(c.p)
	top := 1 // d^(t−1)
	for range t - 1 {
		top *= d
	}
	counts := make([]int, top*d)
	n := len(c.of)
	tuple := 0
	for _, v := range c.of[n-t+1:] {
		tuple = tuple*d + int(v)
	}
	for i, v := range c.of {
		tuple = tuple*d + int(v)
		counts[tuple]++
		old := i - t + 1
		if old < 0 {
			old += n
		}
		tuple -= int(c.of[old]) * top
	}
	// Σ (n_ij − n_i p_j)² / (n p_i p_j), with i a tuple shorter by one and j what follows it: the same
	// difference, without cancellation.
	statistic := 0.0
	for i := range top {
		row := counts[i*d : (i+1)*d]
		total := 0
		for _, k := range row {
			total += k
		}
		p := tupleProbability(c.p, i, t-1)
		for j, k := range row {
			diff := float64(k) - float64(total)*c.p[j]
			statistic += diff * diff / (float64(n) * p * c.p[j])
		}
	}
	degrees := top * (d - 1)
	rs.add(Result{
		Test: "overlaps", Variant: fmt.Sprintf("%d-tuples of %d values", t, d),
		P: upperTail(statistic, degrees), Statistic: statistic, Degrees: degrees, N: n,
	})
}

// tupleProbability is that of tuple number i of t classes.
func tupleProbability(p []float64, i, t int) float64 {
	product := 1.0
	for range t {
		product *= p[i%len(p)]
		i /= len(p)
	}
	return product
}

// calendar makes days of a year out of several values each, as if the values were the digits of one number. A
// year has the number of days wanted, or up to twice as many.
type calendar struct {
	digits int    // values for a day
	size   uint64 // numbers for a day
	days   uint64
}

// newCalendar takes as few values for a day as will do; wanted returns the length of the year for so many
// birthdays and is below 2^48.
func newCalendar(m uint32, values int, wanted func(birthdays float64) float64) (c calendar, birthdays int) {
	power := uint64(1) // m^(digits−1), below the days wanted and so below 2^48
	for c.digits = 1; ; c.digits++ {
		birthdays = values / c.digits
		want := max(1, uint64(wanted(float64(birthdays))))
		high, low := bits.Mul64(power, uint64(m))
		if high == 0 && low < want {
			power = low
			continue
		}
		c.size, _ = bits.Div64(high, low, want) // high < want: the power before was below it, and m is below 2^32
		c.days, _ = bits.Div64(high, low, c.size)
		return c, birthdays
	}
}

func (c calendar) String() string { return fmt.Sprintf("%d values, %d days", c.digits, c.days) }

// birthdays calls f with each day. The numbers beyond the last whole day are left out. They are fewer than one
// in c.days; if they are a half, ok is false: a perfect generator does not do that.
func (c calendar) birthdays(s Stream, most int, f func(day uint64)) (n int, ok bool) {
	values := s.Values
	most = min(most, len(values)/c.digits)
	for range most {
		head := uint64(0)
		for _, v := range values[:c.digits-1] {
			head = head*uint64(s.M) + uint64(v)
		}
		high, low := bits.Mul64(head, uint64(s.M))
		low, carry := bits.Add64(low, uint64(values[c.digits-1]), 0)
		if day, _ := bits.Div64(high+carry, low, c.size); day < c.days {
			n++
			f(day)
		}
		values = values[c.digits:]
	}
	return n, 2*n > most
}

const (
	// duplicatesMean is about how many pairs of equal birthdays are expected.
	duplicatesMean = 2000
	// duplicatesDays is the longest year of the test of duplicates: a bit each.
	duplicatesDays = 1 << 26
)

// duplicates counts how many birthdays fall on a day that was taken before (the collision test of section 3.3.2
// I): numbers made of neighbouring values come again neither too often nor too seldom. A short period, or few
// seeds, show here.
func (rs *results) duplicates(s Stream) {
	c, _ := newCalendar(s.M, len(s.Values), func(b float64) float64 {
		return min(max(b*b/(2*duplicatesMean), b), duplicatesDays/2)
	})
	taken := make([]uint64, c.days/64+1)
	found := 0
	birthdays, ok := c.birthdays(s, len(s.Values), func(day uint64) {
		bit := uint64(1) << (day % 64)
		if taken[day/64]&bit != 0 {
			found++
		}
		taken[day/64] |= bit
	})
	r := Result{Test: "duplicates", Variant: c.String(), N: birthdays}
	if !ok {
		rs.add(r)
		return
	}
	mean, variance := duplicatesOf(float64(birthdays), float64(c.days))
	z := (float64(found) + rs.tie - 0.5 - mean) / math.Sqrt(variance)
	r.P, r.Statistic = normal(z), z
	rs.add(r)
}

// duplicatesOf returns mean and variance of the duplicates among b birthdays in a year of y days. They follow
// from those of the days without a birthday; the terms are ordered so that large ones do not cancel.
func duplicatesOf(b, y float64) (mean, variance float64) {
	free := math.Exp(b * math.Log1p(-1/y)) // chance of one day
	mean = b + y*math.Expm1(b*math.Log1p(-1/y))
	variance = y*(y-1)*free*free*math.Expm1(b*math.Log1p(-1/((y-1)*(y-1)))) + y*free*(1-free)
	return mean, variance
}

const (
	spacingsMost  = 1 << 18 // birthdays
	spacingsLeast = 1 << 10
	// spacingsMean is how many equal spacings are expected at most, and one for 128 birthdays at most: with
	// more the law is not Poisson's.
	spacingsMean = 400
)

// birthdaySpacings is the test of section 3.3.2 J: of the spacings between the sorted birthdays, how many are
// equal to another. It finds lattices.
func (rs *results) birthdaySpacings(s Stream) {
	c, most := newCalendar(s.M, len(s.Values), func(b float64) float64 {
		b = min(b, spacingsMost)
		return b * b * b / (4 * min(spacingsMean, b/128))
	})
	if most < spacingsLeast {
		return
	}
	days := make([]uint64, 0, min(most, spacingsMost))
	n, ok := c.birthdays(s, spacingsMost, func(day uint64) { days = append(days, day) })
	r := Result{Test: "birthday spacings", Variant: c.String(), N: n}
	if !ok {
		rs.add(r)
		return
	}
	equal := equalSpacings(days, c.days)
	// Spacings are all but exponential; x is how many of the shortest are expected. The first term is
	// Marsaglia's b³/4y.
	b, y := float64(len(days)), float64(c.days)
	x := b * b / y
	mean := y / b * (x*x/4 - x*x*x/18 + x*x*x*x/96)
	r.P, r.Statistic = poisson(equal, mean, rs.tie), float64(equal)
	rs.add(r)
}

// equalSpacings counts the spacings that are equal to one before, in a year that goes on from its start after
// its end. The days are used up.
func equalSpacings(days []uint64, year uint64) (equal int) {
	slices.Sort(days)
	last := days[len(days)-1]
	for i, day := range days {
		days[i], last = (day+year-last)%year, day
	}
	slices.Sort(days)
	for i := 1; i < len(days); i++ {
		if days[i] == days[i-1] {
			equal++
		}
	}
	return equal
}
