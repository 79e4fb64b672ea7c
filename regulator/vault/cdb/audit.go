package cdb

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/vault"
)

// Report is what a vault was found to hold.
type Report struct {
	Origin     string          `json:"origin"`
	Deliveries int             `json:"deliveries"`
	From       uint64          `json:"from"` // entries that it covers
	To         uint64          `json:"to"`
	Records    map[Kind]uint64 `json:"records"`
	Omitted    uint64          `json:"omitted"`
	Replaced   uint64          `json:"replaced"`
	Cancelled  uint64          `json:"cancelled"`
	Last       string          `json:"manifest_sha256"` // of the newest delivery
}

// Audit holds a whole vault against the log, as its house does before each delivery and anybody can who has the leaves.
// What does not reconcile is a *vault.Difference.
func Audit(ctx context.Context, log *vault.Log, fsys fs.FS) (*Report, error) {
	c, err := readChain(fsys)
	if err != nil {
		return nil, err
	}
	if len(c.list) == 0 {
		return nil, fmt.Errorf("expected a vault with at least one delivery")
	}
	a := newAuditor(ctx, log, recordOf)
	if err := a.corrections(fsys, c.list); err != nil {
		return nil, err
	}
	for _, m := range c.list {
		name := nameOf(m.Sequence)
		sub, err := fs.Sub(fsys, name)
		if err != nil {
			return nil, err
		}
		if err := a.delivery(sub, name, m); err != nil {
			return nil, err
		}
	}
	a.report.Origin, a.report.Deliveries, a.report.From, a.report.To, a.report.Last = c.list[0].Origin, len(c.list), c.list[0].Entries.From, c.end(), c.last
	return a.report, nil
}

// standing is what later deliveries say of an entry.
type standing struct {
	delivery  uint64 // that said it last
	kind      Kind   // of the record
	cancelled bool
}

// auditor goes through deliveries in their order.
type auditor struct {
	ctx       context.Context
	log       *vault.Log
	record    mapping
	deliver   []*Manifest
	corrected map[uint64]standing
	report    *Report
}

func newAuditor(ctx context.Context, log *vault.Log, record mapping) *auditor {
	return &auditor{ctx: ctx, log: log, record: record, corrected: map[uint64]standing{}, report: &Report{Records: map[Kind]uint64{}}}
}

