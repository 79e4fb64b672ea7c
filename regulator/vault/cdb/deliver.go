package cdb

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"countroom/ledger/entry"
	"countroom/regulator/vault"
)

// ErrNothing says that there is nothing new to deliver.
var ErrNothing = errors.New("nothing to deliver")

// Correction changes a record that was delivered: it is made anew from its entry or, with a reason, cancelled.
type Correction struct {
	Index  uint64 // of its entry
	Cancel string
}

var reasonForm = regexp.MustCompile(`^[a-z]+(-[a-z]+){0,7}$`)

const reasonMost = 64

// errReason refuses words that could hold more than a reason: a delivery has no free text.
var errReason = errors.New("expected a reason of small letters and hyphens, such as delivered-in-error")

// Check refuses a reason that is not one.
func (c *Correction) Check() error {
	if c.Cancel != "" && (len(c.Cancel) > reasonMost || !reasonForm.MatchString(c.Cancel)) {
		return fmt.Errorf("%.64q: %w", c.Cancel, errReason)
	}
	return nil
}

// Deliver adds to a vault the entries from where its last delivery ended up to, and without, an index. The first
// delivery begins at from, a later one must, unless from is nil. A delivery that does not reconcile with the log is
// refused with a *vault.Difference and leaves nothing behind.
func Deliver(ctx context.Context, log *vault.Log, dir string, from *uint64, to uint64) (*Manifest, error) {
	w, err := open(ctx, log, dir)
	if err != nil {
		return nil, err
	}
	defer w.dir.Close()
	return w.deliver(from, to)
}

func (w *writer) deliver(from *uint64, to uint64) (*Manifest, error) {
	start := w.chain.end()
	switch {
	case from == nil:
	case len(w.chain.list) == 0:
		start = *from
	case *from != start:
		return nil, fmt.Errorf("entries from %d: expected %d, where the last delivery ended", *from, start)
	}
	if size := w.log.Head().Size; to > size {
		return nil, fmt.Errorf("entries up to %d: the checkpoint is of %d", to, size)
	}
	if start >= to {
		return nil, fmt.Errorf("%w: the vault has the entries up to %d", ErrNothing, start)
	}
	return w.place(KindEntries, start, to, func() error {
		return w.log.Records(start, to, func(index uint64, leaf []byte, r entry.Record) error {
			record, why, err := w.record(index, leaf, r, w.log.Head())
			switch {
			case err != nil:
				return err
			case record == nil:
				w.omitted.Add(r.Type(), why)
				return nil
			}
			return w.add(record)
		})
	})
}

// Correct adds a delivery of corrections to a vault.
func Correct(ctx context.Context, log *vault.Log, dir string, list []Correction) (*Manifest, error) {
	if len(list) == 0 {
		return nil, ErrNothing
	}
	w, err := open(ctx, log, dir)
	if err != nil {
		return nil, err
	}
	defer w.dir.Close()
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Correction) int { return int(a.Index) - int(b.Index) })
	end := w.chain.end()
	return w.place(KindCorrections, end, end, func() error {
		for _, c := range list {
			if err := c.Check(); err != nil {
				return err
			}
			if err := w.correct(c); err != nil {
				return err
			}
		}
		return nil
	})
}

// writer makes one delivery.
type writer struct {
	ctx    context.Context
	log    *vault.Log
	path   string
	dir    *vault.Dir
	chain  *chain
	record mapping

	folder  string
	m       *Manifest
	open    map[Kind]*file
	numbers map[Kind]uint64
	omitted vault.Omissions

	wrote func() error // if set, is called after each file
}

