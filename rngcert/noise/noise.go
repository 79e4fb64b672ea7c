// Package noise is the book of the sources of entropy: which of them failed, and
// whether enough are left. A source's trouble has two entries:
//
//	entropy.failed     it failed a test, or could not be read
//	entropy.restored   it has passed the start-up test again
//
// In between no seed may come from it, and with fewer independent groups of
// sources than the house demands nobody plays (law 7).
package noise

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// ErrStopped says that too few independent sources are healthy to play on.
var ErrStopped = errors.New("too few sources of entropy are healthy")

// Reasons for which a source failed.
var reasons = []string{"proportion", "refused", "repeated", "repetition", "short-read", "slow", "unavailable"}

// sourcesMost is how many sources can be out at a time; more than a seed lists.
const sourcesMost = 32

// Failed says that a source failed ("entropy.failed"). A process that starts
// while a source is out says so again, for the source failed it, too.
type Failed struct {
	entry.Header
	Count   uint64 // failures of this source so far, with this one
	Group   string // where its noise comes from
	Groups  uint64 // independent groups with a source that is still in order
	Minimum uint64 // of groups, without which nobody plays
	Reason  string
	Source  string
}

// Type is "entropy.failed".
func (*Failed) Type() string { return "entropy.failed" }

// Code visits the members.
func (r *Failed) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("count", &r.Count)
	c.Text("group", &r.Group, 32)
	c.Uint("groups", &r.Groups)
	c.ID(&r.Header)
	c.Uint("minimum", &r.Minimum)
	c.Text("reason", &r.Reason, 32)
	c.Text("source", &r.Source, 64)
	c.Is("type", r.Type())
}

// Restored says that a source is in order again ("entropy.restored").
type Restored struct {
	entry.Header
	Count   uint64 // of its latest failure
	Group   string
	Groups  uint64 // as in Failed, with this source
	Minimum uint64
	Source  string
}

// Type is "entropy.restored".
func (*Restored) Type() string { return "entropy.restored" }

// Code visits the members.
func (r *Restored) Code(c *entry.Coder) {
	c.Actor(&r.Header)
	c.At(&r.Header)
	c.Uint("count", &r.Count)
	c.Text("group", &r.Group, 32)
	c.Uint("groups", &r.Groups)
	c.ID(&r.Header)
	c.Uint("minimum", &r.Minimum)
	c.Text("source", &r.Source, 64)
	c.Is("type", r.Type())
}

// Member is a source that is in order.
type Member struct{ Group, Source string }

// Out is a source that is not.
type Out struct {
	Count  uint64
	Group  string
	Index  uint64 // of its entropy.failed
	Said   bool   // by the process that writes now
	Source string
}

// State is the row of how the sources are.
type State struct {
	Groups  uint64 // as said last by the process that writes now
	Minimum uint64 // as said by the process that writes now; 0 before it said one
	Out     []Out  // by name
	// Seeded is whether this process has committed to a seed: then Sound are all
	// sources that are in order.
	Seeded bool
	Sound  []Member // by name
}

// Code visits the members.
func (s *State) Code(c *entry.Coder) {
	c.Uint("groups", &s.Groups)
	c.Uint("minimum", &s.Minimum)
	entry.List(c, "out", &s.Out, sourcesMost, func(c *entry.Coder, o *Out) {
		c.Object("")
		c.Uint("count", &o.Count)
		c.Text("group", &o.Group, 32)
		c.Uint("index", &o.Index)
		c.Bool("said", &o.Said)
		c.Text("source", &o.Source, 64)
		c.End()
	})
	c.Bool("seeded", &s.Seeded)
	entry.List(c, "sound", &s.Sound, 2*sourcesMost, func(c *entry.Coder, m *Member) {
		c.Object("")
		c.Text("group", &m.Group, 32)
		c.Text("source", &m.Source, 64)
		c.End()
	})
}

// Source is the row of what is remembered of a source for ever.
type Source struct {
	Failures uint64
}

// Code visits the members.
func (s *Source) Code(c *entry.Coder) { c.Uint("failures", &s.Failures) }

// StateKey is the key of the row State.
const StateKey = "noise"

// Key is the key of a source's row.
func Key(source string) string { return "source/" + source }

// Kinds are the rows of this book.
var Kinds = book.Kinds{
	"noise":  func() book.Row { return new(State) },
	"source": func() book.Row { return new(Source) },
}

// Now returns how the sources are; it may be changed.
func Now(rows book.Reader) State {
	s := book.Get[State](rows, StateKey)
	if s == nil {
		return State{}
	}
	c := *s
	c.Out, c.Sound = slices.Clone(s.Out), slices.Clone(s.Sound)
	return c
}

// Failure returns the source's failure, or nil while it is in order.
func (s *State) Failure(source string) *Out {
	if i := slices.IndexFunc(s.Out, func(o Out) bool { return o.Source == source }); i >= 0 {
		return &s.Out[i]
	}
	return nil
}

// Playing is ErrStopped, with the figures, while too few sources are in order.
func Playing(rows book.Reader) error {
	if s := book.Get[State](rows, StateKey); s != nil && s.Groups < s.Minimum {
		return fmt.Errorf("%w: %d independent, %d needed", ErrStopped, s.Groups, s.Minimum)
	}
	return nil
}

// Round holds a round against the sources: none is settled while they are too
// few.
func Round(rows book.Reader) error {
	if err := Playing(rows); err != nil {
		return book.Broken("entropy-stopped", "no play until enough sources are in order", err)
	}
	return nil
}

// Failures is how often a source failed.
func Failures(rows book.Reader, source string) uint64 {
	if s := book.Get[Source](rows, Key(source)); s != nil {
		return s.Failures
	}
	return 0
}

