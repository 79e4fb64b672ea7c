// Package slots is the mathematics of five-reel video slots: a definition read
// from data, and the machine that plays it.
//
// A round is one base spin and the free spins it wins. A spin draws one stop
// for each reel, in order, each stop of the strip equally likely; the strips
// are the whole truth. The stop is the position shown in the top row, and the
// two positions after it on the ring are shown below.
//
// Each line pays its best single win from the left: the run of its first line
// symbol, wilds included, or the run of wilds at its start. On equal pay the
// line symbol's run is the one recorded. Scatters pay anywhere on the total
// stake and are not replaced by wilds. Every pay of a free spin is multiplied.
// Free spins are added while they last, up to the definition's maximum for the
// round. When the round's total reaches the greatest payout, it pays exactly
// that and ends, free spins outstanding or not.
package slots

// Round is a round as played. Reused by Machine.Play, it is not copied safely
// by assignment: the spins share memory.
type Round struct {
	Spins  []Spin // the base spin, then the free spins
	Payout int64  // minor units
	Capped bool   // the payout reached its maximum and the round ended
}

// Spin is one spin of a round. Its pays include the multiplier and are shown
// in full, also in the spin that reaches the round's greatest payout.
type Spin struct {
	Stops      [5]uint16 // position on each strip of the symbol in the top row
	Free       bool
	Multiplier int64
	Wins       []Win // by line
	Scatters   int   // scatters in view
	ScatterPay int64 // minor units
	Awarded    int   // free spins added to the round
	Pay        int64 // minor units: wins and scatter pay
}

// Win is what one line pays.
type Win struct {
	Line   int    // 1 for the first line of the definition
	Symbol string // whose pay it is
	Count  int    // symbols in the run
	Pay    int64  // minor units
}

// Bounds limits what any round of a machine can need. Each holds for every
// sequence of draws.
type Bounds struct {
	Spins  int   // spins in a round
	Draws  int   // integers drawn in a round
	Wins   int   // lines that win in one spin
	Bytes  int   // bytes of an outcome
	Payout int64 // minor units, at the largest stake
}