func open(ctx context.Context, log *vault.Log, path string) (*writer, error) {
	dir, err := vault.OpenDir(path)
	if err != nil {
		return nil, err
	}
	c, err := readChain(os.DirFS(path))
	if err == nil && len(c.list) > 0 && c.list[0].Origin != log.Head().Origin {
		err = fmt.Errorf("%s is the vault of %s: expected %s", path, c.list[0].Origin, log.Head().Origin)
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &writer{ctx: ctx, log: log, path: path, dir: dir, chain: c, record: recordOf, open: map[Kind]*file{}, numbers: map[Kind]uint64{}, omitted: vault.Omissions{}}, nil
}

// place writes a delivery, holds it against the log as anybody would, and gives it its name.
func (w *writer) place(kind string, from, to uint64, records func() error) (*Manifest, error) {
	head := w.log.Head()
	w.m = &Manifest{
		Format: Format, Origin: head.Origin, Sequence: uint64(len(w.chain.list)) + 1, Kind: kind, Previous: w.chain.last,
		Entries: vault.Entries{From: from, To: to, Size: head.Size, Root: hex.EncodeToString(head.Root[:])},
	}
	name := nameOf(w.m.Sequence)
	err := w.dir.Place(name, func(folder string) error {
		w.folder = folder
		if err := w.put(vault.CheckpointName, w.log.Note(), 0); err != nil {
			return err
		}
		if err := records(); err != nil {
			return err
		}
		for _, k := range kinds {
			if err := w.flush(k); err != nil {
				return err
			}
		}
		w.m.Omitted = w.omitted.List()
		w.m.Files = inOrder(w.m.Files)
		w.m.Batch = batch(w.m.Files)
		data, err := vault.Encode(w.m)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, ManifestName), data, 0o644); err != nil {
			return err
		}
		if _, err := parseManifest(data); err != nil {
			return err
		}
		return w.audit(name)
	})
	return w.m, err
}

// audit holds the delivery that was written against the log and the deliveries before it.
func (w *writer) audit(name string) error {
	a := newAuditor(w.ctx, w.log, w.record)
	if err := a.corrections(os.DirFS(w.path), w.chain.list); err != nil {
		return err
	}
	if w.m.Kind == KindCorrections {
		if err := a.correctionsOf(os.DirFS(w.folder), name, w.m); err != nil {
			return err
		}
	}
	return a.delivery(os.DirFS(w.folder), name, w.m)
}

// inOrder sorts files as a delivery has them: the checkpoint, then by kind and number. What has no place is left out.
func inOrder(files []vault.File) (list []vault.File) {
	byName := make(map[string]vault.File, len(files))
	for _, f := range files {
		byName[f.Name] = f
	}
	take := func(name string) bool {
		f, ok := byName[name]
		if ok {
			list = append(list, f)
		}
		return ok
	}
	take(vault.CheckpointName)
	for _, k := range kinds {
		for n := uint64(1); take(recordsName(k, n)); n++ {
		}
	}
	return list
}

func recordsName(k Kind, number uint64) string { return fmt.Sprintf("%s-%05d.xml", k, number) }

func (w *writer) put(name string, data []byte, records int) error {
	w.m.Files = append(w.m.Files, vault.File{Name: name, Bytes: int64(len(data)), Records: records, SHA256: vault.Digest(data)})
	if err := os.WriteFile(filepath.Join(w.folder, name), data, 0o644); err != nil {
		return err
	}
	if w.wrote != nil {
		return w.wrote()
	}
	return nil
}

func (w *writer) add(r Record) error {
	k := r.kind()
	f := w.open[k]
	if f == nil {
		w.numbers[k]++
		f = &file{Format: Format, Origin: w.m.Origin, Delivery: w.m.Sequence, Number: w.numbers[k], Kind: k}
		w.open[k] = f
	}
	f.add(r)
	if f.added == RecordsMost {
		return w.flush(k)
	}
	return nil
}

func (w *writer) flush(k Kind) error {
	f := w.open[k]
	if f == nil {
		return nil
	}
	delete(w.open, k)
	data, err := vault.Encode(f)
	if err != nil {
		return err
	}
	return w.put(recordsName(k, f.Number), data, f.added)
}

// correct adds the record that corrects another.
func (w *writer) correct(c Correction) error {
	i := slices.IndexFunc(w.chain.list, func(m *Manifest) bool { return m.Entries.From <= c.Index && c.Index < m.Entries.To })
	if i < 0 {
		return fmt.Errorf("entry %d: expected one that was delivered", c.Index)
	}
	return w.log.Records(c.Index, c.Index+1, func(index uint64, leaf []byte, r entry.Record) error {
		record, why, err := w.record(index, leaf, r, w.log.Head())
		if err != nil {
			return err
		}
		if record == nil {
			return fmt.Errorf("entry %d is %s, which is in no record (%s)", index, r.Type(), why)
		}
		return w.add(corrected(record, w.chain.list[i].Sequence, c.Cancel))
	})
}

// corrected is the record that replaces or cancels what a delivery said of the same entry.
func corrected(r Record, delivery uint64, cancel string) Record {
	h := r.head()
	h.Action, h.Corrects = ActionReplace, delivery
	if cancel == "" {
		return r
	}
	h.Action = ActionCancel
	return &Cancellation{Head: *h, Of: r.kind(), Reason: cancel}
}
