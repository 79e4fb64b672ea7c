// Package evidence says of two signed heads of one log whether the later one
// extends the earlier one, and keeps what shows that it does not in a file that
// stands for itself: whoever has it and the log's verifier key needs to trust
// nobody, nor the one who wrote it.
package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"countroom/ledger/tlog"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Format is the first member of a file.
const Format = "countroom/evidence/v1"

// FileMost bounds a file: an entry bundle of the largest size in base64, and
// room for the rest.
const FileMost = 32 << 20

// Kinds of files.
const (
	// TwoRoots: one key signed two roots of one size.
	TwoRoots = "two-roots"
	// NotAPrefix: the tree that was signed later has another root at the size
	// that was signed earlier.
	NotAPrefix = "not-a-prefix"
	// Shrunk: a signed head was shown after a larger one. Each by itself is in
	// order: only whoever wrote the file says which came later.
	Shrunk = "shrunk"
	// BadData: a tile or bundle is not what the signed root says. Nobody signs
	// these bytes: only whoever wrote the file says where he got them.
	BadData = "bad-data"
)

// File is the content of an evidence file.
type File struct {
	Format string   `json:"format"`
	Kind   string   `json:"kind"`
	Origin string   `json:"origin"`
	VKeys  []string `json:"vkeys"` // that the heads are signed by
	SeenAt string   `json:"seen_at"`
	From   []string `json:"from"` // where the heads were shown

	First  string `json:"first"`            // checkpoint with its signatures; the smaller one where sizes differ
	Second string `json:"second,omitempty"` // the other

	// Of a NotAPrefix: the root that the second's tree has at the first's size,
	// and the consistency proof between that and the second.
	Prefix []byte   `json:"prefix,omitempty"`
	Proof  [][]byte `json:"proof,omitempty"`

	// Of BadData.
	Path     string `json:"path,omitempty"`
	Expected string `json:"expected,omitempty"`
	Found    string `json:"found,omitempty"`
	Data     []byte `json:"data,omitempty"`
}

// Head is a signed checkpoint as it was shown.
type Head struct {
	tlog.Checkpoint
	Note []byte
	From string
}

// new starts a file.
func begin(kind string, vkeys []string, at time.Time, first, second Head) *File {
	f := &File{Format: Format, Kind: kind, Origin: first.Origin, VKeys: vkeys, SeenAt: at.UTC().Format(time.RFC3339), From: []string{first.From}, First: string(first.Note)}
	if second.Note != nil {
		f.Second, f.From = string(second.Note), append(f.From, second.From)
	}
	return f
}

// Compare holds two heads against each other, of which the second is not the
// smaller one. The tree is the second's; it is not looked at when the sizes are
// the same. Without evidence the result is nil: the second extends the first.
func Compare(ctx context.Context, vkeys []string, at time.Time, first, second Head, tree *Tree) (*File, error) {
	if first.Size == second.Size {
		if first.Root == second.Root {
			return nil, nil
		}
		return begin(TwoRoots, vkeys, at, first, second), nil
	}
	b, err := tree.Builder(ctx, first.Size)
	if err != nil {
		return nil, err
	}
	prefix := b.Root()
	if prefix == first.Root {
		return nil, nil
	}
	f := begin(NotAPrefix, vkeys, at, first, second)
	f.Prefix = prefix[:]
	if f.Proof, err = tree.Consistency(ctx, first.Size); err != nil {
		return nil, err
	}
	return f, nil
}

// Smaller returns the file about a head that was shown after a larger one.
func Smaller(vkeys []string, at time.Time, small, large Head) *File {
	return begin(Shrunk, vkeys, at, small, large)
}

// Bad returns the file about bytes that are not what a head says.
func Bad(vkeys []string, at time.Time, head Head, path string, data []byte, expected, found string) *File {
	f := begin(BadData, vkeys, at, head, Head{})
	f.Path, f.Data, f.Expected, f.Found = path, data, expected, found
	return f
}

// Name is a file name that the same finding has again.
func (f *File) Name() string {
	h := sha256.New()
	for _, s := range []string{f.Kind, f.First, f.Second, f.Path} {
		fmt.Fprintf(h, "%d\n%s\n", len(s), s)
	}
	h.Write(f.Data)
	return fmt.Sprintf("%s-%x.json", f.Kind, h.Sum(nil)[:8])
}

// Append appends the file's bytes.
func (f *File) Append(dst []byte) ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	return append(append(dst, b...), '\n'), err
}

// Parse reads a file.
func Parse(data []byte) (*File, error) {
	if len(data) > FileMost {
		return nil, fmt.Errorf("evidence: %d bytes, expected at most %d", len(data), FileMost)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	f := new(File)
	if err := d.Decode(f); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("evidence: expected one JSON document and nothing after it")
	}
	if f.Format != Format {
		return nil, fmt.Errorf("evidence: format %.50q, expected %s", f.Format, Format)
	}
	return f, nil
}

// witnessed is the evidence of a countroom-witness.
type witnessed struct {
	Against   string   `json:"against"`
	Origin    string   `json:"origin"`
	SeenAt    string   `json:"seen_at"`
	Recorded  string   `json:"recorded"`
	Submitted string   `json:"submitted"`
	Old       uint64   `json:"old"`
	Proof     []string `json:"proof"`
}

