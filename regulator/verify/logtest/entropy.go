package logtest

import (
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// Source returns a source of entropy that is in order, as a seed lists it.
func Source(name, group string) epoch.Source {
	return epoch.Source{Assurance: "software", Bytes: 64, Conditioned: true, Group: group, Healthy: true, Name: name}
}

// Fail says that a source of entropy failed.
func (h *House) Fail(source, reason string) uint64 {
	s := noise.Now(h.rows)
	r := &noise.Failed{Count: noise.Failures(h.rows, source) + 1, Group: "kernel", Minimum: max(s.Minimum, 1), Reason: reason, Source: source}
	groups := map[string]bool{}
	for _, m := range s.Sound {
		switch {
		case m.Source != source:
			groups[m.Group] = true
		case m.Group != "":
			r.Group = m.Group
		}
	}
	r.Groups = uint64(len(groups))
	return h.Append(r)
}

// RestoreSource says that a source of entropy is in order again.
func (h *House) RestoreSource(source string) uint64 {
	s := noise.Now(h.rows)
	r := &noise.Restored{Count: 1, Group: "kernel", Minimum: max(s.Minimum, 1), Source: source}
	if out := s.Failure(source); out != nil {
		r.Count, r.Group = out.Count, out.Group
	}
	groups := map[string]bool{r.Group: true}
	for _, m := range s.Sound {
		groups[m.Group] = true
	}
	r.Groups = uint64(len(groups))
	return h.Append(r)
}
