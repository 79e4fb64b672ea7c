package par

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"

	"countroom/games/slots"
)

// Deviation is the standard deviation of a round's payout in total stakes,
// rounded to a float64.
func (s *Sheet) Deviation() float64 {
	v, _ := s.Variance.Float64()
	return math.Sqrt(v)
}

// WriteText writes the sheet as a table to read, 80 columns wide but for the
// strips of games with long names. Decimals are rounded half away from zero in
// the last place.
func (s *Sheet) WriteText(w io.Writer) error {
	var p page
	def := s.Definition
	p.printf("PAR SHEET  %s %s (%s)\n", def.Name, def.Version, def.ID)
	p.printf("maths hash %x\n\n", s.Hash)
	p.printf("Exact: every combination of stops and every course of the free spins counted.\n")
	p.printf("Returns are in per cent of the total stake and the same at each stake:\n%s minor units.\n", list(def.Stakes))

	p.section("RETURN TO PLAYER")
	p.rows("lrr", [][]string{
		{"Base spin, lines", percent(s.BaseLines), ""},
		{"Base spin, scatters", percent(s.BaseScatters), ""},
		{"Free spins", percent(s.FreeSpins), ""},
		{"Cut off by the greatest payout", percent(new(big.Rat).Neg(s.CutOff)), ""},
		{"Return to player", percent(s.Return), ""},
	})

	p.section("FREQUENCIES")
	pay := new(big.Rat).SetFrac64(s.topPay(), int64(len(def.Lines)))
	rows := [][]string{
		{"", "probability", "one in"},
		{"A round pays (hit frequency)", chance(s.Hit), odds(s.Hit)},
		{"A round has free spins", chance(s.Trigger), odds(s.Trigger)},
		{fmt.Sprintf("A round reaches the greatest payout, %d stakes", def.MaxWin), chance(s.Capped), odds(s.Capped)},
		{fmt.Sprintf("Top line award, %s stakes, in a base spin", short(pay)), chance(ratio(s.Base.Top, s.Base.Cycle)), odds(ratio(s.Base.Top, s.Base.Cycle))},
	}
	if s.Trigger.Sign() > 0 {
		pay.Mul(pay, new(big.Rat).SetInt64(def.FreeSpins.Multiplier))
		rows = append(rows, []string{fmt.Sprintf("The same, times %d, in a free spin", def.FreeSpins.Multiplier),
			chance(ratio(s.Free.Top, s.Free.Cycle)), odds(ratio(s.Free.Top, s.Free.Cycle))})
	}
	p.rows("lrr", rows)
	if s.Trigger.Sign() > 0 {
		mean := new(big.Rat).Quo(s.MeanFreeSpins, s.Trigger)
		p.printf("\nFree spins of a round that has any, on average and without the limit: %s\n", mean.FloatString(4))
	}

	p.section("VOLATILITY")
	sd := s.Deviation()
	p.rows("lr", [][]string{
		{"Variance of a round's payout, squared stakes", s.Variance.FloatString(6)},
		{"Standard deviation, stakes", fmt.Sprintf("%.6f", sd)},
		{"Volatility index, 1.645 standard deviations", fmt.Sprintf("%.4f", 1.645*sd)},
	})
	p.printf("\nThe return over many rounds lies, nine times in ten, between (normal\napproximation, rough for few rounds):\n")
	mean, _ := s.Return.Float64()
	rows = [][]string{{"rounds", "from", "to"}}
	for n := 1_000; n <= 100_000_000; n *= 10 {
		half := 1.645 * sd / math.Sqrt(float64(n))
		rows = append(rows, []string{group(fmt.Sprint(n)), fmt.Sprintf("%.3f %%", 100*max(0, mean-half)), fmt.Sprintf("%.3f %%", 100*(mean+half))})
	}
	p.rows("rrr", rows)

	p.section("PAYOUT OF A ROUND")
	p.rows("lrrr", s.bands())

	for _, part := range []struct {
		name       string
		sheet      *SpinSheet
		strips     *[5][]string
		multiplier int64
	}{
		{"BASE SPIN", &s.Base, &def.Base, 1},
		{"FREE SPIN", &s.Free, &def.Free, def.FreeSpins.Multiplier},
	} {
		p.section(part.name)
		s.spin(&p, part.sheet, part.strips, part.multiplier)
	}

	p.section("PAYTABLE")
	rows = [][]string{{"symbol", "", "1", "2", "3", "4", "5", ""}}
	for _, symbol := range def.Symbols {
		row := []string{symbol.Name, symbol.Role}
		for _, pay := range symbol.Pays {
			row = append(row, group(fmt.Sprint(pay)))
		}
		unit := "line bets"
		if symbol.Role == slots.RoleScatter {
			unit = "stakes"
		}
		rows = append(rows, append(row, unit))
	}
	p.rows("llrrrrrl", rows)

	p.section("LINES")
	rows = [][]string{{"line", "row on reels 1 to 5, 0 on top"}}
	for i, line := range def.Lines {
		rows = append(rows, []string{fmt.Sprint(i + 1), strings.Trim(fmt.Sprint(line), "[]")})
	}
	p.rows("rl", rows)

	for _, part := range []struct {
		name   string
		strips *[5][]string
	}{{"STRIPS OF BASE SPINS", &def.Base}, {"STRIPS OF FREE SPINS", &def.Free}} {
		p.section(part.name)
		rows = [][]string{{"stop", "reel 1", "reel 2", "reel 3", "reel 4", "reel 5"}}
		for i := 0; ; i++ {
			row := []string{fmt.Sprint(i)}
			for _, strip := range part.strips {
				if i < len(strip) {
					row = append(row, strip[i])
				} else {
					row = append(row, "")
				}
			}
			if strings.Join(row[1:], "") == "" {
				break
			}
			rows = append(rows, row)
		}
		p.rows("rlllll", rows)
	}

	p.section("EXACT FRACTIONS")
	for _, f := range []struct {
		name  string
		value *big.Rat
	}{
		{"Return to player", s.Return},
		{"Hit frequency", s.Hit},
		{"Variance", s.Variance},
		{"Greatest payout reached", s.Capped},
	} {
		p.printf("%s =\n%s\n", f.name, wrap(f.value.RatString(), 78))
	}
	_, err := w.Write(p.Bytes())
	return err
}

