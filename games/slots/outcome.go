package slots

import "strconv"

// AppendOutcome appends the round as RFC 8785 canonical JSON:
//
//	{"capped":false,"spins":[{"awarded":0,"pay":40,"scatters":0,"stops":[3,17,22,8,1],
//	"wins":[{"count":3,"line":7,"pay":40,"symbol":"bell"}]}]}
//
// on one line. The base spin comes first; as many free spins follow as were
// awarded, fewer when capped. Pays are in minor units, multiplier included. What
// a spin's pay exceeds the sum of its wins by is its scatter pay. The payout of
// the round is the sum of the spins' pays or, capped, the greatest payout.
func (m *Machine) AppendOutcome(dst []byte, r *Round) []byte {
	dst = append(dst, `{"capped":`...)
	dst = strconv.AppendBool(dst, r.Capped)
	dst = append(dst, `,"spins":[`...)
	for i := range r.Spins {
		dst = appendComma(dst, i)
		dst = appendSpin(dst, &r.Spins[i])
	}
	return append(dst, `]}`...)
}

func appendSpin(dst []byte, s *Spin) []byte {
	dst = append(dst, `{"awarded":`...)
	dst = strconv.AppendInt(dst, int64(s.Awarded), 10)
	dst = append(dst, `,"pay":`...)
	dst = strconv.AppendInt(dst, s.Pay, 10)
	dst = append(dst, `,"scatters":`...)
	dst = strconv.AppendInt(dst, int64(s.Scatters), 10)
	dst = append(dst, `,"stops":[`...)
	for reel, stop := range s.Stops {
		dst = appendComma(dst, reel)
		dst = strconv.AppendInt(dst, int64(stop), 10)
	}
	dst = append(dst, `],"wins":[`...)
	for i := range s.Wins {
		w := &s.Wins[i]
		dst = appendComma(dst, i)
		dst = append(dst, `{"count":`...)
		dst = strconv.AppendInt(dst, int64(w.Count), 10)
		dst = append(dst, `,"line":`...)
		dst = strconv.AppendInt(dst, int64(w.Line), 10)
		dst = append(dst, `,"pay":`...)
		dst = strconv.AppendInt(dst, w.Pay, 10)
		dst = append(dst, `,"symbol":"`...)
		dst = append(dst, w.Symbol...)
		dst = append(dst, `"}`...)
	}
	return append(dst, `]}`...)
}
