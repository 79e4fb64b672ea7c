package portal

import (
	"fmt"
	"math"
	"strings"

	"countroom/games/slots"
)

// A chart is drawn on a field of this size; its text is the page's.
const (
	chartWidth, chartHeight           = 720.0, 260.0
	chartLeft, chartRight             = 64.0, 12.0
	chartTop, chartBottom             = 14.0, 30.0
	chartInnerWidth, chartInnerHeight = chartWidth - chartLeft - chartRight, chartHeight - chartTop - chartBottom
)

// tick is a mark at an axis.
type tick struct {
	At   string // coordinate
	Text string
}

// chart is a drawing: paths and marks, in coordinates.
type chart struct {
	ID, Title, About      string
	X, Y                  []tick
	Wide, Narrow          string // bands
	Line, Theory, Nothing string
	Bars                  []bar
	Zero                  string
}

type bar struct {
	X, Y, W, H, Title string
	Loss              bool
}

func coord(v float64) string { return fmt.Sprintf("%.1f", v) }

// bands are how many standard deviations either side hold 95 and 99 of 100
// values of a normal distribution.
const band95, band99 = 1.959964, 2.575829

// deviation is the standard deviation of the return over rounds of these
// stakes, of a game whose payout has a variance in squared stakes.
func deviation(variance float64, p point) float64 {
	if p.stake == 0 {
		return 0
	}
	return math.Sqrt(variance*p.squares) / p.stake
}

// returnChart shows what a game returned beside what it should.
func returnChart(id, title string, points []point, theory *slots.Theory) *chart {
	c := &chart{ID: id, Title: title}
	if len(points) < 2 {
		return nil
	}
	rounds := float64(points[len(points)-1].rounds)
	low, high := math.Inf(1), math.Inf(-1)
	var mean, variance float64
	if theory != nil {
		mean, variance = float64(theory.ReturnMillionths)/1e6, float64(theory.VarianceMillionths)/1e6
	}
	for _, p := range points {
		// The first rounds swing far, and would make everything after them flat.
		if float64(p.rounds) < rounds/12 {
			continue
		}
		v := p.payout / p.stake
		low, high = min(low, v), max(high, v)
		if theory != nil {
			d := band99 * deviation(variance, p)
			low, high = min(low, mean-d), max(high, mean+d)
		}
	}
	low, high = max(0, low), min(high, 4)
	if room := (high - low) * 0.06; room > 0 {
		low, high = max(0, low-room), high+room
	} else {
		low, high = max(0, low-0.05), high+0.05
	}
	x := func(p point) float64 { return chartLeft + chartInnerWidth*float64(p.rounds)/rounds }
	y := func(v float64) float64 { return chartTop + chartInnerHeight*(1-(v-low)/(high-low)) }
	clip := func(v float64) float64 { return min(max(y(v), chartTop), chartTop+chartInnerHeight) }
	var line, wide, narrow, wideBack, narrowBack strings.Builder
	for i, p := range points {
		step := "L"
		if i == 0 {
			step = "M"
		}
		fmt.Fprintf(&line, "%s%.1f %.1f", step, x(p), clip(p.payout/p.stake))
		if theory != nil {
			d := deviation(variance, p)
			fmt.Fprintf(&wide, "%s%.1f %.1f", step, x(p), clip(mean+band99*d))
			fmt.Fprintf(&narrow, "%s%.1f %.1f", step, x(p), clip(mean+band95*d))
		}
	}
	if theory != nil {
		for i := len(points) - 1; i >= 0; i-- {
			p := points[i]
			d := deviation(variance, p)
			fmt.Fprintf(&wideBack, "L%.1f %.1f", x(p), clip(mean-band99*d))
			fmt.Fprintf(&narrowBack, "L%.1f %.1f", x(p), clip(mean-band95*d))
		}
		c.Wide, c.Narrow = wide.String()+wideBack.String()+"Z", narrow.String()+narrowBack.String()+"Z"
		c.Theory = coord(y(mean))
	}
	c.Line = line.String()
	for _, v := range steps(low, high, 5) {
		c.Y = append(c.Y, tick{coord(y(v)), percent(v, (high-low)/5)})
	}
	for _, v := range steps(0, rounds, 5) {
		c.X = append(c.X, tick{coord(chartLeft + chartInnerWidth*v/rounds), count(uint64(v))})
	}
	return c
}

// percent writes a share with as many digits as a step of it needs.
func percent(v, step float64) string {
	digits := 0
	for s := step * 100; s < 1 && digits < 3; s *= 10 {
		digits++
	}
	return fmt.Sprintf("%.*f %%", digits, v*100)
}

// steps are about n round values from low to high.
func steps(low, high float64, n int) (list []float64) {
	raw := (high - low) / float64(n)
	if !(raw > 0) || math.IsInf(raw, 0) {
		return nil
	}
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * unit
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= raw {
			step = m * unit
			break
		}
	}
	for v := math.Ceil(low/step) * step; v <= high+step/1e6; v += step {
		list = append(list, v)
	}
	return list
}

// revenue is a day's gross gaming revenue.
type revenue struct {
	date, text string
	value      float64 // major units
}

// revenueChart shows days side by side.
func revenueChart(id, title string, list []revenue) *chart {
	if len(list) == 0 {
		return nil
	}
	c := &chart{ID: id, Title: title}
	low, high := 0.0, 0.0
	for _, r := range list {
		low, high = min(low, r.value), max(high, r.value)
	}
	if low == high {
		high = 1
	}
	y := func(v float64) float64 { return chartTop + chartInnerHeight*(1-(v-low)/(high-low)) }
	c.Zero = coord(y(0))
	for _, v := range steps(low, high, 5) {
		c.Y = append(c.Y, tick{coord(y(v)), short(v)})
	}
	place := chartInnerWidth / float64(max(len(list), 7))
	gap := max(1, place*0.18)
	every := (len(list) + 6) / 7
	for i, r := range list {
		left := chartLeft + place*float64(i) + gap/2
		top, bottom := y(max(r.value, 0)), y(min(r.value, 0))
		c.Bars = append(c.Bars, bar{coord(left), coord(top), coord(place - gap), coord(max(bottom-top, 1)), r.date + ": " + r.text, r.value < 0})
		if i%every == 0 {
			c.X = append(c.X, tick{coord(left + (place-gap)/2), r.date[5:]})
		}
	}
	return c
}

// short writes a number of any size in a few characters.
func short(v float64) string {
	for _, u := range []struct {
		least float64
		name  string
	}{{1e9, "bn"}, {1e6, "m"}, {1e3, "k"}} {
		if math.Abs(v) >= u.least {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v/u.least), ".0") + u.name
		}
	}
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

// count writes a count with its thousands apart.
func count(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
