package verify

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"countroom/games/books"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/saved"

	"golang.org/x/mod/sumdb/note"
)

// KnownMost is the size in bytes of the largest saved answer that is read.
const KnownMost = saved.Most

// Known is what somebody outside kept of a house: a saved answer, which is JSON
// with a "leaf" and a "receipt" at some depth, or a bare checkpoint.
type Known struct {
	Name string // for the report, such as the file's
	Data []byte
}

// Proof is an entry that a receipt proves to be in a house's signed log.
type Proof struct {
	Index      uint64
	Leaf       []byte       // canonical
	Record     entry.Record // nil when this version does not know the entry's type
	Checkpoint tlog.Checkpoint

	Cosignatures Cosignatures // of the checkpoint
	Warnings     []string
}

// Receipt checks a saved answer alone: each leaf in it, canonicalised and
// hashed, is in the signed tree of its receipt. What is wrong with the answer
// is a *Finding or an ErrUnchecked; that the type of a proven entry is not known
// to this version is an ErrUnchecked, too.
func Receipt(data []byte, vkey string) ([]Proof, error) {
	ring, err := NewKeyring(vkey)
	if err != nil {
		return nil, err
	}
	return ring.Receipt(data)
}

// Receipt checks a saved answer by the keys of the ring.
func (ring *Keyring) Receipt(data []byte) ([]Proof, error) { return ring.ReceiptBy(data, Trust{}) }

// ReceiptBy is Receipt, and checks the cosignatures of witnesses, too.
func (ring *Keyring) ReceiptBy(data []byte, trust Trust) ([]Proof, error) {
	witnesses, err := trust.cosigners()
	if err != nil {
		return nil, err
	}
	var alone error
	pairs, err := answers(data)
	if err != nil {
		return nil, unchecked("%w", err)
	}
	var proofs []Proof
	for _, p := range pairs {
		proof, err := p.prove(ring)
		if err != nil {
			return proofs, err
		}
		proof.Record, err = books.Decode(proof.Leaf)
		if errors.Is(err, books.ErrUnknownType) {
			proof.Record = nil
			return append(proofs, proof), unchecked("the receipt holds, but of entry %d: %w", proof.Index, err)
		}
		if err != nil {
			return proofs, malformed(proof.Index, proof.Leaf, err)
		}
		proof.Cosignatures, err = trust.look(p.receipt.Checkpoint, witnesses, proof.Checkpoint.Size)
		var f *Finding
		if errors.As(err, &f) {
			return proofs, err
		}
		alone = cmp.Or(alone, err)
		proof.Warnings = proof.Cosignatures.early(proof.Record.Head().At)
		proofs = append(proofs, proof)
	}
	return proofs, alone
}

func (f *Finding) Error() string {
	return fmt.Sprintf("entry %d (%s) breaks %s: expected %s, found %s", f.Index, f.Type, f.Rule, f.Expected, f.Found)
}

// malformed is the finding that a leaf is not the canonical form of a known
// type.
func malformed(index uint64, leaf []byte, err error) *Finding {
	f := &Finding{Index: index, Type: "unknown", Rule: "canonical", Expected: "the canonical form of an entry", Found: err.Error()}
	if typ, err := entry.TypeOf(leaf); err == nil {
		f.Type = typ
	}
	var field *entry.FieldError
	if errors.As(err, &field) {
		f.Expected = field.Expected
		f.Found = fmt.Sprintf("other bytes at offset %d, field %q", field.Offset, field.Field)
	}
	return f
}

// answer is one leaf with its receipt, as a house gave them.
type answer struct {
	leaf    []byte // canonical
	receipt tlog.Receipt
}

// answers finds the objects with a leaf and a receipt in a saved answer.
func answers(data []byte) ([]answer, error) {
	list, err := saved.Read(data)
	found := make([]answer, len(list))
	for i, a := range list {
		found[i] = answer{leaf: a.Leaf, receipt: a.Receipt}
	}
	return found, err
}

// prove proves a leaf by a ring of keys.
func (a *answer) prove(ring *Keyring) (Proof, error) {
	head, err := tlog.Peek(a.receipt.Checkpoint)
	if err != nil {
		return Proof{}, unchecked("%w", err)
	}
	if err := ring.signed(a.receipt.Checkpoint, head, a.receipt.Index); err != nil {
		return Proof{}, err
	}
	return a.include()
}

// include proves a leaf under a checkpoint, whoever signed it.
func (a *answer) include() (Proof, error) {
	p := Proof{Index: a.receipt.Index, Leaf: a.leaf}
	var err error
	p.Checkpoint, err = a.receipt.Includes(a.leaf)
	switch {
	case errors.Is(err, tlog.ErrProof):
		return p, &Finding{Index: p.Index, Type: "receipt", Rule: "inclusion", Expected: "a leaf and hashes that lead to the signed root", Found: err.Error()}
	case err != nil:
		return p, unchecked("%w", err)
	}
	return p, nil
}

