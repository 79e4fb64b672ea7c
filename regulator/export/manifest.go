// Package export makes and checks what an auditor takes home: a span of a house's log as one file, with what binds it
// to a signed checkpoint, tables that are folds of its leaves, and the house's signature over all of it.
//
// Writer and checker go one road: the tables of an export are those that Tables makes of the leaves, on the server and
// on the auditor's machine. The file is of one form, byte for byte (docs/formats/export.md), so that the same range
// under the same checkpoint gives the same bytes, and a reader needs to believe nothing about it.
package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"

	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// Format names this version of exports.
const Format = "countroom/export/v1"

// Predicate types of the two statements.
const (
	PredicateType     = "urn:countroom:export:v1"
	SpanPredicateType = "urn:countroom:span:v1"
)

// Names of what is in an export.
const (
	leavesName      = "leaves.jsonl"
	rangeName       = "range-proof.json"
	proofsName      = "proofs.jsonl"
	checkpointName  = "checkpoint"
	keysName        = "keys.json"
	gamesName       = "games.jsonl"
	seedsName       = "seeds.jsonl"
	boundsName      = "bounds.jsonl"
	gamesFolder     = "games/"
	blobsFolder     = "blobs/"
	ManifestName    = "manifest.json"
	BundleName      = "export.sigstore.json"
	CertificateName = "span.sigstore.json"
)

// Limits of what is read into memory, in bytes.
const (
	manifestMost   = 1 << 20
	checkpointMost = 64 << 10
	proofMost      = 64 << 10 // of a range
	keysMost       = 2 << 20
	lineMost       = entry.MaxSize + 16<<10 // of a leaf with its proof
)

var (
	// ErrContainer reports a file that is no export, or not whole.
	ErrContainer = errors.New("container")
	// ErrRange reports a range that the log does not have.
	ErrRange = errors.New("range")
)

// Filter says what of the range is in an export; the zero value takes everything.
type Filter struct {
	Game   string `json:"game"`
	Player string `json:"player"` // reference in hex
	Type   string `json:"type"`
}

// None reports whether everything is in.
func (f *Filter) None() bool { return *f == Filter{} }

// Check holds the filter's own form.
func (f *Filter) Check() error {
	if f.Player != "" {
		if b, err := hex.DecodeString(f.Player); err != nil || len(b) != len(entry.Ref{}) || hex.EncodeToString(b) != f.Player {
			return fmt.Errorf("player %q: expected a reference of 32 lower-case hex digits", f.Player)
		}
	}
	for _, text := range []string{f.Game, f.Type} {
		if len(text) > 64 {
			return fmt.Errorf("game, type: expected at most 64 characters, found %d", len(text))
		}
		for i := range len(text) {
			if text[i] <= ' ' || text[i] > '~' || text[i] == '"' || text[i] == '\\' {
				return fmt.Errorf("game, type %q: expected printable ASCII without quotation mark and backslash", text)
			}
		}
	}
	return nil
}

// Head is a checkpoint's size and root.
type Head struct {
	Root string `json:"root"` // hex
	Size uint64 `json:"size"`
}

// Range is entries from an index up to, and without, another.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Span is a time from an instant up to, and without, another.
type Span struct {
	From string `json:"from"` // as entries write times
	To   string `json:"to"`
}

func (s *Span) times() (from, to entry.Time, err error) {
	if from, err = entry.ParseTime(s.From); err == nil {
		to, err = entry.ParseTime(s.To)
	}
	if err == nil && from >= to {
		err = fmt.Errorf("%s is not before %s", s.From, s.To)
	}
	return from, to, err
}

// SpanOf is the span between two instants.
func SpanOf(from, to entry.Time) *Span { return &Span{from.String(), to.String()} }

// File is an entry of the container.
type File struct {
	Bytes  int64  `json:"bytes"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// Manifest says what an export holds.
type Manifest struct {
	Checkpoint Head   `json:"checkpoint"`
	Complete   bool   `json:"complete"` // every entry of the range is in it
	Entries    uint64 `json:"entries"`
	Files      []File `json:"files"`
	Filter     Filter `json:"filter"`
	Format     string `json:"format"`
	Origin     string `json:"origin"`
	Parquet    string `json:"parquet"` // the library that wrote those tables
	Range      Range  `json:"range"`
	Span       *Span  `json:"span"` // of the range, where it was asked for by time
}

// predicate is what the statement says beside the manifest's digest.
type predicate struct {
	Checkpoint Head   `json:"checkpoint"`
	Complete   bool   `json:"complete"`
	Entries    uint64 `json:"entries"`
	Filter     Filter `json:"filter"`
	Origin     string `json:"origin"`
	Range      Range  `json:"range"`
	Span       *Span  `json:"span"`
}

func (m *Manifest) encode() ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil {
		b, err = entry.Canonical(b)
	}
	return append(b, '\n'), err
}

// statement is the payload that the key for exports signs.
func (m *Manifest) statement(encoded []byte) ([]byte, error) {
	return dsse.NewStatement(PredicateType, m.predicate(), dsse.Subject{Name: ManifestName, Digest: dsse.SHA256(encoded)})
}

func (m *Manifest) predicate() *predicate {
	return &predicate{m.Checkpoint, m.Complete, m.Entries, m.Filter, m.Origin, m.Range, m.Span}
}

// parseManifest is the exact inverse of encode.
func parseManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := dsse.Strict(data, m); err != nil {
		return nil, err
	}
	again, err := m.encode()
	if err != nil || string(again) != string(data) {
		return nil, fmt.Errorf("%w: expected canonical JSON and a line's end", ErrContainer)
	}
	return m, nil
}

func headOf(c tlog.Checkpoint) Head { return Head{hex.EncodeToString(c.Root[:]), c.Size} }

func newHash() hash.Hash { return sha256.New() }

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
