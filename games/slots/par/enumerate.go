package par

import (
	"context"
	"runtime"
	"sync"

	"countroom/games/slots"
)

// result is what one spin comes to, as far as it matters: equal results are
// counted together.
type result struct {
	lines    int64 // line pays in line bets, before the multiplier
	top      bool  // some line pays the greatest line pay of the paytable
	scatters int
}

// rules are a definition's symbols and paytable by number.
type rules struct {
	def     *slots.Definition
	index   map[string]uint8
	wild    uint8
	scatter uint8
	top     int64 // greatest line pay
}

func newRules(def *slots.Definition) *rules {
	r := &rules{def: def, index: make(map[string]uint8)}
	for i, s := range def.Symbols {
		r.index[s.Name] = uint8(i)
		switch s.Role {
		case slots.RoleWild:
			r.wild = uint8(i)
		case slots.RoleScatter:
			r.scatter = uint8(i)
		}
		if s.Role != slots.RoleScatter {
			r.top = max(r.top, s.Pays[4])
		}
	}
	return r
}

// run is the state of one line after some reels, all of which continued it:
// how many wilds it began with and its line symbol, once there is one.
type run struct {
	wilds  uint8
	symbol uint8
	found  bool // symbol is known
}

// hit is what a line pays for: count of a symbol. The zero hit pays nothing.
type hit struct {
	symbol uint8
	count  uint8
}

func (r *rules) pay(h hit) int64 {
	if h.count == 0 {
		return 0
	}
	return r.def.Symbols[h.symbol].Pays[h.count-1]
}

// step continues the run of a line, now length long, with the cell of the next
// reel, or says that it ended and for what it pays.
func (r *rules) step(s run, length int, cell uint8) (next run, ended bool, h hit) {
	switch {
	case cell == r.wild:
		if !s.found {
			s.wilds++
		}
	case s.found && cell == s.symbol:
	case !s.found && cell != r.scatter:
		s.symbol, s.found = cell, true
	default:
		return run{}, true, r.best(s, length)
	}
	if length+1 == 5 {
		return run{}, true, r.best(s, 5)
	}
	return s, false, hit{}
}

// best is the better of a run's two pays, the line symbol's and the wilds'.
func (r *rules) best(s run, length int) hit {
	wilds := hit{r.wild, s.wilds}
	if !s.found || r.pay(wilds) > r.pay(hit{s.symbol, uint8(length)}) {
		return wilds
	}
	return hit{s.symbol, uint8(length)}
}

// window is what a reel can show, and at how many of its stops.
type window struct {
	cells    [3]uint8
	scatters int
	stops    uint64
}

func (r *rules) windows(strip []string) (list []window) {
	seen := make(map[[3]uint8]int)
	for at := range strip {
		w := window{stops: 1}
		for row := range w.cells {
			w.cells[row] = r.index[strip[(at+row)%len(strip)]]
			if w.cells[row] == r.scatter {
				w.scatters++
			}
		}
		if i, ok := seen[w.cells]; ok {
			list[i].stops++
		} else {
			seen[w.cells] = len(list)
			list = append(list, w)
		}
	}
	return list
}

// cycle is the number of combinations of stops.
func cycle(strips *[5][]string) uint64 {
	n := uint64(1)
	for _, strip := range strips {
		n *= uint64(len(strip))
	}
	return n
}

// enumerate counts the results of all combinations of stops. It calls done,
// from several goroutines, with the number of combinations it has dealt with
// since the last call.
func enumerate(ctx context.Context, r *rules, strips *[5][]string, done func(uint64)) (map[result]uint64, error) {
	var reels [5][]window
	for i, strip := range strips {
		reels[i] = r.windows(strip)
	}
	// tails[i] counts the combinations of reel i and those after it by scatters.
	var tails [6][16]uint64
	tails[5][0] = 1
	for i := 4; i >= 0; i-- {
		for _, w := range reels[i] {
			for n, combinations := range tails[i+1] {
				if combinations > 0 {
					tails[i][n+w.scatters] += w.stops * combinations
				}
			}
		}
	}

	jobs := make(chan window)
	total := make(map[result]uint64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			e := &enumerator{rules: r, reels: &reels, tails: &tails, counts: make(map[sum]uint64)}
			for l := range r.def.Lines {
				e.lines[0] = append(e.lines[0], liveLine{line: &r.def.Lines[l]})
			}
			for w := range jobs {
				e.show(0, w, 0, 0, 1)
				done(w.stops * cycle(strips) / uint64(len(strips[0])))
			}
			mu.Lock()
			defer mu.Unlock()
			for s, n := range e.counts {
				total[result{int64(s.pay % topLine), s.pay >= topLine, s.scatters}] += n
			}
		})
	}
	for _, w := range reels[0] {
		if ctx.Err() == nil {
			jobs <- w
		}
	}
	close(jobs)
	wg.Wait()
	return total, ctx.Err()
}

// topLine is added to a sum of line pays for each line with the greatest pay.
// No sum of pays reaches it.
const topLine = 1 << 32

// sum is a result in the making.
type sum struct {
	pay      uint64
	scatters int
}

// liveLine is a line whose run has not ended.
type liveLine struct {
	line *[5]int
	run  run
}

type enumerator struct {
	*rules
	reels  *[5][]window
	tails  *[6][16]uint64
	lines  [5][]liveLine // before each reel
	counts map[sum]uint64
}

// show lets reel i show w, after reels that came to the sum pay and scatters
// in as many combinations of stops as given.
func (e *enumerator) show(i int, w window, pay uint64, scatters int, combinations uint64) {
	live := e.lines[i+1][:0]
	for _, l := range e.lines[i] {
		next, ended, h := e.step(l.run, i, w.cells[l.line[i]])
		if ended {
			pay += e.value(h)
		} else {
			live = append(live, liveLine{l.line, next})
		}
	}
	e.lines[i+1] = live
	scatters += w.scatters
	combinations *= w.stops

	switch {
	case len(live) == 0: // the other reels only add scatters
		for n, more := range e.tails[i+1] {
			if more > 0 {
				e.counts[sum{pay, scatters + n}] += combinations * more
			}
		}
	case i == 3:
		e.last(pay, scatters, combinations)
	default:
		for _, w := range e.reels[i+1] {
			e.show(i+1, w, pay, scatters, combinations)
		}
	}
}

// last adds all that reel 5 can show. What the live lines come to is worked out
// once for each row and symbol.
func (e *enumerator) last(pay uint64, scatters int, combinations uint64) {
	var values [3][16]uint64
	for _, l := range e.lines[4] {
		row := l.line[4]
		for symbol := range e.def.Symbols {
			_, _, h := e.step(l.run, 4, uint8(symbol))
			values[row][symbol] += e.value(h)
		}
	}
	for i := range e.reels[4] {
		w := &e.reels[4][i]
		s := sum{pay + values[0][w.cells[0]] + values[1][w.cells[1]] + values[2][w.cells[2]], scatters + w.scatters}
		e.counts[s] += combinations * w.stops
	}
}

func (r *rules) value(h hit) uint64 {
	pay := uint64(r.pay(h))
	if pay > 0 && int64(pay) == r.top {
		pay += topLine
	}
	return pay
}