// spin writes the section of one kind of spin.
func (s *Sheet) spin(p *page, sheet *SpinSheet, strips *[5][]string, multiplier int64) {
	def := s.Definition
	var stops []string
	for _, strip := range strips {
		stops = append(stops, fmt.Sprint(len(strip)))
	}
	p.rows("lr", [][]string{
		{"Cycle, " + strings.Join(stops, " x ") + " stops", group(fmt.Sprint(sheet.Cycle))},
		{"Combinations that pay", group(fmt.Sprint(sheet.Paying))},
		{"Hit frequency", percent(ratio(sheet.Paying, sheet.Cycle))},
		{fmt.Sprintf("Return of lines, times %d", multiplier), percent(sheet.Lines)},
		{fmt.Sprintf("Return of scatters, times %d", multiplier), percent(sheet.Scatter)},
	})

	p.printf("\n")
	rows := [][]string{{"scatters", "pays, stakes", "free spins", "combinations", "one in"}}
	r := newRules(def)
	for n, combinations := range sheet.Scatters {
		if combinations > 0 {
			rows = append(rows, []string{fmt.Sprint(n), fmt.Sprint(r.scatterPay(n) * multiplier), fmt.Sprint(r.award(n)),
				group(fmt.Sprint(combinations)), odds(ratio(combinations, sheet.Cycle))})
		}
	}
	p.rows("rrrrr", rows)

	p.printf("\nLine wins over the cycle, all %d lines:\n", len(def.Lines))
	rows = [][]string{{"symbol", "count", "pays, line bets", "wins", "one in, spins", "return"}}
	cycle := new(big.Int).SetUint64(sheet.Cycle)
	for i, symbol := range def.Symbols {
		for n := 4; n >= 0; n-- {
			hits := sheet.Hits[i][n]
			if symbol.Role == slots.RoleScatter || symbol.Pays[n] == 0 {
				continue
			}
			pay := symbol.Pays[n] * multiplier
			share := new(big.Rat).SetFrac(hits, cycle)
			back := new(big.Rat).Mul(share, big.NewRat(pay, int64(len(def.Lines))))
			rows = append(rows, []string{symbol.Name, fmt.Sprint(n + 1), group(fmt.Sprint(pay)), group(hits.String()), odds(share), percent(back)})
		}
	}
	p.rows("lrrrrr", rows)
}