// kept is a signed statement about the log that somebody outside holds.
type kept struct {
	name  string
	head  tlog.Checkpoint
	leaf  bool // the statement is about a leaf, too
	index uint64
	hash  tlog.Hash

	// note is the checkpoint where the key at hand did not sign it: the log has to
	// lead to one that did.
	note *[]byte
}

// readKnown checks what outsiders kept by itself. What the house's key does not
// vouch for is no evidence against the house, since anybody could have made it.
// The result is sorted by size.
func readKnown(list []Known, v note.Verifier) ([]kept, error) {
	var all []kept
	for _, k := range list {
		if text := bytes.TrimLeft(k.Data, " \t\r\n"); len(text) == 0 || text[0] != '{' && text[0] != '[' {
			c, foreign, err := openKept(k.Data, v)
			if err != nil {
				return nil, unchecked("%s: %w", k.Name, err)
			}
			all = append(all, kept{name: k.Name, head: c, note: foreign})
			continue
		}
		pairs, err := answers(k.Data)
		if err != nil {
			return nil, unchecked("%s: %w", k.Name, err)
		}
		for _, p := range pairs {
			proof, err := p.include()
			if err != nil {
				return nil, unchecked("%s proves nothing: %w", k.Name, err)
			}
			_, foreign, err := openKept(p.receipt.Checkpoint, v)
			if err != nil {
				return nil, unchecked("%s proves nothing: %w", k.Name, err)
			}
			all = append(all, kept{name: k.Name, head: proof.Checkpoint, leaf: true, index: proof.Index, hash: tlog.LeafHash(proof.Leaf), note: foreign})
		}
	}
	slices.SortStableFunc(all, func(a, b kept) int { return cmp.Compare(a.head.Size, b.head.Size) })
	return all, nil
}

// openKept reads a checkpoint that somebody kept. Where the key at hand has not
// signed it, but one of the log's name, it is given back to be vouched for by
// the log.
func openKept(data []byte, v note.Verifier) (c tlog.Checkpoint, foreign *[]byte, err error) {
	c, err = tlog.Open(data, v)
	if !errors.Is(err, tlog.ErrSignature) {
		return c, nil, err
	}
	if name, key := tlog.SignedUnder(data, v); !name || key {
		return c, nil, err
	}
	if c, err = tlog.Peek(data); err == nil && c.Origin != v.Name() {
		err = fmt.Errorf("a checkpoint of %q, expected one of %q", c.Origin, v.Name())
	}
	return c, &data, err
}

// compare takes what outsiders kept along with a replay.
type compare struct {
	report *Report
	bySize []kept            // those not reached yet
	leaves map[uint64][]kept // by index

	mismatches []mismatch // settle reports them
}

func newCompare(report *Report, all []kept, head tlog.Checkpoint) *compare {
	c := &compare{report: report, leaves: map[uint64][]kept{}}
	for i, k := range all {
		if k.head.Size > head.Size {
			report.Known++
			c.find(k, Finding{
				Index: head.Size, Type: "checkpoint", Rule: "log-shorter",
				Expected: fmt.Sprintf("at least the %d entries that the house signed (%s)", k.head.Size, k.name),
				Found:    fmt.Sprintf("%d: the log is shorter than a checkpoint the house signed: rolled back or truncated, or this is an older copy of it", head.Size),
			})
		} else {
			c.bySize = append(c.bySize, all[i])
		}
		if k.leaf && k.index < head.Size {
			c.leaves[k.index] = append(c.leaves[k.index], k)
		}
	}
	return c
}

func (c *compare) find(k kept, f Finding) {
	c.mismatches = append(c.mismatches, mismatch{k, f})
}

// wants reports whether somebody kept a checkpoint of this size.
func (c *compare) wants(size uint64) bool { return len(c.bySize) > 0 && c.bySize[0].head.Size == size }

// root compares the log's root at a size.
func (c *compare) root(size uint64, root tlog.Hash) {
	for ; c.wants(size); c.bySize = c.bySize[1:] {
		k := &c.bySize[0]
		c.report.Known++
		if k.head.Root != root {
			c.find(*k, Finding{
				Index: size, Type: "checkpoint", Rule: "fork",
				Expected: fmt.Sprintf("root %x at size %d, as the house signed (%s)", k.head.Root, size, k.name),
				Found:    fmt.Sprintf("root %x: two histories under one signature", root),
			})
		}
	}
}

// leaf compares the log's leaf at an index.
func (c *compare) leaf(index uint64, leaf []byte, hash tlog.Hash) {
	if len(c.leaves) == 0 {
		return
	}
	for _, k := range c.leaves[index] {
		if k.hash != hash {
			typ, _ := entry.TypeOf(leaf)
			c.find(k, Finding{
				Index: index, Type: typ, Rule: "receipt-leaf",
				Expected: fmt.Sprintf("the leaf of hash %x, as the house signed (%s)", k.hash, k.name),
				Found:    fmt.Sprintf("another, of hash %x", hash),
			})
		}
	}
}
