package sp80090b

import (
	"math"
)

// tally counts a predictor's hits: sections 6.3.7 to 6.3.10 differ only in how they predict.
type tally struct {
	predictions int
	correct     int
	run         int
	longest     int // run of correct predictions
}

func (t *tally) note(hit bool) {
	t.predictions++
	if !hit {
		t.run = 0
		return
	}
	t.correct++
	t.run++
	t.longest = max(t.longest, t.run)
}

// estimate is the larger of what the hits say globally and what the longest run says locally, never below chance.
func (t *tally) estimate(alphabet int) float64 {
	n := float64(t.predictions)
	global := 1 - math.Pow(0.01, 1/n)
	if t.correct > 0 {
		global = upper(float64(t.correct)/n, t.predictions)
	}
	p := max(1/float64(alphabet), global)
	r := t.longest + 1
	if p < 1 && logNoRun(p, r, n) > math.Log(0.99) {
		// A run of r hits is rarer than 1 in 100 at p: search for the p at which it is just that rare.
		a, b := p, 1.0
		for range 200 {
			mid := (a + b) / 2
			if mid == a || mid == b {
				break
			}
			if logNoRun(mid, r, n) > math.Log(0.99) {
				a = mid
			} else {
				b = mid
			}
		}
		p = b
	}
	return minEntropy(p)
}

// logNoRun is the logarithm of the chance that n predictions, each a hit with probability p, hold no run of r hits: (1 − px)
// / ((r + 1 − rx) q) · 1/x^(n+1), by Feller, as step 6 of section 6.3.7 has it.
func logNoRun(p float64, r int, n float64) float64 {
	q := 1 - p
	x := 1.0
	for range 65 {
		next := 1 + q*math.Pow(p, float64(r))*math.Pow(x, float64(r+1))
		if next == x {
			break
		}
		x = next
	}
	return math.Log(1-p*x) - math.Log((float64(r)+1-float64(r)*x)*q) - (n+1)*math.Log(x)
}

// windowSizes are those of the multi most common in window prediction.
var windowSizes = [4]int{63, 255, 1023, 4095}

// window knows the most common value of the newest samples, of equally common ones the newest.
type window struct {
	size  int
	count []int
	last  []int // where each value was seen last
	best  byte
}

func (w *window) add(samples []byte, i int) {
	v := samples[i]
	w.count[v]++
	w.last[v] = i
	if i < w.size {
		if w.count[v] >= w.count[w.best] {
			w.best = v
		}
		return
	}
	gone := samples[i-w.size]
	w.count[gone]--
	switch {
	case gone != w.best:
		if w.count[v] >= w.count[w.best] {
			w.best = v
		}
	case gone != v:
		for c := range w.count {
			if w.count[c] > w.count[w.best] || w.count[c] == w.count[w.best] && w.last[c] > w.last[w.best] {
				w.best = byte(c)
			}
		}
	}
}

// MultiMCW is the estimate of section 6.3.7: predict the value that was most common lately.
func MultiMCW(samples []byte, alphabet int) float64 {
	var windows [len(windowSizes)]window
	for j := range windows {
		windows[j] = window{size: windowSizes[j], count: make([]int, alphabet), last: make([]int, alphabet)}
	}
	var t tally
	var score [len(windowSizes)]int
	winner := 0
	for i, v := range samples {
		if i >= windowSizes[0] {
			t.note(windows[winner].best == v)
			for j := range windows {
				if i >= windowSizes[j] && windows[j].best == v {
					score[j]++
					if score[j] >= score[winner] {
						winner = j
					}
				}
			}
		}
		for j := range windows {
			windows[j].add(samples, i)
		}
	}
	return t.estimate(alphabet)
}

// lags is how far back the lag prediction looks.
const lags = 128

// Lag is the estimate of section 6.3.8: predict the value of so many samples ago.
func Lag(samples []byte, alphabet int) float64 {
	var t tally
	var score [lags]int
	winner := 0
	for i := 1; i < len(samples); i++ {
		v := samples[i]
		t.note(samples[i-winner-1] == v)
		before := samples[max(0, i-lags):i]
		for d := range before {
			if before[len(before)-1-d] == v {
				score[d]++
				if score[d] >= score[winner] {
					winner = d
				}
			}
		}
	}
	return t.estimate(alphabet)
}

// depth is how many samples before the present one MultiMMC and LZ78Y look at.
const depth = 16

// contexts holds what followed each sequence of up to depth samples. The sequences form a tree that is walked backwards in
// time: the children of the root are the samples just before the present one.
type contexts struct {
	binary [][2]int32 // children, of two symbols
	other  map[uint64]int32
	nodes  []context
}

