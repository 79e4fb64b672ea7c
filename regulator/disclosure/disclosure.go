// Package disclosure holds what a house shows of the people behind its references
// against the commitments in its log (docs/formats/disclosure.md): what was
// recorded is there to be seen, or was erased by two officers, or is missing.
package disclosure

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"countroom/games/subjects"
	"countroom/ledger/entry"
)

// LineMost bounds a line, in bytes: a value each of whose bytes is escaped has room.
const LineMost = 16 << 10

// StrangeMost is how many lines about commitments that the log has not are kept
// one by one. The others are counted, so that no file makes a report grow.
const StrangeMost = 1000

// ErrFormat says that a file is no disclosure.
var ErrFormat = errors.New("malformed disclosure")

// Line is what a disclosure says of one commitment.
type Line struct {
	Attribute string
	Index     uint64 // of the entry
	Player    entry.Ref
	Salt      [32]byte
	Value     string
}

// Append appends the line to b.
func (l Line) Append(b []byte) []byte {
	value, err := json.Marshal(l.Value)
	if err != nil {
		panic(err) // a string always has a form
	}
	return fmt.Appendf(b, `{"attribute":"%s","index":%d,"player":"%s","salt":"%x","value":%s}`+"\n", l.Attribute, l.Index, l.Player, l.Salt, value)
}

// Read gives each line of a disclosure. Its errors name the line.
func Read(r io.Reader, each func(Line) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, LineMost), LineMost)
	n := 0
	for lines.Scan() {
		n++
		l, err := parse(lines.Bytes())
		if err == nil {
			err = each(l)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("line %d: %w: longer than %d bytes", n+1, ErrFormat, LineMost)
	} else if err != nil {
		return fmt.Errorf("after line %d: %w", n, err)
	}
	return nil
}