// FromWitness reads the evidence that a countroom-witness keeps. Of two sizes it
// has no more than a proof that did not hold, which shows nothing by itself.
func FromWitness(data []byte) (*File, error) {
	if len(data) > FileMost {
		return nil, fmt.Errorf("evidence: %d bytes, expected at most %d", len(data), FileMost)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	w := new(witnessed)
	if err := d.Decode(w); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return &File{Format: Format, Kind: TwoRoots, Origin: w.Origin, SeenAt: w.SeenAt, First: w.Recorded, Second: w.Submitted}, nil
}

// ErrUnproven says that a file does not show what it says.
var ErrUnproven = errors.New("proves nothing")

// Verdict is what a file shows.
type Verdict struct {
	First, Second tlog.Checkpoint
	// Proven: the key signed two histories, whoever wrote the file. Otherwise the
	// file is a statement of whoever wrote it.
	Proven bool
	Text   string
}

// Check says what a file shows. Signed reports whether a key of the log signed a
// checkpoint.
func (f *File) Check(signed func(note []byte, head tlog.Checkpoint) error) (v Verdict, err error) {
	head := func(which, note string) (tlog.Checkpoint, error) {
		c, err := tlog.Peek([]byte(note))
		if err == nil {
			err = signed([]byte(note), c)
		}
		if err == nil && c.Origin != f.Origin {
			err = fmt.Errorf("origin %q, expected %q", c.Origin, f.Origin)
		}
		if err != nil {
			return c, fmt.Errorf("%w: the %s checkpoint: %w", ErrUnproven, which, err)
		}
		return c, nil
	}
	if v.First, err = head("first", f.First); err != nil {
		return v, err
	}
	if f.Kind == BadData {
		return v, f.bad(&v)
	}
	if v.Second, err = head("second", f.Second); err != nil {
		return v, err
	}
	switch f.Kind {
	case TwoRoots:
		if v.First.Size != v.Second.Size || v.First.Root == v.Second.Root {
			return v, fmt.Errorf("%w: size %d with root %x and size %d with root %x: expected one size with two roots", ErrUnproven, v.First.Size, v.First.Root, v.Second.Size, v.Second.Root)
		}
		v.Text = fmt.Sprintf("two roots of size %d are signed: %x and %x", v.First.Size, v.First.Root, v.Second.Root)
	case NotAPrefix:
		if v.First.Size >= v.Second.Size || len(f.Prefix) != len(tlog.Hash{}) || bytes.Equal(f.Prefix, v.First.Root[:]) {
			return v, fmt.Errorf("%w: expected a smaller and a larger head, and another root at the smaller size", ErrUnproven)
		}
		if v.First.Size > 0 {
			if err := proof.VerifyConsistency(rfc6962.DefaultHasher, v.First.Size, v.Second.Size, f.Proof, f.Prefix, v.Second.Root[:]); err != nil {
				return v, fmt.Errorf("%w: %w", ErrUnproven, err)
			}
		} else if !bytes.Equal(f.Prefix, rfc6962.DefaultHasher.EmptyRoot()) {
			return v, fmt.Errorf("%w: the empty tree has another root", ErrUnproven)
		}
		v.Text = fmt.Sprintf("the tree of size %d that is signed had the root %x at size %d, where %x is signed: two histories", v.Second.Size, f.Prefix, v.First.Size, v.First.Root)
	case Shrunk:
		if v.First.Size >= v.Second.Size {
			return v, fmt.Errorf("%w: sizes %d and %d: expected a smaller and a larger one", ErrUnproven, v.First.Size, v.Second.Size)
		}
		v.Text = fmt.Sprintf("both are signed; that size %d was shown after size %d is the word of whoever wrote this: a log that was rolled back, or an older copy of it", v.First.Size, v.Second.Size)
		return v, nil
	default:
		return v, fmt.Errorf("%w: kind %.50q: expected %s, %s, %s or %s", ErrUnproven, f.Kind, TwoRoots, NotAPrefix, Shrunk, BadData)
	}
	v.Proven = true
	return v, nil
}

func (f *File) bad(v *Verdict) error {
	if f.Path == "" {
		return fmt.Errorf("%w: expected the path of what was bad", ErrUnproven)
	}
	v.Text = fmt.Sprintf("the checkpoint of size %d is signed; that %q was served with other bytes than its root says (expected %q, found %q) is the word of whoever wrote this", v.First.Size, f.Path, f.Expected, f.Found)
	return nil
}

// SignedBy is for Check: who signs are the holders of verifier keys.
func SignedBy(vkeys []string) func(note []byte, head tlog.Checkpoint) error {
	return func(note []byte, _ tlog.Checkpoint) error {
		err := fmt.Errorf("%w: there is no verifier key", tlog.ErrSignature)
		for _, k := range vkeys {
			v, bad := tlog.NewVerifier(k)
			if bad != nil {
				return bad
			}
			if _, err = tlog.Open(note, v); err == nil {
				return nil
			}
		}
		return err
	}
}