type context struct {
	after []follower
	best  int // of after: the most frequent, of equally frequent ones the largest
}

type follower struct {
	symbol byte
	count  int
}

func newContexts(alphabet int) *contexts {
	c := &contexts{nodes: make([]context, 1)}
	if alphabet == 2 {
		c.binary = make([][2]int32, 1)
	} else {
		c.other = map[uint64]int32{}
	}
	return c
}

// child returns the node for one sample further back; it makes one if there is none.
func (c *contexts) child(node int32, symbol byte) int32 {
	if c.binary != nil {
		if next := c.binary[node][symbol]; next != 0 {
			return next
		}
	} else if next := c.other[uint64(node)<<8|uint64(symbol)]; next != 0 {
		return next
	}
	next := int32(len(c.nodes))
	c.nodes = append(c.nodes, context{})
	if c.binary != nil {
		c.binary[node][symbol] = next
		c.binary = append(c.binary, [2]int32{})
	} else {
		c.other[uint64(node)<<8|uint64(symbol)] = next
	}
	return next
}

// seen says whether a sequence has occurred.
func (x *context) seen() bool { return len(x.after) > 0 }

// add counts a follower; a new one only if it may. It reports whether it is new.
func (x *context) add(symbol byte, may bool) bool {
	at := -1
	for i := range x.after {
		if x.after[i].symbol == symbol {
			at = i
			break
		}
	}
	fresh := at < 0
	if fresh {
		if !may {
			return false
		}
		at = len(x.after)
		x.after = append(x.after, follower{symbol: symbol})
	}
	x.after[at].count++
	if f, b := x.after[at], x.after[x.best]; f.count > b.count || f.count == b.count && f.symbol > b.symbol {
		x.best = at
	}
	return fresh
}

// mmcMost is how many pairs of sequence and follower MultiMMC keeps per length.
const mmcMost = 100_000

// MultiMMC is the estimate of section 6.3.9: predict what most often followed the samples just before, for sixteen lengths of "just
// before".
func MultiMMC(samples []byte, alphabet int) float64 {
	c := newContexts(alphabet)
	var t tally
	var score, pairs [depth]int
	winner := 0
	// Each pair enters the model when its follower has been seen; predictions begin with the third sample.
	for i := 1; i < len(samples); i++ {
		v := samples[i]
		was, hit := winner, false
		known := true
		node := int32(0)
		for d := 0; d < depth && d < i; d++ {
			if pairs[d] >= mmcMost && !c.has(node, samples[i-1-d]) {
				break // there is no room for it, nor for longer ones
			}
			node = c.child(node, samples[i-1-d])
			x := &c.nodes[node]
			// What was never seen was not seen with more before it, either.
			known = known && x.seen()
			if known && i >= 2 {
				if x.after[x.best].symbol == v {
					score[d]++
					if score[d] >= score[winner] {
						winner = d
					}
					hit = hit || d == was
				}
			}
			if x.add(v, pairs[d] < mmcMost) {
				pairs[d]++
			}
		}
		if i >= 2 {
			t.note(hit)
		}
	}
	return t.estimate(alphabet)
}

// lzMost is how many sequences LZ78Y keeps.
const lzMost = 65_536

// LZ78Y is the estimate of section 6.3.10: predict by a dictionary such as LZ78 compression builds.
func LZ78Y(samples []byte, alphabet int) float64 {
	c := newContexts(alphabet)
	var t tally
	kept := 0
	var path [depth]int32
	for i := depth; i < len(samples); i++ {
		v := samples[i]
		node, known := int32(0), depth
		for d := range depth {
			// Once the dictionary is full, a sequence that has no node has none with more before it.
			if kept >= lzMost && !c.has(node, samples[i-1-d]) {
				known = d
				break
			}
			node = c.child(node, samples[i-1-d])
			path[d] = node
		}
		best, prediction := 0, byte(0)
		for d := known - 1; d >= 0; d-- {
			x := &c.nodes[path[d]]
			if x.seen() {
				if f := x.after[x.best]; f.count > best {
					best, prediction = f.count, f.symbol
				}
				x.add(v, true)
			} else if kept < lzMost {
				x.add(v, true)
				kept++
			}
		}
		if i > depth {
			t.note(best > 0 && prediction == v)
		}
	}
	return t.estimate(alphabet)
}

func (c *contexts) has(node int32, symbol byte) bool {
	if c.binary != nil {
		return c.binary[node][symbol] != 0
	}
	return c.other[uint64(node)<<8|uint64(symbol)] != 0
}
