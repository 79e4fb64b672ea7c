package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"time"

	"countroom/rngcert/battery"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/verdict"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"p": formatP, "when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }, "float": formatFloat,
	"join": join, "count": count, "inc": func(n int) int { return n + 1 }, "all": func(p []float64) template.HTML { return quantiles(p) },
	"inverse": func(v float64) float64 { return 1 / v },
	"took":    func(d *Document) time.Duration { return d.Finished.Sub(d.Started).Round(time.Second) },
}).Parse(pageText))

// Page writes the document as one HTML page that needs nothing else: no script, no other file, no other host.
func (d *Document) Page() ([]byte, error) {
	var b bytes.Buffer
	if err := page.Execute(&b, newView(d)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	return b.Bytes(), nil
}

// view is what the page shows.
type view struct {
	*Document
	Passed bool
	Raw    []rawView
	Runs   []runView
}

type rawView struct {
	laboratory.RawReport
	Declared float64
}

type runView struct {
	laboratory.RunReport
	P         []float64 // all of the run
	Sources   []sourceView
	Smallest  []verdict.Value // members of the family, the smallest first
	Sequences int
}

// sourceView is one source of bits, or one game.
type sourceView struct {
	Name       string
	What       string
	P          []float64
	Tests      []testView
	Histograms []histogram
}

type testView struct {
	laboratory.TestReport
	Smallest float64
	Odd      bool
	Plot     template.HTML
}

type histogram struct {
	Title string
	SVG   template.HTML
}

// smallestShown is how many of the smallest members of the family are listed.
const smallestShown = 10

func newView(d *Document) *view {
	v := &view{Document: d, Passed: d.Report.Outcome == verdict.Pass}
	for i, r := range d.Report.Raw {
		v.Raw = append(v.Raw, rawView{r, d.Report.Plan.Raw[i].Declared})
	}
	for _, run := range d.Report.Runs {
		v.Runs = append(v.Runs, newRun(&d.Report.Plan, run))
	}
	return v
}

func newRun(plan *laboratory.Plan, run laboratory.RunReport) runView {
	r := runView{RunReport: run}
	odd := map[string]bool{}
	for _, m := range run.Judgement.Odd {
		odd[m.Name] = true
	}
	var family []verdict.Value
	for _, b := range plan.Bits {
		r.Sources = append(r.Sources, sourceView{Name: b.Name, What: fmt.Sprintf("%s sequences of %s bits, NIST SP 800-22", count(b.Sequences), count(b.Length))})
	}
	for i, g := range plan.Games {
		seen := run.Games[i]
		r.Sources = append(r.Sources, sourceView{Name: g.Name, What: fmt.Sprintf("%s rounds were played and drew %s integers; %s sequences of %s draws of each range, classical battery",
			count(seen.Rounds), count(seen.Draws), count(g.Sequences), count(g.Draws))})
	}
	for _, t := range run.Tests {
		i := slices.IndexFunc(r.Sources, func(s sourceView) bool { return s.Name == t.Source })
		s := &r.Sources[i]
		x := testView{TestReport: t, Smallest: slices.Min(t.P), Plot: strip(t.P)}
		for _, m := range t.Members {
			x.Odd = x.Odd || odd[m.Name]
		}
		s.Tests = append(s.Tests, x)
		s.P = append(s.P, t.P...)
		r.P = append(r.P, t.P...)
		family = append(family, t.Members...)
		if t.Test == "chi-square" && len(t.Histogram) > 0 {
			s.Histograms = append(s.Histograms, histogram{t.Stream + ", " + t.Variant, bars(t.Histogram)})
		}
	}
	if adjusted, err := verdict.Holm(family); err == nil {
		r.Smallest = adjusted[:min(smallestShown, len(adjusted))]
	}
	for i := range r.Sources {
		r.Sources[i].Tests = together(r.Sources[i].Tests)
	}
	return r
}

// together shows the many templates of one test on one line: all p-values, the smallest of all.
func together(tests []testView) (out []testView) {
	for _, t := range tests {
		i := slices.IndexFunc(out, func(o testView) bool { return o.Test == t.Test && o.Stream == t.Stream })
		if i < 0 {
			out = append(out, t)
			continue
		}
		o := &out[i]
		o.P = append(slices.Clone(o.P), t.P...)
		o.Smallest, o.Below, o.Odd = min(o.Smallest, t.Smallest), o.Below+t.Below, o.Odd || t.Odd
		if t.Uniformity != nil && (o.Uniformity == nil || *t.Uniformity < *o.Uniformity) {
			o.Uniformity = t.Uniformity
		}
		o.Members = append(slices.Clone(o.Members), t.Members...)
		o.Variant = ""
		o.Plot = strip(o.P)
	}
	return out
}

// strip shows p-values as ten bars from 0 to 1: of a generator without fault they are level, but for chance.
func strip(p []float64) template.HTML {
	const width, height = 120, 22
	var counts [10]int
	for _, v := range p {
		counts[min(int(10*v), 9)]++
	}
	most := max(1, slices.Max(counts[:]))
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg class="strip" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="p-values from 0 to 1 in ten classes: %v">`, width, height, width, height, counts)
	for i, c := range counts {
		h := float64(height-2) * float64(c) / float64(most)
		fmt.Fprintf(&b, `<rect x="%d" y="%.1f" width="10" height="%.1f"/>`, 12*i+1, float64(height)-h-1, h)
	}
	fmt.Fprintf(&b, `<line x1="0" x2="%d" y1="%d.5" y2="%d.5"/></svg>`, width, height-1, height-1)
	return template.HTML(b.String())
}

// pointsMost is how many points a plot of quantiles has at most.
const pointsMost = 400

// quantiles plots sorted p-values over where they would be expected; those of a generator without fault lie along
// the diagonal.
func quantiles(p []float64) template.HTML {
	const size, left, bottom = 240, 34, 28
	sorted := slices.Clone(p)
	slices.SortFunc(sorted, cmp.Compare)
	n := len(sorted)
	step := max(1, n/pointsMost)
	x := func(v float64) float64 { return left + v*size }
	y := func(v float64) float64 { return 6 + (1-v)*size }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%d p-values in order, over the values expected">`, size+left+12, size+bottom+8, size+left+12, size+bottom+8, n)
	for _, g := range []float64{0, 0.25, 0.5, 0.75, 1} {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><line class="grid" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`, x(0), x(1), y(g), y(g), x(g), x(g), y(0), y(1))
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="middle">%v</text><text x="%.1f" y="%.1f" text-anchor="end">%v</text>`, x(g), y(0)+14, g, x(0)-5, y(g)+4, g)
	}
	fmt.Fprintf(&b, `<line class="diagonal" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><polyline points="`, x(0), x(1), y(0), y(1))
	for i := 0; i < n; i += step {
		fmt.Fprintf(&b, "%.1f,%.1f ", x((float64(i)+0.5)/float64(n)), y(sorted[i]))
	}
	fmt.Fprintf(&b, `"/><text x="%.1f" y="%d" text-anchor="middle">expected</text></svg>`, x(0.5), size+bottom+7)
	return template.HTML(b.String())
}