// bands groups the payouts of a round.
func (s *Sheet) bands() [][]string {
	limit := s.Definition.MaxWin
	rows := [][]string{{"stakes", "probability", "one in", "of the return"}}
	add := func(name string, within func(x *big.Rat) bool) {
		p, part := new(big.Rat), new(big.Rat)
		for _, x := range s.Payouts {
			if within(x.Stakes) {
				p.Add(p, x.Probability)
				part.Add(part, new(big.Rat).Mul(x.Probability, x.Stakes))
			}
		}
		if s.Return.Sign() > 0 {
			part.Quo(part, s.Return)
		}
		rows = append(rows, []string{name, chance(p), odds(p), percent(part)})
	}
	add("nothing", func(x *big.Rat) bool { return x.Sign() == 0 })
	from := new(big.Rat)
	for _, edge := range []int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000} {
		edge = min(edge, limit)
		to := new(big.Rat).SetInt64(edge)
		name := fmt.Sprintf("%s to below %d", short(from), edge)
		if from.Sign() == 0 {
			name = fmt.Sprintf("below %d", edge)
		}
		add(name, func(x *big.Rat) bool { return x.Sign() > 0 && x.Cmp(from) >= 0 && x.Cmp(to) < 0 })
		if from = to; edge == limit {
			break
		}
	}
	add(fmt.Sprintf("%d, the greatest", limit), func(x *big.Rat) bool { return x.Cmp(from) == 0 })
	return rows
}

// topPay is the greatest line pay of the paytable in line bets.
func (s *Sheet) topPay() int64 { return newRules(s.Definition).top }

// page is a text being laid out.
type page struct{ bytes.Buffer }

func (p *page) printf(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func (p *page) section(title string) {
	p.printf("\n%s\n%s\n", title, strings.Repeat("-", len(title)))
}

// rows writes a table, each column to the left (l) or right (r).
func (p *page) rows(columns string, rows [][]string) {
	width := make([]int, len(columns))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-len(cell))
			if columns[i] == 'l' {
				line += cell + space + "  "
			} else {
				line += space + cell + "  "
			}
		}
		p.printf("%s\n", strings.TrimRight(line, " "))
	}
}

// percent prints a share with six places.
func percent(r *big.Rat) string {
	return new(big.Rat).Mul(r, big.NewRat(100, 1)).FloatString(6) + " %"
}

// chance prints a probability, small ones in scientific notation.
func chance(r *big.Rat) string {
	f, _ := r.Float64()
	if f != 0 && f < 1e-4 {
		return fmt.Sprintf("%.6e", f)
	}
	return r.FloatString(10)
}

// odds prints the inverse of a probability.
func odds(r *big.Rat) string {
	if r.Sign() == 0 {
		return "never"
	}
	inverse := new(big.Rat).Inv(r)
	if inverse.Cmp(big.NewRat(10_000, 1)) < 0 {
		return inverse.FloatString(3)
	}
	return group(inverse.FloatString(0))
}

// short prints a number without trailing zeros.
func short(r *big.Rat) string {
	return strings.TrimSuffix(strings.TrimRight(r.FloatString(2), "0"), ".")
}

// group sets commas between thousands of a whole number.
func group(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func list(v []int64) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(v), "[]")), ", ")
}

// wrap breaks a text into lines, indented by two.
func wrap(text string, width int) string {
	var b strings.Builder
	for len(text) > width {
		b.WriteString("  " + text[:width] + "\n")
		text = text[width:]
	}
	return b.String() + "  " + text
}