// corrections takes note of what deliveries correct. The records are held against the log with their deliveries.
func (a *auditor) corrections(fsys fs.FS, list []*Manifest) error {
	for _, m := range list {
		a.deliver = append(a.deliver, m)
		if m.Kind != KindCorrections {
			continue
		}
		name := nameOf(m.Sequence)
		sub, err := fs.Sub(fsys, name)
		if err == nil {
			err = a.correctionsOf(sub, name, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// correctionsOf takes note of one delivery's.
func (a *auditor) correctionsOf(fsys fs.FS, name string, m *Manifest) error {
	for i := range m.Files {
		if m.Files[i].Records == 0 {
			continue
		}
		f, err := a.file(fsys, name, m, &m.Files[i])
		if err != nil {
			return err
		}
		for _, r := range f.records() {
			h := r.head()
			where := fmt.Sprintf("%s: %s of entry %d", name, r.kind(), h.Ledger.First)
			differ := func(expected, found any) error {
				return &vault.Difference{Rule: "correction", Where: where, Expected: fmt.Sprint(expected), Found: fmt.Sprint(found)}
			}
			at := slices.IndexFunc(a.deliver, func(d *Manifest) bool {
				return d.Sequence < m.Sequence && d.Entries.From <= h.Ledger.First && h.Ledger.First < d.Entries.To
			})
			if at < 0 {
				return differ("an entry that an earlier delivery has", h.Ledger.First)
			}
			if want := a.deliver[at].Sequence; h.Corrects != want {
				return differ(fmt.Sprintf("delivery %d as the one that is corrected", want), h.Corrects)
			}
			before, again := a.corrected[h.Ledger.First]
			if again && (before.cancelled || before.delivery == m.Sequence) {
				return differ("a record that stands", "one that was corrected in delivery "+fmt.Sprint(before.delivery))
			}
			now := standing{m.Sequence, r.kind(), false}
			if c, ok := r.(*Cancellation); ok {
				now.kind, now.cancelled = c.Of, true
				if err := (&Correction{Cancel: c.Reason}).Check(); err != nil || c.Reason == "" {
					return differ("a reason to cancel", c.Reason)
				}
			}
			a.corrected[h.Ledger.First] = now
		}
	}
	return nil
}

// file reads a file of records, as the manifest has it.
func (a *auditor) file(fsys fs.FS, name string, m *Manifest, of *vault.File) (*file, error) {
	where := name + "/" + of.Name
	data, err := of.Read(fsys, where)
	if err != nil {
		return nil, err
	}
	f, err := parseFile(data)
	if err != nil {
		return nil, &vault.Difference{Rule: "file", Where: where, Expected: "a file of records", Found: err.Error()}
	}
	if want := recordsName(f.Kind, f.Number); f.Format != Format || f.Origin != m.Origin || f.Delivery != m.Sequence || want != of.Name || len(f.records()) != of.Records {
		return nil, &vault.Difference{
			Rule: "file", Where: where, Expected: fmt.Sprintf("%d records of %s in delivery %d", of.Records, m.Origin, m.Sequence),
			Found: fmt.Sprintf("%s with %d of %s in delivery %d, %s", want, len(f.records()), f.Origin, f.Delivery, f.Format),
		}
	}
	return f, nil
}

// stack hands out the records of one kind in the order of the files, which is that of the log.
type stack struct {
	next func() (*file, error)
	list []Record
}

func (s *stack) peek() (Record, error) {
	for len(s.list) == 0 {
		f, err := s.next()
		if f == nil || err != nil {
			return nil, err
		}
		s.list = f.records()
	}
	return s.list[0], nil
}

func (s *stack) pop() { s.list = s.list[1:] }

// delivery holds a delivery against the log.
func (a *auditor) delivery(fsys fs.FS, name string, m *Manifest) error {
	under, err := a.frame(fsys, name, m)
	if err != nil {
		return err
	}
	stacks, folder := map[Kind]*stack{}, name
	for _, k := range kinds {
		number := uint64(0)
		stacks[k] = &stack{next: func() (*file, error) {
			number++
			name := recordsName(k, number)
			i := slices.IndexFunc(m.Files, func(f vault.File) bool { return f.Name == name })
			if i < 0 {
				return nil, nil
			}
			return a.file(fsys, folder, m, &m.Files[i])
		}}
	}
	found, omitted := vault.NewTotals(), vault.Omissions{}
	if m.Kind == KindEntries {
		err = a.log.Records(m.Entries.From, m.Entries.To, func(index uint64, leaf []byte, r entry.Record) error {
			want, why, err := a.record(index, leaf, r, under)
			if err != nil {
				return err
			}
			if want == nil {
				omitted.Add(r.Type(), why)
				a.report.Omitted++
				return nil
			}
			return a.one(name, index, want, stacks[want.kind()], found)
		})
	} else {
		err = a.corrects(name, m, under, stacks)
	}
	if err != nil {
		return err
	}
	for _, k := range kinds {
		extra, err := stacks[k].peek()
		if err != nil {
			return err
		}
		if extra != nil {
			return &vault.Difference{Rule: "record-stranger", Where: name, Expected: fmt.Sprintf("no further record of type %s", k), Found: fmt.Sprintf("one of entry %d", extra.head().Ledger.First)}
		}
	}
	if err := omitted.Check(name, m.Omitted); err != nil {
		return err
	}
	if m.Kind == KindCorrections {
		return nil
	}
	want, err := a.log.Totals(a.ctx, m.Entries.From, m.Entries.To)
	if err != nil {
		return err
	}
	return want.Reconcile(found)
}

// frame holds what is around the records: the checkpoint, and that there are no other files.
func (a *auditor) frame(fsys fs.FS, name string, m *Manifest) (under tlog.Checkpoint, err error) {
	differ := func(expected, found string) error {
		return &vault.Difference{Rule: "files", Where: name, Expected: expected, Found: found}
	}
	if ordered := inOrder(m.Files); len(ordered) == 0 || ordered[0].Name != vault.CheckpointName || !slices.Equal(ordered, m.Files) {
		return under, differ(vault.CheckpointName+" and files of records in their order", fmt.Sprint(len(m.Files), " files"))
	}
	list, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return under, err
	}
	for _, e := range list {
		if e.Name() != ManifestName && !slices.ContainsFunc(m.Files, func(f vault.File) bool { return f.Name == e.Name() }) {
			return under, differ("the files of the manifest", e.Name())
		}
	}
	return a.log.Under(fsys, name, m.Origin, &m.Files[0], &m.Entries)
}

// one holds the record of an entry against the entry.
func (a *auditor) one(name string, index uint64, want Record, s *stack, found *vault.Totals) error {
	where := fmt.Sprintf("%s: %s of entry %d", name, want.kind(), index)
	got, err := s.peek()
	if err != nil {
		return err
	}
	switch {
	case got == nil || got.head().Ledger.First > index:
		return &vault.Difference{Rule: "record-missing", Where: where, Expected: "a record", Found: "none"}
	case got.head().Ledger.First < index:
		return &vault.Difference{Rule: "record-stranger", Where: where, Expected: "this record next", Found: fmt.Sprintf("one of entry %d", got.head().Ledger.First)}
	}
	s.pop()
	a.report.Records[want.kind()]++
	if later, ok := a.corrected[index]; ok { // it does not stand; what replaces it is held against the log in its place
		if later.kind != want.kind() {
			return &vault.Difference{Rule: "correction", Where: where, Expected: string(want.kind()) + " as what is corrected", Found: string(later.kind)}
		}
		return count(found, want)
	}
	if err := vault.Same(where, want, got); err != nil {
		return err
	}
	return count(found, got)
}

// corrects holds a delivery's corrections against the log.
func (a *auditor) corrects(name string, m *Manifest, under tlog.Checkpoint, stacks map[Kind]*stack) error {
	for _, k := range kinds {
		last := int64(-1)
		for {
			got, err := stacks[k].peek()
			if got == nil || err != nil {
				if err != nil {
					return err
				}
				break
			}
			stacks[k].pop()
			h := got.head()
			where := fmt.Sprintf("%s: %s of entry %d", name, k, h.Ledger.First)
			if int64(h.Ledger.First) <= last {
				return &vault.Difference{Rule: "record-stranger", Where: where, Expected: "records in the order of the log", Found: fmt.Sprintf("it behind that of entry %d", last)}
			}
			last = int64(h.Ledger.First)
			if err := a.log.Records(h.Ledger.First, h.Ledger.First+1, func(index uint64, leaf []byte, r entry.Record) error {
				want, why, err := a.record(index, leaf, r, under)
				if err != nil {
					return err
				}
				if want == nil {
					return &vault.Difference{Rule: "correction", Where: where, Expected: "an entry that has a record", Found: r.Type() + ": " + why}
				}
				if a.corrected[index].delivery != m.Sequence {
					return nil // a later one stands for it
				}
				cancel := ""
				if c, ok := got.(*Cancellation); ok {
					cancel = c.Reason
				}
				return vault.Same(where, corrected(want, h.Corrects, cancel), got)
			}); err != nil {
				return err
			}
			if k == Cancellations {
				a.report.Cancelled++
			} else {
				a.report.Replaced++
			}
		}
	}
	return nil
}
