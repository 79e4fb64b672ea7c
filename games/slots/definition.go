package slots

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Format names the rules by which a definition of this package is played. It
// is part of each definition, so the hash of one binds both.
const Format = "countroom/slots/1"

// Roles of a symbol.
const (
	RoleLine    = "line"    // pays on lines
	RoleWild    = "wild"    // pays on lines and stands for any line symbol
	RoleScatter = "scatter" // pays anywhere, on the total stake
)

// Limits of a definition.
const (
	maxDefinition = 32 << 10  // bytes of canonical definition: it must fit a log leaf
	maxInput      = 256 << 10 // bytes Parse reads, white space included
	maxSymbols    = 16
	maxStops      = 256
	maxLines      = 32
	maxStakes     = 16
	maxStake      = 1_000_000_000
	maxPay        = 100_000
	maxFreeSpins  = 100
	maxMultiplier = 100
	maxMaxWin     = 100_000
	maxInteger    = 1<<53 - 1 // greatest integer of a canonical entry
)

// ErrDefinition is wrapped by every error about the content of a definition.
var ErrDefinition = errors.New("slots: bad definition")

// Definition holds everything that determines the outcome and payout of a
// round, given its stake and draws. Parse and Compile check it; a definition
// in use must not be changed.
type Definition struct {
	ID      string // [a-z0-9][a-z0-9-]{0,31}
	Name    string // as shown to players
	Version string // three decimal numbers, "1.0.0"

	Symbols []Symbol

	// Base and Free are the reel strips of base and free spins, reel 1 first,
	// each a ring of symbol names. Every stop is equally likely.
	Base, Free [5][]string

	// Lines gives for each payline the row it crosses on each reel, 0 on top.
	Lines [][5]int

	Stakes    []int64 // total stakes in minor units, ascending, multiples of len(Lines)
	FreeSpins FreeSpins
	MaxWin    int64 // greatest payout of a round, in total stakes
}

// Symbol is a symbol and what it pays.
type Symbol struct {
	Name string // [a-z0-9][a-z0-9-]{0,31}
	Role string // RoleLine, RoleWild or RoleScatter

	// Pays is the pay of 1 to 5 of the symbol: in line bets on a line, in total
	// stakes for the scatter. It never falls with the count.
	Pays [5]int64
}

// FreeSpins is the free-spin feature.
type FreeSpins struct {
	Awards     [5]int // free spins for 1 to 5 scatters in view, in base and free spins
	Maximum    int    // most free spins in one round
	Multiplier int64  // applied to every pay of a free spin
}

