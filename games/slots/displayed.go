package slots

import "strings"

// shown is what one reel shows at each of its stops, in JSON: the three symbols
// from the top.
func shown(strip []string) []string {
	list := make([]string, len(strip))
	for at := range strip {
		var b strings.Builder
		b.WriteByte('[')
		for row := range 3 {
			if row > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`"` + strip[(at+row)%len(strip)] + `"`)
		}
		b.WriteByte(']')
		list[at] = b.String()
	}
	return list
}

// AppendScreens appends what a player sees of a round as canonical JSON: for
// each spin the five reels from the left, each its three symbols from the top.
//
//	[[["anchor","bell","jack"],…],…]
func (m *Machine) AppendScreens(dst []byte, r *Round) []byte {
	dst = append(dst, '[')
	for i := range r.Spins {
		s := &r.Spins[i]
		dst = append(appendComma(dst, i), '[')
		reels := &m.shown[0]
		if s.Free {
			reels = &m.shown[1]
		}
		for reel, stop := range s.Stops {
			dst = append(appendComma(dst, reel), reels[reel][stop]...)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}
