package par

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/big"
	"sync"
)

// series is a distribution as a polynomial: the coefficient of x^i is the
// number of equally likely ways to a pay of i units. It is packed into one
// integer, where each coefficient takes as many bytes, so that the product of
// two polynomials is the product of two integers.
type series = *big.Int

// packing is the shape of a series.
type packing struct {
	width int // bytes of a coefficient; none may outgrow them
	terms int // terms kept; those of higher degree are dropped
}

// pack makes a series of the ways to each degree.
func (p packing) pack(ways map[int64]uint64) series {
	packed := make([]byte, max(p.width, 8)+p.width*p.terms)
	for degree, n := range ways {
		if degree < int64(p.terms) {
			// The highest term comes first. Coefficients narrower than 8 bytes overlap
			// the term above with zeros, which must not wipe it out.
			end := len(packed) - int(degree)*p.width
			low := packed[end-8 : end]
			binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)|n)
		}
	}
	return new(big.Int).SetBytes(packed)
}

// repack returns s in another packing, with x^stride for x.
func (p packing) repack(s series, to packing, stride int) series {
	from := s.FillBytes(make([]byte, p.width*p.terms))
	packed := make([]byte, to.width*to.terms)
	for i := range min(p.terms, (to.terms+stride-1)/stride) {
		coefficient := from[len(from)-(i+1)*p.width:][:p.width]
		end := len(packed) - i*stride*to.width
		copy(packed[end-p.width:end], coefficient)
	}
	return new(big.Int).SetBytes(packed)
}

func (p packing) mul(a, b series) series {
	mask := big.NewInt(1)
	mask.Lsh(mask, uint(8*p.width*p.terms)).Sub(mask, big.NewInt(1))
	c := new(big.Int).Mul(a, b)
	return c.And(c, mask)
}

// coefficients unpacks s, the constant term first.
func (p packing) coefficients(s series) []*big.Int {
	packed := s.FillBytes(make([]byte, p.width*p.terms))
	list := make([]*big.Int, p.terms)
	for i := range list {
		list[i] = new(big.Int).SetBytes(packed[len(packed)-(i+1)*p.width:][:p.width])
	}
	return list
}

// distribution is that of the payout of a round.
type distribution struct {
	unit  int64      // line bets to a step
	below []*big.Int // ways to a payout of 0, 1, 2… steps below the greatest
	ways  *big.Int   // ways in all
}

// convolve works out the distribution of the payout of a round, exactly.
//
// A round that ends at its greatest payout pays the same as if it had gone on
// and been cut at the end, so spins are added up without regard to the limit
// and every sum that reaches it is dropped: what is missing from the ways in
// all is the ways to the greatest payout.
//
// Every round is counted as if it had the maximum of free spins, those not
// awarded paying nothing, so that all ways weigh the same.
func convolve(ctx context.Context, r *rules, base, free map[result]uint64, done func(steps, of int)) (*distribution, error) {
	feature := r.def.FreeSpins
	limit := r.def.MaxWin * int64(len(r.def.Lines))

	// Pays of free spins, being multiplied, have a coarser unit than those of base
	// spins. Most of the work is done in it.
	freeUnit := int64(0)
	for x := range free {
		freeUnit = gcd(freeUnit, feature.Multiplier*r.total(x))
	}
	if freeUnit == 0 { // none pays
		freeUnit = limit
	}
	unit := gcd(limit, freeUnit)
	for x := range base {
		unit = gcd(unit, r.total(x))
	}

	if size := limit / unit * int64(8*(feature.Maximum+1)); size > maxBytes {
		return nil, fmt.Errorf("%w: %d payouts after up to %d free spins", ErrTooLarge, limit/unit, feature.Maximum)
	}

	// A free spin's ways to a pay, by free spins awarded.
	spin := make(map[int]map[int64]uint64)
	for x, n := range free {
		count(spin, r.award(x.scatters), feature.Multiplier*r.total(x)/freeUnit, n)
	}
	// The numbers of free spins a round can come to have been awarded.
	reachable := make([]bool, feature.Maximum+1)
	for x := range base {
		reachable[r.award(x.scatters)] = true
	}
	for n := 1; n < feature.Maximum; n++ {
		for more := range spin {
			if reachable[n] {
				reachable[min(n+more, feature.Maximum)] = true
			}
		}
	}

	// rest[n] is what is still to come of a round that has been awarded n free
	// spins and has played a number of them, from the last free spin backwards.
	rest := make([]series, feature.Maximum+1)
	ways := big.NewInt(1) // of the spins after those played
	coarse := packing{1, int((limit + freeUnit - 1) / freeUnit)}
	for played := feature.Maximum; ; played-- {
		rest[played] = new(big.Int).Set(ways)
		if played == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		ways.Mul(ways, new(big.Int).SetUint64(cycle(&r.def.Free)))
		wider := packing{(ways.BitLen() + 7) / 8, coarse.terms}
		for n, s := range rest {
			if s != nil {
				rest[n] = coarse.repack(s, wider, 1)
			}
		}
		coarse = wider

		before := make([]series, feature.Maximum+1)
		var wg sync.WaitGroup
		for awarded := played; awarded <= feature.Maximum; awarded++ {
			if !reachable[awarded] {
				continue
			}
			wg.Go(func() {
				// Awards that come to the same total are one multiplication.
				totals := make(map[int]map[int64]uint64)
				for more, ways := range spin {
					for degree, n := range ways {
						count(totals, min(awarded+more, feature.Maximum), degree, n)
					}
				}
				sum := new(big.Int)
				for total, ways := range totals {
					sum.Add(sum, coarse.mul(coarse.pack(ways), rest[total]))
				}
				before[awarded] = sum
			})
		}
		wg.Wait()
		rest = before
		done(1, feature.Maximum)
	}

	ways.Mul(ways, new(big.Int).SetUint64(cycle(&r.def.Base)))
	fine := packing{(ways.BitLen() + 7) / 8, int(limit / unit)}
	first := make(map[int]map[int64]uint64)
	for x, n := range base {
		count(first, r.award(x.scatters), r.total(x)/unit, n)
	}
	all := new(big.Int)
	for awarded, ways := range first {
		all.Add(all, fine.mul(fine.pack(ways), coarse.repack(rest[awarded], fine, int(freeUnit/unit))))
	}
	return &distribution{unit, fine.coefficients(all), ways}, nil
}

// count adds n ways to a pay.
func count(ways map[int]map[int64]uint64, awarded int, degree int64, n uint64) {
	if ways[awarded] == nil {
		ways[awarded] = make(map[int64]uint64)
	}
	ways[awarded][degree] += n
}

// total is what a spin pays in line bets, before the multiplier.
func (r *rules) total(s result) int64 {
	return s.lines + r.scatterPay(s.scatters)*int64(len(r.def.Lines))
}

// scatterPay is in total stakes.
func (r *rules) scatterPay(scatters int) int64 {
	return r.pay(hit{r.scatter, uint8(min(scatters, 5))})
}

// award is the free spins for scatters in view.
func (r *rules) award(scatters int) int {
	if scatters == 0 {
		return 0
	}
	return r.def.FreeSpins.Awards[min(scatters, 5)-1]
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
