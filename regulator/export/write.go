package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/rounds"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/rngcert/assessment"
)

// Log is where a writer takes entries from. What it says of an entry, and of the tree of a size, it says for ever.
type Log interface {
	// Leaves yields entries in order; the leaf is the caller's until yield returns.
	Leaves(from, to uint64, yield func(index uint64, leaf []byte) error) error
	// Inclusion is the proof of an entry in the tree of a size, from the leaf to the root.
	Inclusion(index, size uint64) ([]tlog.Hash, error)
	// Node is the hash of a full subtree, by its level and its place there.
	Node(level uint, index uint64) (tlog.Hash, error)
	// Epoch returns the entries of a seed epoch in the order of the log, and Keys those of the house's keys, the first
	// entry among them.
	Epoch(ctx context.Context, n uint64) ([]uint64, error)
	Keys(ctx context.Context) ([]uint64, error)
	// Blob is what an entry names by its digest.
	Blob(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Request says what to export.
type Request struct {
	Range  Range
	Span   *Span // with the range that Between found for it
	Filter Filter
	// Checkpoint is a note that the house signed, of a size that the range is within.
	Checkpoint []byte
}

// Options of a writer.
type Options struct {
	Sign func(payload []byte) (bundle []byte, err error) // by the house's key for exports
	// Scratch is a directory for what is put in order later, as large as the tables.
	Scratch string
	// Progress, if set, is called now and then with entries read and in all. Its error ends the work.
	Progress func(done, total uint64) error
}

// Summary is what was written.
type Summary struct {
	Manifest    *Manifest
	Certificate *Certificate // of a span
	Bytes       int64
}

// errMany refuses what would not fit an export's limits.
var errMany = errors.New("too much for one export: expected a smaller range")

// Write writes an export to a file that is empty.
func Write(ctx context.Context, out io.WriterAt, log Log, req Request, opts Options) (*Summary, error) {
	w, err := newWriter(ctx, log, req, opts)
	if err != nil {
		return nil, err
	}
	defer w.discard()
	return w.write(out)
}

// Certify returns the certificate of a span, signed, without an export around it.
func Certify(ctx context.Context, log Log, req Request, opts Options) (*Certificate, []byte, error) {
	if req.Span == nil || !req.Filter.None() {
		return nil, nil, fmt.Errorf("%w: expected a span of time and no filter", ErrRange)
	}
	w, err := newWriter(ctx, log, req, opts)
	if err != nil {
		return nil, nil, err
	}
	defer w.discard()
	w.dry = true
	h := newHash()
	out := bufio.NewWriterSize(h, bufferSize)
	if err := w.leaves(out); err != nil {
		return nil, nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, nil, err
	}
	return w.certify(hexOf(h))
}

type writer struct {
	ctx    context.Context
	log    Log
	req    Request
	opts   Options
	m      Manifest
	dry    bool
	tables *Tables
	spools map[string]*spool
	names  []string // of the spools, in order
	calls  calls
}

// spool is a file of the scratch directory.
type spool struct {
	*os.File
	buf *bufio.Writer
}

func newWriter(ctx context.Context, log Log, req Request, opts Options) (*writer, error) {
	head, err := tlog.Peek(req.Checkpoint)
	if err != nil {
		return nil, err
	}
	if err := req.Filter.Check(); err != nil {
		return nil, err
	}
	if r := req.Range; r.From > r.To || r.To > head.Size {
		return nil, fmt.Errorf("%w: %d to %d of a log of %d entries", ErrRange, r.From, r.To, head.Size)
	}
	return &writer{
		ctx: ctx, log: log, req: req, opts: opts, spools: map[string]*spool{}, calls: newCalls(),
		m: Manifest{Checkpoint: headOf(head), Complete: req.Filter.None(), Filter: req.Filter, Format: Format, Origin: head.Origin, Parquet: ParquetWriter, Range: req.Range, Span: req.Span},
	}, nil
}

// spool returns the writer of a file that is put into the container later.
func (w *writer) spool(name string) io.Writer {
	if w.dry {
		return io.Discard
	}
	f, err := os.CreateTemp(w.opts.Scratch, ".export-*")
	if err != nil {
		return failing{err}
	}
	os.Remove(f.Name()) // it goes with the process
	s := &spool{f, bufio.NewWriterSize(f, bufferSize)}
	w.spools[name] = s
	w.names = append(w.names, name)
	return s.buf
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func (w *writer) discard() {
	for _, s := range w.spools {
		s.Close()
	}
}

func (w *writer) write(out io.WriterAt) (*Summary, error) {
	p := &packer{out: out}
	add := func(name string, write func(io.Writer) error) error {
		f, err := p.add(name, write)
		w.m.Files = append(w.m.Files, f)
		return err
	}
	addBytes := func(name string, data []byte) error {
		return add(name, func(out io.Writer) error { _, err := out.Write(data); return err })
	}
	if err := add(leavesName, w.leaves); err != nil {
		return nil, err
	}
	if w.m.Complete {
		proof, err := proveRange(w.req.Range.From, w.req.Range.To, w.m.Checkpoint.Size, w.log.Node)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(proof)
		if err != nil {
			return nil, err
		}
		if err := addBytes(rangeName, append(b, '\n')); err != nil {
			return nil, err
		}
	}
	if err := addBytes(checkpointName, w.req.Checkpoint); err != nil {
		return nil, err
	}
	keys, err := w.keys()
	if err != nil {
		return nil, err
	}
	if err := addBytes(keysName, keys); err != nil {
		return nil, err
	}
	definitions := map[string][]byte{}
	if err := add(gamesName, func(out io.Writer) error { return w.context(out, slices.Sorted(maps.Keys(w.calls.games)), definitions) }); err != nil {
		return nil, err
	}
	seeds, err := w.seeds()
	if err != nil {
		return nil, err
	}
	if err := add(seedsName, func(out io.Writer) error { return w.context(out, seeds, nil) }); err != nil {
		return nil, err
	}
	if w.req.Span != nil {
		if err := add(boundsName, func(out io.Writer) error { return w.context(out, w.bounds(), nil) }); err != nil {
			return nil, err
		}
	}
	for _, name := range w.names {
		s := w.spools[name]
		if err := add(name, func(out io.Writer) error {
			if err := s.buf.Flush(); err != nil {
				return err
			}
			if _, err := s.Seek(0, io.SeekStart); err != nil {
				return err
			}
			_, err := io.Copy(out, s.File)
			return err
		}); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		if err := addBytes(name, definitions[name]); err != nil {
			return nil, err
		}
	}
	if err := w.named(addBytes); err != nil {
		return nil, err
	}
	sum := &Summary{Manifest: &w.m}
	manifest, err := w.m.encode()
	if err != nil {
		return nil, err
	}
	if len(manifest) > manifestMost {
		return nil, fmt.Errorf("%w: a manifest of %d bytes", errMany, len(manifest))
	}
	payload, err := w.m.statement(manifest)
	if err != nil {
		return nil, err
	}
	bundle, err := w.opts.Sign(payload)
	if err != nil {
		return nil, err
	}
	files := w.m.Files
	if err := errors.Join(addBytes(ManifestName, manifest), addBytes(BundleName, bundle)); err != nil {
		return nil, err
	}
	if w.req.Span != nil && w.m.Complete {
		var signed []byte
		if sum.Certificate, signed, err = w.certify(files[0].SHA256); err != nil {
			return nil, err
		}
		if err := addBytes(CertificateName, signed); err != nil {
			return nil, err
		}
	}
	w.m.Files = files
	sum.Bytes, err = p.end()
	return sum, err
}

// leaves writes the leaves, and folds them into the tables beside.
func (w *writer) leaves(out io.Writer) (err error) {
	var proofs io.Writer
	if !w.m.Complete {
		proofs = w.spool(proofsName)
	}
	w.tables = newTables(w.m.Complete, w.spool)
	defer func() { err = errors.Join(err, w.tables.close()) }()
	r := w.req.Range
	var buf []byte
	produce := func(yield func(index uint64, leaf []byte) error) error { return w.log.Leaves(r.From, r.To, yield) }
	return stream(w.ctx, produce, nil, func(b *batch, i int) error {
		index, leaf := b.indexes[i], b.leaves[i]
		if done := index - r.From; done%(1<<14) == 0 && w.opts.Progress != nil {
			if err := w.opts.Progress(done, r.To-r.From); err != nil {
				return err
			}
		}
		if b.failed[i] != nil {
			return fmt.Errorf("entry %d: %w", index, b.failed[i])
		}
		record := b.records[i]
		if !w.req.Filter.takes(leaf, record) {
			return nil
		}
		w.m.Entries++
		buf = append(append(buf[:0], leaf...), '\n')
		if _, err := out.Write(buf); err != nil {
			return err
		}
		if proofs != nil {
			hashes, err := w.log.Inclusion(index, w.m.Checkpoint.Size)
			if err != nil {
				return err
			}
			p := proven{hashes: hashes, index: index}
			if _, err := proofs.Write(append(p.append(buf[:0]), '\n')); err != nil {
				return err
			}
		}
		if err := w.calls.note(index, record); err != nil {
			return err
		}
		return w.tables.entry(index, record)
	})
}

// calls is what entries call for beside themselves.
type calls struct {
	games  map[uint64]bool // entries that enabled what was played
	epochs map[uint64]bool // that were drawn from
	blobs  map[[32]byte]bool
}

func newCalls() calls {
	return calls{map[uint64]bool{}, map[uint64]bool{}, map[[32]byte]bool{}}
}

func (c *calls) note(index uint64, record entry.Record) error {
	switch r := record.(type) {
	case *rounds.Settled:
		c.games[r.Enabled], c.epochs[r.Draw.Epoch] = true, true
		return nil
	case *rounds.GameEnabled:
		c.games[index] = true
	case *assessment.Assessed:
		c.blobs[r.Bundle], c.blobs[r.Report] = true, true
	case *certificates.Certified:
		c.blobs[r.Blob] = true
	}
	if len(c.games)+len(c.blobs) > entriesMost-64 {
		return fmt.Errorf("%w: %d definitions and %d documents", errMany, len(c.games), len(c.blobs))
	}
	return nil
}

// takes reports whether an entry is in.
func (f *Filter) takes(leaf []byte, r entry.Record) bool {
	if f.None() {
		return true
	}
	if f.Type != "" && f.Type != r.Type() {
		return false
	}
	if s, ok := r.(*rounds.Settled); ok {
		return (f.Player == "" || f.Player == s.Player.String()) && (f.Game == "" || f.Game == s.Game)
	}
	if f.Player == "" && f.Game == "" {
		return true
	}
	v, err := entry.Parse(leaf)
	if err != nil {
		return false
	}
	for name, want := range map[string]string{"player": f.Player, "game": f.Game} {
		if got, ok := v.Get(name); want != "" && !(ok && got.Kind == entry.KindString && got.Text == want) {
			return false
		}
	}
	return true
}

// one returns a leaf with its proof.
func (w *writer) one(index uint64) (p proven, err error) {
	p.index = index
	if err := w.log.Leaves(index, index+1, func(_ uint64, leaf []byte) error {
		p.leaf = slices.Clone(leaf)
		return nil
	}); err != nil {
		return p, err
	}
	p.hashes, err = w.log.Inclusion(index, w.m.Checkpoint.Size)
	return p, err
}

// context writes entries with their proofs, and gathers the definitions of games among them.
func (w *writer) context(out io.Writer, list []uint64, definitions map[string][]byte) error {
	var buf []byte
	for _, index := range list {
		p, err := w.one(index)
		if err != nil {
			return err
		}
		if definitions != nil {
			var r rounds.GameEnabled
			if err := entry.Decode(p.leaf, &r); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
			definitions[gamesFolder+hex.EncodeToString(r.Maths[:])+".json"] = slices.Clone(r.Definition)
		}
		if _, err := out.Write(append(p.append(buf[:0]), '\n')); err != nil {
			return err
		}
	}
	return nil
}

// seeds are the entries of the epochs that were drawn from, as of the checkpoint.
func (w *writer) seeds() (list []uint64, err error) {
	for n := range w.calls.epochs {
		of, err := w.log.Epoch(w.ctx, n)
		if err != nil {
			return nil, fmt.Errorf("epoch %d: %w", n, err)
		}
		list = append(list, of...)
	}
	slices.Sort(list)
	return slices.DeleteFunc(list, func(index uint64) bool { return index >= w.m.Checkpoint.Size }), nil
}

// bounds are the entries on both sides of the span.
func (w *writer) bounds() (list []uint64) {
	if from := w.req.Range.From; from > 0 {
		list = append(list, from-1)
	}
	return append(list, w.req.Range.To)
}

// keys are the entries of the house's keys as a saved answer.
func (w *writer) keys() ([]byte, error) {
	list, err := w.log.Keys(w.ctx)
	if err != nil {
		return nil, err
	}
	type saved struct {
		Leaf    json.RawMessage `json:"leaf"`
		Receipt string          `json:"receipt"`
	}
	out := []saved{}
	for _, index := range list {
		if index >= w.m.Checkpoint.Size {
			continue
		}
		p, err := w.one(index)
		if err != nil {
			return nil, err
		}
		out = append(out, saved{p.leaf, string(tlog.AppendReceipt(nil, index, p.hashes, w.req.Checkpoint))})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(out)
	if err == nil && b.Len() > keysMost {
		err = fmt.Errorf("%w: a key history of %d bytes", errMany, b.Len())
	}
	return b.Bytes(), err
}

// named adds what entries name by their digests.
func (w *writer) named(add func(name string, data []byte) error) error {
	list := slices.SortedFunc(maps.Keys(w.calls.blobs), func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) })
	for _, digest := range list {
		data, err := w.log.Blob(w.ctx, digest)
		if err != nil {
			return fmt.Errorf("document %x: %w", digest, err)
		}
		if err := add(blobsFolder+hex.EncodeToString(digest[:]), data); err != nil {
			return err
		}
	}
	return nil
}

// certify signs the certificate of the span.
func (w *writer) certify(leaves string) (*Certificate, []byte, error) {
	c, err := w.tables.certificate(&w.m)
	if err != nil {
		return nil, nil, err
	}
	payload, err := c.statement(leaves)
	if err != nil {
		return nil, nil, err
	}
	signed, err := w.opts.Sign(payload)
	if err == nil && len(signed) > dsse.Most {
		err = fmt.Errorf("%w: a certificate of %d bytes", errMany, len(signed))
	}
	return c, signed, err
}

// Between finds the entries of a span, which has to be over: an entry after it says so.
func Between(log Log, size uint64, span *Span) (r Range, err error) {
	from, to, err := span.times()
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrRange, err)
	}
	if r.From, err = search(log, size, from); err != nil {
		return r, err
	}
	if r.To, err = search(log, size, to); err == nil && r.To == size {
		err = fmt.Errorf("%w: no entry is of %s or later yet, so the span is not over", ErrRange, span.To)
	}
	return r, err
}

// search finds the first entry that is not before an instant.
func search(log Log, size uint64, at entry.Time) (uint64, error) {
	low, high := uint64(0), size
	for low < high {
		middle := low + (high-low)/2
		var time entry.Time
		if err := log.Leaves(middle, middle+1, func(_ uint64, leaf []byte) error {
			r, err := books.Decode(leaf)
			if err == nil {
				time = r.Head().At
			}
			return err
		}); err != nil {
			return 0, fmt.Errorf("entry %d: %w", middle, err)
		}
		if time < at {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, nil
}
