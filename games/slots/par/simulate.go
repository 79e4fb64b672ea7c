package par

import (
	"context"
	"fmt"
	"io"
	"math"

	"countroom/games"
	"countroom/games/slots"
)

// Stats is what a simulation came to.
type Stats struct {
	Rounds    uint64
	Spins     uint64  // base and free
	Hits      uint64  // rounds that paid
	Triggered uint64  // rounds with free spins
	Capped    uint64  // rounds that reached the greatest payout
	Mean      float64 // payout of a round in total stakes: the return to player
	Variance  float64 // of the payout, in squared total stakes
}

// every is how many rounds pass between looks at the context and reports.
const every = 1 << 16

// Simulate plays rounds of a machine at its lowest stake. It calls progress, if
// not nil, now and then and at the end. When the context ends it returns the
// rounds played so far and the context's error.
func Simulate(ctx context.Context, m *slots.Machine, draws games.Draws, rounds uint64, progress func(done, total uint64)) (Stats, error) {
	var s Stats
	var round slots.Round
	// In line bets, sums and squares are whole numbers: up to 2^53 they are exact.
	stake := m.Definition().Stakes[0]
	lines := float64(len(m.Definition().Lines))
	bet := stake / int64(len(m.Definition().Lines))
	var sum, squares float64

	var err error
	for s.Rounds < rounds {
		if s.Rounds%every == 0 {
			if err = ctx.Err(); err != nil {
				break
			}
			if progress != nil {
				progress(s.Rounds, rounds)
			}
		}
		if err = m.Play(draws, stake, &round); err != nil {
			break
		}
		s.Rounds++
		s.Spins += uint64(len(round.Spins))
		if round.Payout > 0 {
			s.Hits++
			pay := float64(round.Payout / bet)
			sum += pay
			squares += pay * pay
		}
		if round.Spins[0].Awarded > 0 {
			s.Triggered++
		}
		if round.Capped {
			s.Capped++
		}
	}
	if n := float64(s.Rounds); n > 0 {
		s.Mean = sum / n / lines
		s.Variance = squares/n/lines/lines - s.Mean*s.Mean
	}
	if progress != nil {
		progress(s.Rounds, rounds)
	}
	return s, err
}

// Interval returns the 99 % confidence interval of the return to player, by
// the normal approximation. The approximation needs many rounds: large payouts
// are rare, and without any of them the interval is too narrow.
func (s Stats) Interval() (from, to float64) {
	if s.Rounds == 0 {
		return 0, 0
	}
	half := 2.5758293 * math.Sqrt(s.Variance/float64(s.Rounds))
	return s.Mean - half, s.Mean + half
}

// WriteText writes the figures as a table to read.
func (s Stats) WriteText(w io.Writer) error {
	var p page
	share := func(n uint64) string {
		if s.Rounds == 0 {
			return ""
		}
		return fmt.Sprintf("%.6f %%", 100*float64(n)/float64(s.Rounds))
	}
	from, to := s.Interval()
	p.printf("SIMULATION  not play: the random words are those of a simulation generator\n\n")
	p.rows("lrr", [][]string{
		{"Rounds", group(fmt.Sprint(s.Rounds)), ""},
		{"Spins, free ones included", group(fmt.Sprint(s.Spins)), ""},
		{"Rounds that paid", group(fmt.Sprint(s.Hits)), share(s.Hits)},
		{"Rounds with free spins", group(fmt.Sprint(s.Triggered)), share(s.Triggered)},
		{"Rounds at the greatest payout", group(fmt.Sprint(s.Capped)), share(s.Capped)},
		{"Standard deviation, stakes", "", fmt.Sprintf("%.6f", math.Sqrt(s.Variance))},
		{"Return to player", "", fmt.Sprintf("%.6f %%", 100*s.Mean)},
		{"99 % interval, normal approximation, from", "", fmt.Sprintf("%.6f %%", 100*from)},
		{"to", "", fmt.Sprintf("%.6f %%", 100*to)},
	})
	_, err := w.Write(p.Bytes())
	return err
}