// bars shows the classes of a histogram with what is expected of each, and the band in which 99 of 100 lie.
func bars(bins []battery.Bin) template.HTML {
	const width, height, left, bottom = 640, 130, 56, 18
	most := 0.0
	for _, c := range bins {
		most = max(most, float64(c.Observed), c.Expected+2.576*math.Sqrt(c.Expected))
	}
	most *= 1.05
	x := func(i int) float64 { return left + float64(i)*width/float64(len(bins)) }
	y := func(v float64) float64 { return 4 + (1-v/most)*height }
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg class="bars" viewBox="0 0 %d %d" role="img" aria-label="how often each class came, with what is expected">`, width+left+4, height+bottom+6)
	for _, v := range []float64{0, most / 2.1, most / 1.05} {
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, left, width+left, y(v), y(v), left-5, y(v)+4, count(int(v)))
	}
	gap := min(2, float64(width)/float64(len(bins))/4)
	every := (len(bins) + 15) / 16
	for i, c := range bins {
		fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s: %d, expected %.1f</title></rect>`,
			x(i)+gap/2, y(float64(c.Observed)), x(i+1)-x(i)-gap, y(0)-y(float64(c.Observed)), template.HTMLEscapeString(c.Label), c.Observed, c.Expected)
		low, high := c.Expected-2.576*math.Sqrt(c.Expected), c.Expected+2.576*math.Sqrt(c.Expected)
		fmt.Fprintf(&b, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/><line class="expected" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/>`,
			x(i), y(high), x(i+1)-x(i), y(max(0, low))-y(high), x(i), x(i+1), y(c.Expected), y(c.Expected))
		if i%every == 0 {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, (x(i)+x(i+1))/2, height+bottom, template.HTMLEscapeString(c.Label))
		}
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String())
}

// formatP writes a p-value with three digits that count.
func formatP(p float64) string {
	if p != 0 && p < 0.001 {
		return strconv.FormatFloat(p, 'e', 2, 64)
	}
	return strconv.FormatFloat(p, 'f', 4, 64)
}

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'f', 4, 64) }

// count writes a number with its thousands apart.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func join(list []uint32) (s string) {
	for i, n := range list {
		if i > 0 {
			s += ", "
		}
		s += strconv.FormatUint(uint64(n), 10)
	}
	return s
}
