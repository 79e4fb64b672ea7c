package safe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"countroom/ledger/entry"
	"countroom/regulator/vault"
)

// Report is what a vault was found to hold.
type Report struct {
	Origin   string `json:"origin"`
	Days     int    `json:"days"`
	First    string `json:"first_day"`
	Last     string `json:"last_day"`
	From     uint64 `json:"from"` // entries that it covers
	To       uint64 `json:"to"`
	Sessions uint64 `json:"sessions"`
	Rounds   uint64 `json:"rounds"`
	Omitted  uint64 `json:"omitted"`
	Sealed   int    `json:"sealed"`   // days
	Unsealed int    `json:"unsealed"` // days that no token service sealed
}

// Audit holds a whole vault against the log, as its house does before each delivery and anybody can who has the leaves.
// What does not reconcile is a *vault.Difference. Seals are held against the deliveries; whether they are the token
// service's is for check to say, which may be nil.
func Audit(ctx context.Context, log *vault.Log, fsys fs.FS, check func(*Seal) error) (*Report, error) {
	names, err := vault.List(fsys, dayName.MatchString)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("expected a vault with at least one day")
	}
	r := &Report{Origin: log.Head().Origin, Days: len(names), First: names[0], Last: names[len(names)-1]}
	for i, name := range names {
		if i > 0 {
			if next, err := After(names[i-1]); err != nil || name != next {
				return nil, &vault.Difference{Rule: "day", Where: name, Expected: next, Found: name}
			}
		}
		sub, err := fs.Sub(fsys, name)
		if err != nil {
			return nil, err
		}
		data, err := vault.ReadFile(sub, ManifestName, vault.FileMost)
		if err != nil {
			return nil, err
		}
		m, err := parseManifest(data)
		if err != nil {
			return nil, &vault.Difference{Rule: "manifest", Where: name, Expected: "a manifest", Found: err.Error()}
		}
		a := newAuditor(ctx, log, nil)
		if err := a.delivery(sub, name, m); err != nil {
			return nil, err
		}
		if err := seal(sub, name, m, vault.Digest(data), check, r); err != nil {
			return nil, err
		}
		r.Sessions, r.Rounds, r.Omitted, r.To = r.Sessions+a.sessions, r.Rounds+a.rounds, r.Omitted+a.omitted, m.Entries.To
		if i == 0 {
			r.From = m.Entries.From
		}
	}
	return r, nil
}

// seal holds the seal of a delivery, if there is one, against its manifest.
func seal(fsys fs.FS, name string, m *Manifest, digest string, check func(*Seal) error, r *Report) error {
	data, err := vault.ReadFile(fsys, SealName, vault.FileMost)
	if errors.Is(err, fs.ErrNotExist) {
		r.Unsealed++
		return nil
	}
	if err != nil {
		return err
	}
	s, err := parseSeal(data)
	if err == nil && (s.Origin != m.Origin || s.Day != m.Day || s.Manifest != digest) {
		err = fmt.Errorf("one of %s of %s on %s", s.Manifest, s.Origin, s.Day)
	}
	if err == nil && check != nil {
		err = check(s)
	}
	if err != nil {
		return &vault.Difference{Rule: "seal", Where: name, Expected: fmt.Sprintf("a seal of the manifest %s", digest), Found: err.Error()}
	}
	r.Sealed++
	return nil
}

// auditor goes through a delivery.
type auditor struct {
	ctx  context.Context
	log  *vault.Log
	take func(date string, from, to uint64) (*day, error)

	sessions, rounds, omitted uint64
}

func newAuditor(ctx context.Context, log *vault.Log, take func(date string, from, to uint64) (*day, error)) *auditor {
	return &auditor{ctx: ctx, log: log, take: take}
}

// delivery holds a day against the log.
func (a *auditor) delivery(fsys fs.FS, name string, m *Manifest) error {
	differ := func(rule string, expected, found any) error {
		return &vault.Difference{Rule: rule, Where: name, Expected: fmt.Sprint(expected), Found: fmt.Sprint(found)}
	}
	if m.Day != name {
		return differ("day", name, m.Day)
	}
	if err := frame(fsys, name, m); err != nil {
		return err
	}
	under, err := a.log.Under(fsys, name, m.Origin, &m.Files[0], &m.Entries)
	if err != nil {
		return err
	}
	span, err := within(a.log, m.Day)
	if err != nil {
		return err
	}
	if span != [2]uint64{m.Entries.From, m.Entries.To} {
		return differ("day", fmt.Sprintf("entries %d to %d, which the log has of the day", span[0], span[1]), fmt.Sprintf("%d to %d", m.Entries.From, m.Entries.To))
	}
	list, end, jackpots, err := records(fsys, name, m)
	if err != nil {
		return err
	}
	if err := a.cover(name, m, list, end); err != nil {
		return err
	}
	if a.take == nil {
		a.take = func(date string, from, to uint64) (*day, error) { return take(a.log, date, from, to, under) }
	}
	want, err := a.take(m.Day, span[0], span[1])
	if err != nil {
		return err
	}
	for i := range min(len(want.sessions), len(list)) {
		if err := vault.Same(fmt.Sprintf("%s: session %s", name, list[i].ID), want.sessions[i], list[i]); err != nil {
			return err
		}
	}
	if len(want.sessions) != len(list) {
		return differ("record-missing", fmt.Sprintf("%d sessions", len(want.sessions)), len(list))
	}
	if err := want.omitted.Check(name, m.Omitted); err != nil {
		return err
	}
	if err := errors.Join(vault.Same(name+"/"+endName, stripped(&want.end), stripped(end)), vault.Same(name+"/"+jackpotsName, want.jackpots.Triggers, jackpots.Triggers)); err != nil {
		return err
	}
	return a.reconcile(name, m, list, end)
}