// Begin notes that another process writes now: what its sources are, and how many
// it demands, it has yet to say. What was out stays out.
func Begin(rows book.Rows) {
	if rows.Get(StateKey) == nil {
		return
	}
	s := Now(rows)
	next := State{Out: s.Out}
	for i := range next.Out {
		next.Out[i].Said = false
	}
	rows.Put(StateKey, &next)
}

// Seed notes what a seed comes from, and the minimum that its statement names (0
// where it names none).
func Seed(rows book.Rows, from []Member, minimum uint64) error {
	s := Now(rows)
	for _, m := range from {
		if o := s.Failure(m.Source); o != nil {
			return book.Broken("entropy-listed", "sources that are in order", m.Source+", which failed in entry "+strconv.FormatUint(o.Index, 10))
		}
	}
	for _, m := range s.Sound {
		if !slices.ContainsFunc(from, func(o Member) bool { return o.Source == m.Source }) {
			return book.Broken("entropy-left-out", "each source that is in order, "+m.Source+" among them, or first that it failed", "a seed without it")
		}
	}
	if minimum > 0 {
		if err := s.demand(minimum); err != nil {
			return err
		}
	}
	s.Sound, s.Seeded = slices.Clone(from), true
	slices.SortFunc(s.Sound, func(a, b Member) int { return strings.Compare(a.Source, b.Source) })
	if minimum > 0 {
		s.Groups = s.groups()
	}
	rows.Put(StateKey, &s)
	return nil
}

// demand takes the minimum that a process says: the same each time.
func (s *State) demand(minimum uint64) error {
	if minimum == 0 || s.Minimum != 0 && minimum != s.Minimum {
		return book.Broken("entropy-minimum", "from 1, and the same in all entries of a process: "+strconv.FormatUint(max(s.Minimum, 1), 10), minimum)
	}
	s.Minimum = minimum
	return nil
}

// groups counts the groups of what is in order.
func (s *State) groups() uint64 {
	seen := map[string]bool{}
	for _, m := range s.Sound {
		seen[m.Group] = true
	}
	return uint64(len(seen))
}

// grouped is whether it is known what is in order, and where each comes from.
func (s *State) grouped() bool {
	return s.Seeded && !slices.ContainsFunc(s.Sound, func(m Member) bool { return m.Group == "" })
}

// left takes how many groups an entry says are left.
func (s *State) left(groups uint64) error {
	if n := s.groups(); s.grouped() && groups != n {
		return book.Broken("entropy-groups", strconv.FormatUint(n, 10)+" groups by the latest seed and what failed since", groups)
	}
	s.Groups = groups
	return nil
}

// word is whether a name may stand in an entry: lower-case letters, digits, - and
// the dot.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

// Fold applies an entry of this package.
func Fold(rows book.Rows, index uint64, r entry.Record) error {
	s := Now(rows)
	switch r := r.(type) {
	case *Failed:
		if !word(r.Source) || !word(r.Group) {
			return book.Broken("entropy-source", "names of lower-case letters, digits, - and .", strconv.Quote(r.Source)+" of "+strconv.Quote(r.Group))
		}
		if !slices.Contains(reasons, r.Reason) {
			return book.Broken("entropy-reason", reasons, r.Reason)
		}
		if o := s.Failure(r.Source); o != nil {
			if o.Said {
				return book.Broken("entropy-failed", "a source that is in order; "+r.Source+" failed in entry "+strconv.FormatUint(o.Index, 10), "its failure")
			}
			s.Out = slices.DeleteFunc(s.Out, func(o Out) bool { return o.Source == r.Source })
		}
		if len(s.Out) == sourcesMost {
			return book.Broken("entropy-failed", strconv.Itoa(sourcesMost)+" sources out at most", "one more")
		}
		if n := Failures(rows, r.Source) + 1; r.Count != n {
			return book.Broken("entropy-count", n, r.Count)
		}
		if i := slices.IndexFunc(s.Sound, func(m Member) bool { return m.Source == r.Source }); i >= 0 {
			if m := s.Sound[i]; m.Group != "" && m.Group != r.Group {
				return book.Broken("entropy-group", m.Group+", as in the latest seed", r.Group)
			}
			s.Sound = slices.Delete(s.Sound, i, i+1)
		}
		s.Out = append(s.Out, Out{Count: r.Count, Group: r.Group, Index: index, Said: true, Source: r.Source})
		slices.SortFunc(s.Out, func(a, b Out) int { return strings.Compare(a.Source, b.Source) })
		if err := s.demand(r.Minimum); err != nil {
			return err
		}
		if err := s.left(r.Groups); err != nil {
			return err
		}
		rows.Put(Key(r.Source), &Source{Failures: r.Count})
	case *Restored:
		o := s.Failure(r.Source)
		if o == nil {
			return book.Broken("entropy-restored", "a source that failed", r.Source)
		}
		if r.Count != o.Count {
			return book.Broken("entropy-count", o.Count, r.Count)
		}
		// What another process said of the group may have changed with the device.
		if !word(r.Group) || o.Said && r.Group != o.Group {
			return book.Broken("entropy-group", o.Group+", as when it failed", r.Group)
		}
		s.Out = slices.DeleteFunc(s.Out, func(o Out) bool { return o.Source == r.Source })
		s.Sound = append(s.Sound, Member{r.Group, r.Source})
		slices.SortFunc(s.Sound, func(a, b Member) int { return strings.Compare(a.Source, b.Source) })
		if err := s.demand(r.Minimum); err != nil {
			return err
		}
		if err := s.left(r.Groups); err != nil {
			return err
		}
	default:
		return nil
	}
	rows.Put(StateKey, &s)
	return nil
}