func parse(line []byte) (l Line, err error) {
	// The canonical form is of JSON that can be read in one way only.
	canonical, err := entry.Canonical(line)
	if err != nil {
		return l, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(canonical, &members); err != nil {
		return l, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if len(members) != 5 {
		return l, fmt.Errorf("%w: %d members, expected attribute, index, player, salt and value", ErrFormat, len(members))
	}
	text := func(name string) (s string) {
		if e := json.Unmarshal(members[name], &s); err == nil && (e != nil || members[name][0] != '"') {
			err = fmt.Errorf("%w: %s: expected a text", ErrFormat, name)
		}
		return s
	}
	fixed := func(name string, into []byte) {
		s := text(name)
		b, e := hex.DecodeString(s)
		if err == nil && (e != nil || len(b) != len(into) || hex.EncodeToString(b) != s) {
			err = fmt.Errorf("%w: %s: expected %d bytes in lower-case hex", ErrFormat, name, len(into))
		}
		copy(into, b)
	}
	l.Attribute, l.Value = text("attribute"), text("value")
	fixed("player", l.Player[:])
	fixed("salt", l.Salt[:])
	index, e := strconv.ParseUint(string(members["index"]), 10, 53)
	if l.Index = index; err == nil && e != nil {
		err = fmt.Errorf("%w: index: expected an entry's", ErrFormat)
	}
	if e := subjects.CheckAttribute(l.Attribute); err == nil && e != nil {
		err = fmt.Errorf("%w: %w", ErrFormat, e)
	}
	if e := subjects.CheckValue(l.Value); err == nil && e != nil {
		err = fmt.Errorf("%w: %w", ErrFormat, e)
	}
	return l, err
}

// What a check can come to of one commitment.
const (
	Present   = "present"    // what is shown opens it
	Erased    = "erased"     // two officers had it erased
	Missing   = "missing"    // nothing is shown, and nobody erased it
	False     = "false"      // what is shown is not what was recorded
	NotErased = "not erased" // what opens it is shown, though it was erased
)

// Commitment is one that the log has, or that a disclosure speaks of.
type Commitment struct {
	Attribute string     `json:"attribute"`
	Index     uint64     `json:"index"`
	At        entry.Time `json:"-"` // when it was recorded
	State     string     `json:"state"`
	Value     string     `json:"value,omitempty"` // as it is shown, if that opens it

	commitment [32]byte
}

// Subject is a player of whom the log or a disclosure says something.
type Subject struct {
	Player      string       `json:"player"`
	Erased      uint64       `json:"erased,omitempty"` // the entry that says so
	Commitments []Commitment `json:"commitments"`      // in the order of the log, then by attribute; at last those that the log has not

	logged int // how many the log has
}

// Report is what a check of a disclosure came to. Counts are of commitments.
type Report struct {
	Players   uint64    `json:"players"`
	Present   uint64    `json:"present"`
	Erased    uint64    `json:"erased"`
	Missing   uint64    `json:"missing"`
	False     uint64    `json:"false"`
	NotErased uint64    `json:"not_erased"`
	Others    uint64    `json:"others"` // lines about players who are not in question
	More      uint64    `json:"more"`   // false ones that are not among Subjects: StrangeMost
	Subjects  []Subject `json:"subjects"`
}

// OK reports whether the disclosure shows all that it has to, and nothing else.
func (r *Report) OK() bool { return r.Missing+r.False+r.NotErased == 0 }

// Check holds a disclosure against a log: Entry is given what the log has, in its
// order, then Line what is shown.
type Check struct {
	only    map[entry.Ref]bool // who is in question; nil is everybody
	players []entry.Ref        // in the order of the log
	known   map[entry.Ref]*Subject
	others  uint64
	strange uint64 // lines about what the log has not
}

// New begins a check of the players in question, or of all if none is named.
func New(only ...entry.Ref) *Check {
	c := &Check{known: map[entry.Ref]*Subject{}}
	if len(only) > 0 {
		c.only = map[entry.Ref]bool{}
		for _, ref := range only {
			c.only[ref] = true
			c.of(ref)
		}
	}
	return c
}

func (c *Check) of(ref entry.Ref) *Subject {
	s := c.known[ref]
	if s == nil {
		s = &Subject{Player: ref.String()}
		c.known[ref] = s
		c.players = append(c.players, ref)
	}
	return s
}

func (c *Check) asked(ref entry.Ref) bool { return c.only == nil || c.only[ref] }

// Entry takes an entry of the log, which holds by the rules of the log.
func (c *Check) Entry(index uint64, r entry.Record) {
	switch r := r.(type) {
	case *subjects.Recorded:
		if !c.asked(r.Player) {
			return
		}
		s := c.of(r.Player)
		for _, a := range r.Attributes {
			s.Commitments = append(s.Commitments, Commitment{Attribute: a.Name, Index: index, At: r.At, State: Missing, commitment: a.Commitment})
		}
		s.logged = len(s.Commitments)
	case *subjects.Erased:
		if !c.asked(r.Player) {
			return
		}
		s := c.of(r.Player)
		s.Erased = index
		for i := range s.Commitments {
			s.Commitments[i].State = Erased
		}
	}
}

// Line takes a line of a disclosure. It is an error if an earlier one spoke of the
// same commitment.
func (c *Check) Line(l Line) error {
	if !c.asked(l.Player) {
		c.others++
		return nil
	}
	s := c.known[l.Player]
	if s == nil {
		s = new(Subject)
	}
	i, found := slices.BinarySearchFunc(s.Commitments[:s.logged], l, func(k Commitment, l Line) int {
		return cmp.Or(cmp.Compare(k.Index, l.Index), strings.Compare(k.Attribute, l.Attribute))
	})
	if !found {
		if c.strange++; c.strange > StrangeMost {
			return nil
		}
		s = c.of(l.Player)
		s.Commitments = append(s.Commitments, Commitment{Attribute: l.Attribute, Index: l.Index, State: False})
		return nil
	}
	k := &s.Commitments[i]
	opens := subjects.Commit(l.Attribute, l.Salt, l.Value) == k.commitment
	switch {
	case k.State != Missing && k.State != Erased:
		return fmt.Errorf("%w: entry %d, %s of player %s comes twice", ErrFormat, l.Index, l.Attribute, s.Player)
	case !opens:
		k.State = False
	case k.State == Erased:
		k.State, k.Value = NotErased, l.Value
	default:
		k.State, k.Value = Present, l.Value
	}
	return nil
}

// Report says what the check came to.
func (c *Check) Report() *Report {
	r := &Report{Players: uint64(len(c.players)), Others: c.others, Subjects: []Subject{}}
	count := map[string]*uint64{Present: &r.Present, Erased: &r.Erased, Missing: &r.Missing, False: &r.False, NotErased: &r.NotErased}
	if c.strange > StrangeMost {
		r.More = c.strange - StrangeMost
		r.False = r.More
	}
	for _, ref := range c.players {
		s := *c.known[ref]
		s.Commitments = append([]Commitment{}, s.Commitments...)
		for _, k := range s.Commitments {
			*count[k.State]++
		}
		r.Subjects = append(r.Subjects, s)
	}
	return r
}