// stripped is the control total without the name that reading it set.
func stripped(e *EndOfDay) *EndOfDay {
	c := *e
	c.XMLName.Local = ""
	return &c
}

// reconcile holds the figures of the records against each other and against the log's.
func (a *auditor) reconcile(name string, m *Manifest, list []*Session, end *EndOfDay) error {
	sum, err := control(list)
	if err != nil {
		return err
	}
	if err := vault.Same(name+"/"+endName, sum, end.Play); err != nil {
		return err
	}
	found, err := totals(list, end)
	if err != nil {
		return err
	}
	want, err := a.log.Totals(a.ctx, m.Entries.From, m.Entries.To)
	if err != nil {
		return err
	}
	for _, s := range list {
		a.rounds += s.Rounds
	}
	a.sessions += uint64(len(list))
	for _, l := range m.Omitted {
		a.omitted += l.Count
	}
	return want.Reconcile(found)
}

// frame demands the files of a day and no others.
func frame(fsys fs.FS, name string, m *Manifest) error {
	differ := func(expected, found string) error {
		return &vault.Difference{Rule: "files", Where: name, Expected: expected, Found: found}
	}
	n := len(m.Files)
	if n < 3 {
		return differ("at least 3 files", fmt.Sprint(n))
	}
	for i, f := range m.Files {
		want := recordsName(i)
		switch i {
		case 0:
			want = vault.CheckpointName
		case n - 2:
			want = endName
		case n - 1:
			want = jackpotsName
		}
		if f.Name != want {
			return differ(want, f.Name)
		}
	}
	list, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() != ManifestName && e.Name() != SealName && !slices.ContainsFunc(m.Files, func(f vault.File) bool { return f.Name == e.Name() }) {
			return differ("the files of the manifest", e.Name())
		}
	}
	return nil
}

// records reads the files of a day.
func records(fsys fs.FS, name string, m *Manifest) (list []*Session, end *EndOfDay, jackpots *Jackpots, err error) {
	end, jackpots = new(EndOfDay), new(Jackpots)
	for i := range m.Files[1:] {
		of := &m.Files[i+1]
		where := name + "/" + of.Name
		data, err := of.Read(fsys, where)
		if err != nil {
			return nil, nil, nil, err
		}
		n, right := 0, false
		switch of.Name {
		case endName:
			err = vault.Decode(data, end)
			n, right = len(end.Play)+len(end.Cash), end.Format == Format && end.Origin == m.Origin && end.Day == m.Day && end.Ledger == m.Entries
		case jackpotsName:
			err = vault.Decode(data, jackpots)
			n, right = int(jackpots.Triggers), jackpots.Format == Format && jackpots.Origin == m.Origin && jackpots.Day == m.Day && jackpots.Ledger == m.Entries
		default:
			var f *sessions
			if f, err = parseSessions(data); err == nil {
				n, right = len(f.List), f.Format == Format && f.Origin == m.Origin && f.Day == m.Day && f.Number == uint64(i+1)
				list = append(list, f.List...)
			}
		}
		if err == nil && (!right || n != of.Records) {
			err = fmt.Errorf("another file, or %d records", n)
		}
		if err != nil {
			return nil, nil, nil, &vault.Difference{Rule: "file", Where: where, Expected: fmt.Sprintf("%d records of %s on %s", of.Records, m.Origin, m.Day), Found: err.Error()}
		}
	}
	return list, end, jackpots, nil
}

// cover demands that each entry of the day is in one record, or of a type that is in none.
func (a *auditor) cover(name string, m *Manifest, list []*Session, end *EndOfDay) error {
	of := make([]int32, m.Entries.To-m.Entries.From) // the record of each entry, from 1
	var names []string
	mark := func(record string, l *Ledger) error {
		names = append(names, record)
		where := name + ": " + record
		ranges, err := parseRanges(l.Entries)
		if err != nil {
			return &vault.Difference{Rule: "record-content", Where: where, Expected: "the entries of the record", Found: err.Error()}
		}
		for _, r := range ranges {
			if r[0] < m.Entries.From || r[1] >= m.Entries.To {
				return &vault.Difference{Rule: "record-stranger", Where: where, Expected: fmt.Sprintf("entries %d to %d", m.Entries.From, m.Entries.To), Found: fmt.Sprintf("%d-%d", r[0], r[1])}
			}
			for index := r[0]; index <= r[1]; index++ {
				at := &of[index-m.Entries.From]
				if *at != 0 {
					return &vault.Difference{Rule: "record-twice", Where: where, Expected: fmt.Sprintf("entry %d in %s alone", index, names[*at-1]), Found: "it here too"}
				}
				*at = int32(len(names))
			}
		}
		return nil
	}
	for _, s := range list {
		if err := mark("session "+s.ID, &s.Ledger); err != nil {
			return err
		}
	}
	for i := range end.Cash {
		if err := mark("account total in "+end.Cash[i].Currency, &end.Cash[i].Ledger); err != nil {
			return err
		}
	}
	return a.log.Records(m.Entries.From, m.Entries.To, func(index uint64, _ []byte, r entry.Record) error {
		why := vault.Beside[r.Type()] + outside[r.Type()]
		switch at := of[index-m.Entries.From]; {
		case at == 0 && why == "":
			return &vault.Difference{Rule: "record-missing", Where: name, Expected: fmt.Sprintf("entry %d (%s) in a record", index, r.Type()), Found: "it in none"}
		case at != 0 && why != "":
			return &vault.Difference{Rule: "record-stranger", Where: name + ": " + names[at-1], Expected: fmt.Sprintf("entry %d (%s) in no record: %s", index, r.Type(), why), Found: "it here"}
		}
		return nil
	})
}
