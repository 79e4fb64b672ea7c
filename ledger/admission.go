package ledger

// letIn counts a caller in, unless there are too many. One counts from before
// the command is prepared until the caller has its answer in hand: on a machine
// that is short of processors most of the waiting is done by callers who have
// been answered and cannot run yet. A caller who gives up leaves the place to the
// command.
//
// The house's own commands find room when clients do not, and so does what has
// an entry already: it would be wrong to say that it was not accepted.
func (l *Ledger) letIn(r *request) bool {
	n, most := l.inside.Add(1), int64(l.cfg.QueueMost)
	if n <= most || n <= 2*most && l.must(r) {
		return true
	}
	l.inside.Add(-1)
	return false
}

func (l *Ledger) must(r *request) bool {
	return r.cmd.Request.IsZero() || r.refused != nil || r.keyFound || l.keys.mayHave([16]byte(r.cmd.Request.Key[:16]), r.keySeen)
}
