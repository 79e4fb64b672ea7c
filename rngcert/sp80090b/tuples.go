package sp80090b

import (
	"math"
)

// tupleCount is how often a tuple has to occur to count for the t-tuple estimate (section 6.3.5); longer, rarer ones
// count for the longest repeated substring (section 6.3.6).
const tupleCount = 35

// Tuples gives the t-tuple estimate of section 6.3.5 and the LRS estimate of section 6.3.6. Of samples without any
// value that occurs tupleCount times, or without any repeated tuple beyond those, the standard defines no estimate: it is then
// that of a uniform source of 8 bits, which is never the least.
func Tuples(samples []byte) (tuple, repeated float64) {
	n := len(samples)
	most, pairs := repetitions(samples)
	longest := len(most) - 1
	u := 1 // the shortest length whose tuples are all rare
	for u <= longest && most[u] >= tupleCount {
		u++
	}
	p := 0.0
	for t := 1; t < u; t++ {
		p = max(p, math.Pow(float64(most[t])/float64(n-t+1), 1/float64(t)))
	}
	tuple, repeated = 8, 8
	if p > 0 {
		tuple = minEntropy(upper(p, n))
	}
	p = 0
	for w := u; w <= longest; w++ {
		places := float64(n - w + 1)
		p = max(p, math.Pow(float64(pairs[w])/(places*(places-1)/2), 1/float64(w)))
	}
	if p > 0 {
		repeated = minEntropy(upper(p, n))
	}
	return tuple, repeated
}

// repetitions returns, for each length up to that of the longest repeated substring, how often the most frequent
// tuple of that length occurs, and how many pairs of equal tuples there are. Index 0 is unused.
//
// Suffixes that share a prefix stand together in the suffix array. Each maximal such group, with the longest prefix
// its members share, is visited once; it speaks for all lengths above that of the group around it.
func repetitions(samples []byte) (most []int, pairs []uint64) {
	lcp := commonPrefixes(samples, suffixArray(samples))
	longest := 0
	for _, l := range lcp {
		longest = max(longest, int(l))
	}
	most, pairs = make([]int, longest+1), make([]uint64, longest+2)
	type group struct{ length, from int }
	var open []group
	for i := 1; i <= len(lcp); i++ {
		l := 0
		if i < len(lcp) {
			l = int(lcp[i])
		}
		from := i - 1
		for len(open) > 0 && open[len(open)-1].length > l {
			g := open[len(open)-1]
			open = open[:len(open)-1]
			members := i - g.from
			most[g.length] = max(most[g.length], members)
			outer := l
			if len(open) > 0 {
				outer = max(outer, open[len(open)-1].length)
			}
			c := uint64(members) * uint64(members-1) / 2
			pairs[g.length] += c
			pairs[outer] -= c // of lengths up to outer the group around it speaks
			from = g.from
		}
		if l > 0 && (len(open) == 0 || open[len(open)-1].length < l) {
			open = append(open, group{l, from})
		}
	}
	for t := longest - 1; t >= 1; t-- {
		most[t] = max(most[t], most[t+1])
		pairs[t] += pairs[t+1]
	}
	return most, pairs[:longest+1]
}

// commonPrefixes returns how many symbols each suffix shares with the one before it in the array (Kasai et al., 2001).
func commonPrefixes(s []byte, sa []int32) []int32 {
	rank := make([]int32, len(s))
	for i, p := range sa {
		rank[p] = int32(i)
	}
	lcp := make([]int32, len(s))
	h := 0
	for i := range s {
		if rank[i] == 0 {
			h = 0
			continue
		}
		j := int(sa[rank[i]-1])
		for i+h < len(s) && j+h < len(s) && s[i+h] == s[j+h] {
			h++
		}
		lcp[rank[i]] = int32(h)
		h = max(h-1, 0)
	}
	return lcp
}

// suffixArray returns the places of s in the order of the suffixes that begin there, by induced sorting (Nong, Zhang and
// Chan, 2009).
func suffixArray(s []byte) []int32 {
	text := make([]int32, len(s)+1) // with an end that is less than all
	for i, c := range s {
		text[i] = int32(c) + 1
	}
	sa := make([]int32, len(text))
	induce(text, sa, 257)
	return sa[1:]
}

// induce sorts the suffixes of text, whose last symbol is the only 0 and whose symbols are below k.
func induce(text, sa []int32, k int) {
	n := len(text)
	small := make([]bool, n) // the suffix is less than the one after it
	small[n-1] = true
	for i := n - 2; i >= 0; i-- {
		small[i] = text[i] < text[i+1] || text[i] == text[i+1] && small[i+1]
	}
	leftmost := func(i int32) bool { return i > 0 && small[i] && !small[i-1] }
	sizes := make([]int32, k)
	for _, c := range text {
		sizes[c]++
	}
	bucket := make([]int32, k)
	heads := func() {
		sum := int32(0)
		for c, n := range sizes {
			bucket[c] = sum
			sum += n
		}
	}
	tails := func() {
		sum := int32(0)
		for c, n := range sizes {
			sum += n
			bucket[c] = sum
		}
	}
	spread := func() {
		heads()
		for _, p := range sa {
			if p > 0 && !small[p-1] {
				c := text[p-1]
				sa[bucket[c]] = p - 1
				bucket[c]++
			}
		}
		tails()
		for i := n - 1; i >= 0; i-- {
			if p := sa[i]; p > 0 && small[p-1] {
				c := text[p-1]
				bucket[c]--
				sa[bucket[c]] = p - 1
			}
		}
	}
	for i := range sa {
		sa[i] = -1
	}
	tails()
	for i := int32(1); i < int32(n); i++ {
		if leftmost(i) {
			bucket[text[i]]--
			sa[bucket[text[i]]] = i
		}
	}
	spread()
	// The substrings between leftmost places are now in order: name them.
	m := int32(0)
	for _, p := range sa {
		if leftmost(p) {
			sa[m] = p
			m++
		}
	}
	names := sa[m:]
	for i := range names {
		names[i] = -1
	}
	name, last := int32(0), int32(-1)
	for _, p := range sa[:m] {
		if last >= 0 && !sameSubstring(text, leftmost, last, p) {
			name++
		}
		names[p/2] = name
		last = p
	}
	reduced := make([]int32, 0, m)
	for _, v := range names {
		if v >= 0 {
			reduced = append(reduced, v)
		}
	}
	order := make([]int32, m)
	if name+1 < m {
		induce(reduced, order, int(name)+1)
	} else {
		for i, v := range reduced {
			order[v] = int32(i)
		}
	}
	places := reduced[:0] // the leftmost places in the order of the text
	for i := int32(1); i < int32(n); i++ {
		if leftmost(i) {
			places = append(places, i)
		}
	}
	for i := range order {
		order[i] = places[order[i]]
	}
	for i := range sa {
		sa[i] = -1
	}
	tails()
	for i := m - 1; i >= 0; i-- {
		p := order[i]
		bucket[text[p]]--
		sa[bucket[text[p]]] = p
	}
	spread()
}

// sameSubstring reports whether the substrings from a and b to the next leftmost place each are equal.
func sameSubstring(text []int32, leftmost func(int32) bool, a, b int32) bool {
	for i := int32(0); ; i++ {
		if text[a+i] != text[b+i] {
			return false
		}
		if text[a+i] == 0 {
			return a == b
		}
		if i > 0 {
			x, y := leftmost(a+i), leftmost(b+i)
			if x || y {
				return x && y
			}
		}
	}
}