// Parse reads a definition from JSON in any formatting. Every name must be
// there once and no other; the error names the field and what was expected.
func Parse(data []byte) (*Definition, error) {
	if len(data) > maxInput {
		return nil, fmt.Errorf("%w: %d bytes, at most %d expected", ErrDefinition, len(data), maxInput)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	r := &reader{dec: dec}
	d := new(Definition)
	r.definition(d)
	if r.err == nil {
		if _, err := dec.Token(); err != io.EOF {
			r.fail("definition", "nothing after the object")
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	return d, nil
}

// Hash returns the SHA-256 of the canonical definition, the "maths hash".
func (d *Definition) Hash() [sha256.Size]byte { return sha256.Sum256(d.Canonical()) }

// Canonical returns the definition as RFC 8785 canonical JSON.
func (d *Definition) Canonical() []byte {
	b := make([]byte, 0, 4096)
	b = append(b, `{"format":"`+Format+`","free_spins":{"awards":`...)
	b = appendInts(b, d.FreeSpins.Awards[:])
	b = append(b, `,"maximum":`...)
	b = strconv.AppendInt(b, int64(d.FreeSpins.Maximum), 10)
	b = append(b, `,"multiplier":`...)
	b = strconv.AppendInt(b, d.FreeSpins.Multiplier, 10)
	b = append(b, `},"id":"`...)
	b = append(b, d.ID...)
	b = append(b, `","lines":[`...)
	for i := range d.Lines {
		b = appendComma(b, i)
		b = appendInts(b, d.Lines[i][:])
	}
	b = append(b, `],"max_win":`...)
	b = strconv.AppendInt(b, d.MaxWin, 10)
	b = append(b, `,"name":"`...)
	b = append(b, d.Name...)
	b = append(b, `","stakes":`...)
	b = appendInts(b, d.Stakes)
	b = append(b, `,"strips":{"base":`...)
	b = appendStrips(b, &d.Base)
	b = append(b, `,"free":`...)
	b = appendStrips(b, &d.Free)
	b = append(b, `},"symbols":[`...)
	for i, s := range d.Symbols {
		b = appendComma(b, i)
		b = append(b, `{"name":"`...)
		b = append(b, s.Name...)
		b = append(b, `","pays":`...)
		b = appendInts(b, s.Pays[:])
		b = append(b, `,"role":"`...)
		b = append(b, s.Role...)
		b = append(b, `"}`...)
	}
	b = append(b, `],"version":"`...)
	b = append(b, d.Version...)
	return append(b, `"}`...)
}

func appendStrips(b []byte, strips *[5][]string) []byte {
	b = append(b, '[')
	for reel := range strips {
		b = appendComma(b, reel)
		b = append(b, '[')
		for i, name := range strips[reel] {
			b = appendComma(b, i)
			b = append(b, '"')
			b = append(b, name...)
			b = append(b, '"')
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

func appendInts[T int | int64](b []byte, v []T) []byte {
	b = append(b, '[')
	for i, n := range v {
		b = appendComma(b, i)
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return append(b, ']')
}

// appendComma separates element i of a list from the one before it.
func appendComma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// check holds every limit, for definitions read and made alike.
func (d *Definition) check() error {
	bad := func(field, format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s expected", ErrDefinition, field, fmt.Sprintf(format, args...))
	}
	if !isName(d.ID) {
		return bad("id", "[a-z0-9][a-z0-9-]{0,31}")
	}
	if !isTitle(d.Name) {
		return bad("name", "1 to 64 printable ASCII characters without quote and backslash")
	}
	if !isVersion(d.Version) {
		return bad("version", "three decimal numbers such as 1.0.0")
	}

	if len(d.Symbols) < 3 || len(d.Symbols) > maxSymbols {
		return bad("symbols", "3 to %d symbols", maxSymbols)
	}
	wilds, scatters := 0, 0
	known := make(map[string]bool, len(d.Symbols))
	highestLine, highestScatter := int64(0), int64(0)
	for i, s := range d.Symbols {
		field := fmt.Sprintf("symbols[%d].", i)
		if !isName(s.Name) {
			return bad(field+"name", "[a-z0-9][a-z0-9-]{0,31}")
		}
		if known[s.Name] {
			return bad(field+"name", "a name not used before, not %q,", s.Name)
		}
		known[s.Name] = true
		highest := int64(0)
		for n, pay := range s.Pays {
			if pay < highest || pay > maxPay {
				return bad(fmt.Sprintf("%spays[%d]", field, n), "an integer from the pay before it (%d) to %d", highest, maxPay)
			}
			highest = pay
		}
		switch s.Role {
		case RoleLine:
			highestLine = max(highestLine, highest)
		case RoleWild:
			wilds++
			highestLine = max(highestLine, highest)
		case RoleScatter:
			scatters++
			highestScatter = highest
		default:
			return bad(field+"role", "%q, %q or %q", RoleLine, RoleWild, RoleScatter)
		}
	}
	if wilds != 1 || scatters != 1 {
		return bad("symbols", "one wild and one scatter")
	}

	for _, set := range []struct {
		name   string
		strips *[5][]string
	}{{"base", &d.Base}, {"free", &d.Free}} {
		for reel, strip := range set.strips {
			field := fmt.Sprintf("strips.%s[%d]", set.name, reel)
			if len(strip) < 3 || len(strip) > maxStops {
				return bad(field, "3 to %d stops", maxStops)
			}
			for i, symbol := range strip {
				if !known[symbol] {
					return bad(fmt.Sprintf("%s[%d]", field, i), "the name of a symbol, not %q,", symbol)
				}
			}
		}
	}

	if len(d.Lines) < 1 || len(d.Lines) > maxLines {
		return bad("lines", "1 to %d lines", maxLines)
	}
	for i, line := range d.Lines {
		for reel, row := range line {
			if row < 0 || row > 2 {
				return bad(fmt.Sprintf("lines[%d][%d]", i, reel), "a row from 0 to 2")
			}
		}
		if slices.Contains(d.Lines[:i], line) {
			return bad(fmt.Sprintf("lines[%d]", i), "a line not given before")
		}
	}

	free := d.FreeSpins
	if free.Maximum < 0 || free.Maximum > maxFreeSpins {
		return bad("free_spins.maximum", "an integer from 0 to %d", maxFreeSpins)
	}
	if free.Multiplier < 1 || free.Multiplier > maxMultiplier {
		return bad("free_spins.multiplier", "an integer from 1 to %d", maxMultiplier)
	}
	fewest := 0
	for i, n := range free.Awards {
		if n < fewest || n > free.Maximum {
			return bad(fmt.Sprintf("free_spins.awards[%d]", i), "an integer from the award before it (%d) to the maximum (%d)", fewest, free.Maximum)
		}
		fewest = n
	}

	if d.MaxWin < 1 || d.MaxWin > maxMaxWin {
		return bad("max_win", "an integer from 1 to %d", maxMaxWin)
	}
	if len(d.Stakes) < 1 || len(d.Stakes) > maxStakes {
		return bad("stakes", "1 to %d stakes", maxStakes)
	}
	// The most one spin can show, or a round can pay, in total stakes. The limits
	// above keep the products below 2^63.
	highest := max(d.MaxWin, free.Multiplier*(highestLine+highestScatter))
	previous := int64(0)
	for i, stake := range d.Stakes {
		field := fmt.Sprintf("stakes[%d]", i)
		if stake <= previous || stake > maxStake {
			return bad(field, "an integer above the stake before it (%d) and at most %d", previous, maxStake)
		}
		if stake%int64(len(d.Lines)) != 0 {
			return bad(field, "a multiple of the number of lines (%d)", len(d.Lines))
		}
		if highest > maxInteger/stake {
			return bad(field, "a stake at which no spin shows and no round pays more than %d", int64(maxInteger))
		}
		previous = stake
	}

	if n := len(d.Canonical()); n > maxDefinition {
		return bad("definition", "at most %d canonical bytes, not %d,", maxDefinition, n)
	}
	return nil
}

func isName(s string) bool {
	if len(s) < 1 || len(s) > 32 || s[0] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func isTitle(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func isVersion(s string) bool {
	parts := strings.Split(s, ".")
	for _, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	return len(parts) == 3
}

// reader reads one definition, token by token, and keeps the first error.
type reader struct {
	dec *json.Decoder
	err error
}

func (r *reader) definition(d *Definition) {
	r.object("definition", []field{
		{"format", func(at string) {
			if format := r.text(at); r.err == nil && format != Format {
				r.fail(at, strconv.Quote(Format))
			}
		}},
		{"free_spins", func(at string) {
			r.object(at, []field{
				{"awards", func(at string) {
					r.tuple(at, len(d.FreeSpins.Awards), func(at string, i int) { d.FreeSpins.Awards[i] = r.small(at) })
				}},
				{"maximum", func(at string) { d.FreeSpins.Maximum = r.small(at) }},
				{"multiplier", func(at string) { d.FreeSpins.Multiplier = r.integer(at) }},
			})
		}},
		{"id", func(at string) { d.ID = r.text(at) }},
		{"lines", func(at string) {
			r.list(at, maxLines, func(at string, _ int) {
				var line [5]int
				r.tuple(at, len(line), func(at string, i int) { line[i] = r.small(at) })
				d.Lines = append(d.Lines, line)
			})
		}},
		{"max_win", func(at string) { d.MaxWin = r.integer(at) }},
		{"name", func(at string) { d.Name = r.text(at) }},
		{"stakes", func(at string) {
			r.list(at, maxStakes, func(at string, _ int) { d.Stakes = append(d.Stakes, r.integer(at)) })
		}},
		{"strips", func(at string) {
			r.object(at, []field{
				{"base", func(at string) { r.strips(at, &d.Base) }},
				{"free", func(at string) { r.strips(at, &d.Free) }},
			})
		}},
		{"symbols", func(at string) {
			r.list(at, maxSymbols, func(at string, _ int) {
				var s Symbol
				r.object(at, []field{
					{"name", func(at string) { s.Name = r.text(at) }},
					{"pays", func(at string) {
						r.tuple(at, len(s.Pays), func(at string, i int) { s.Pays[i] = r.integer(at) })
					}},
					{"role", func(at string) { s.Role = r.text(at) }},
				})
				d.Symbols = append(d.Symbols, s)
			})
		}},
		{"version", func(at string) { d.Version = r.text(at) }},
	})
}

func (r *reader) strips(at string, strips *[5][]string) {
	r.tuple(at, len(strips), func(at string, reel int) {
		r.list(at, maxStops, func(at string, _ int) { strips[reel] = append(strips[reel], r.text(at)) })
	})
}

// fail keeps the first error: what was expected, and where.
func (r *reader) fail(at, expected string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s: %s expected", ErrDefinition, at, expected)
	}
}

func (r *reader) token(at string) json.Token {
	if r.err != nil {
		return nil
	}
	t, err := r.dec.Token()
	if err != nil {
		r.err = fmt.Errorf("%w: %s: not JSON: %w", ErrDefinition, at, err)
	}
	return t
}

type field struct {
	name string
	read func(at string)
}

// object reads an object that has each of the fields once, in any order.
func (r *reader) object(at string, fields []field) {
	if r.token(at) != json.Delim('{') {
		r.fail(at, "an object")
	}
	seen := make([]bool, len(fields))
	for r.err == nil && r.dec.More() {
		name, _ := r.token(at).(string)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		switch {
		case r.err != nil:
		case i < 0:
			r.fail(at, fmt.Sprintf("no field %q", name))
		case seen[i]:
			r.fail(at, fmt.Sprintf("field %q once", name))
		default:
			seen[i] = true
			fields[i].read(at + "." + name)
		}
	}
	r.token(at)
	for i, f := range fields {
		if !seen[i] {
			r.fail(at, fmt.Sprintf("field %q", f.name))
		}
	}
}

// list reads an array of at most limit elements.
func (r *reader) list(at string, limit int, read func(at string, i int)) (n int) {
	if r.token(at) != json.Delim('[') {
		r.fail(at, "an array")
	}
	for ; r.err == nil && r.dec.More(); n++ {
		if n == limit {
			r.fail(at, fmt.Sprintf("at most %d elements", limit))
			break
		}
		read(fmt.Sprintf("%s[%d]", at, n), n)
	}
	r.token(at)
	return n
}

// tuple reads an array of exactly n elements.
func (r *reader) tuple(at string, n int, read func(at string, i int)) {
	if r.list(at, n, read) != n {
		r.fail(at, fmt.Sprintf("%d elements", n))
	}
}

func (r *reader) text(at string) string {
	s, ok := r.token(at).(string)
	if !ok {
		r.fail(at, "a string")
	}
	return s
}

func (r *reader) integer(at string) int64 {
	n, _ := r.token(at).(json.Number)
	v, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil || v < -maxInteger || v > maxInteger {
		r.fail(at, "an integer")
	}
	return v
}

// small reads an integer that is kept as an int.
func (r *reader) small(at string) int {
	v := r.integer(at)
	if v < math.MinInt32 || v > math.MaxInt32 {
		r.fail(at, "a small integer")
	}
	return int(v)
}
