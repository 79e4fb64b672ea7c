package safe

import (
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"countroom/ledger/entry"
	"countroom/regulator/vault"
)

// Names in a delivery.
const (
	ManifestName = "manifest.xml"
	SealName     = "tampertoken.xml"
	endName      = "endofday.xml"
	jackpotsName = "jackpots.xml"
)

// Manifest says what a day's delivery holds.
type Manifest struct {
	XMLName xml.Name      `xml:"Delivery"`
	Format  string        `xml:"format,attr"`
	Origin  string        `xml:"origin,attr"`
	Day     string        `xml:"day,attr"`
	Entries vault.Entries `xml:"Entries"` // of the day
	Omitted []vault.Left  `xml:"Omitted"`
	Files   []vault.File  `xml:"File"`
}

var (
	dayName  = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}$`)
	fileName = regexp.MustCompile(`^(checkpoint|endofday\.xml|jackpots\.xml|sessions-[0-9]{5,8}\.xml)$`)
)

const manifestFiles = 1 << 14

func parseManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := vault.Decode(data, m); err != nil {
		return nil, err
	}
	if m.Format != Format {
		return nil, fmt.Errorf("format %.64q, expected %s", m.Format, Format)
	}
	if _, _, err := bounds(m.Day); err != nil {
		return nil, err
	}
	if err := m.Entries.Check(); err != nil {
		return nil, err
	}
	if len(m.Files) > manifestFiles {
		return nil, fmt.Errorf("%d files, expected at most %d", len(m.Files), manifestFiles)
	}
	names := map[string]bool{}
	for _, f := range m.Files {
		if !fileName.MatchString(f.Name) || names[f.Name] {
			return nil, fmt.Errorf("a file %.64q, expected those of a day, each once", f.Name)
		}
		names[f.Name] = true
	}
	return m, nil
}

// bounds are the first instant of a day, which is one of UTC, and the first behind it.
func bounds(day string) (from, to entry.Time, err error) {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return 0, 0, fmt.Errorf("%.64q: expected a day such as 2026-03-01", day)
	}
	return entry.TimeOf(at), entry.TimeOf(at.AddDate(0, 0, 1)), nil
}

// After is the day after a day.
func After(day string) (string, error) {
	_, to, err := bounds(day)
	return vault.Day(to), err
}

func recordsName(number int) string { return fmt.Sprintf("sessions-%05d.xml", number) }

// Last is the last day that a vault has, or nothing.
func Last(fsys fs.FS) (string, error) {
	names, err := vault.List(fsys, dayName.MatchString)
	if err != nil || len(names) == 0 {
		return "", err
	}
	return names[len(names)-1], nil
}

// Deliver adds a day to a vault, which has to be over, and to be the day after the vault's last. A delivery that does not
// reconcile with the log is refused with a *vault.Difference, leaves nothing behind and is not sealed. Without a token
// service it is not sealed either. A token that was asked for before a crash is not used again.
func Deliver(ctx context.Context, log *vault.Log, path, date string, tokens TokenService) (*Manifest, error) {
	w, err := open(ctx, log, path)
	if err != nil {
		return nil, err
	}
	defer w.dir.Close()
	return w.deliver(date, tokens)
}

// writer makes one delivery.
type writer struct {
	ctx  context.Context
	log  *vault.Log
	dir  *vault.Dir
	last string

	take   func(date string, from, to uint64) (*day, error) // from entries to records
	m      *Manifest
	folder string

	wrote func() error // if set, is called after each file
}

func open(ctx context.Context, log *vault.Log, path string) (*writer, error) {
	dir, err := vault.OpenDir(path)
	if err != nil {
		return nil, err
	}
	w := &writer{ctx: ctx, log: log, dir: dir}
	w.take = func(date string, from, to uint64) (*day, error) { return take(log, date, from, to, log.Head()) }
	if w.last, err = Last(os.DirFS(path)); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return w, nil
}

func (w *writer) deliver(date string, tokens TokenService) (*Manifest, error) {
	if w.last != "" {
		if next, err := After(w.last); err != nil || date != next {
			return nil, errors.Join(err, fmt.Errorf("the day %.64q: expected %s, the one after the vault's last", date, next))
		}
	}
	span, err := within(w.log, date)
	if err != nil {
		return nil, err
	}
	head := w.log.Head()
	w.m = &Manifest{Format: Format, Origin: head.Origin, Day: date, Entries: vault.Entries{From: span[0], To: span[1], Size: head.Size, Root: fmt.Sprintf("%x", head.Root)}}
	token := ""
	if tokens != nil {
		if token, err = tokens.Issue(w.ctx, head.Origin, date); err != nil {
			return nil, fmt.Errorf("the token service: %w", err)
		}
	}
	err = w.dir.Place(date, func(folder string) error {
		w.folder = folder
		digest, err := w.write()
		if err != nil {
			return err
		}
		if err := newAuditor(w.ctx, w.log, w.take).delivery(os.DirFS(folder), date, w.m); err != nil {
			return err
		}
		if tokens == nil {
			return nil
		}
		s, err := sealed(w.ctx, tokens, token, w.m, digest)
		if err != nil {
			return err
		}
		data, err := vault.Encode(s)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(folder, SealName), data, 0o644)
	})
	return w.m, err
}

// within are the entries of a day that is over.
func within(log *vault.Log, date string) (span [2]uint64, err error) {
	from, to, err := bounds(date)
	if err != nil {
		return span, err
	}
	if span[0], err = log.Before(from); err != nil {
		return span, err
	}
	span[1], err = log.Before(to)
	return span, err
}

// write writes the files of a delivery and, at the end, its manifest, whose SHA-256 it returns.
func (w *writer) write() (digest [32]byte, err error) {
	d, err := w.take(w.m.Day, w.m.Entries.From, w.m.Entries.To)
	if err != nil {
		return digest, err
	}
	if err := w.put(vault.CheckpointName, w.log.Note(), 0); err != nil {
		return digest, err
	}
	number := 0
	for list := range files(d.sessions) {
		number++
		if err := w.encode(recordsName(number), &sessions{Format: Format, Origin: w.m.Origin, Day: w.m.Day, Number: uint64(number), List: list}, len(list)); err != nil {
			return digest, err
		}
	}
	if err := errors.Join(w.encode(endName, &d.end, len(d.end.Play)+len(d.end.Cash)), w.encode(jackpotsName, &d.jackpots, int(d.jackpots.Triggers))); err != nil {
		return digest, err
	}
	w.m.Omitted = d.omitted.List()
	data, err := vault.Encode(w.m)
	if err == nil {
		_, err = parseManifest(data)
	}
	if err != nil {
		return digest, err
	}
	return sha256.Sum256(data), os.WriteFile(filepath.Join(w.folder, ManifestName), data, 0o644)
}

// filesAbout is the size in bytes at which a file of sessions of many entries ends.
const filesAbout = 1 << 20

// files are the sessions of each file.
func files(list []*Session) iter.Seq[[]*Session] {
	return func(yield func([]*Session) bool) {
		for len(list) > 0 {
			n, size := 0, 0
			for n < min(len(list), RecordsMost) && size < filesAbout {
				size += len(list[n].Ledger.Entries)
				n++
			}
			if !yield(list[:n:n]) {
				return
			}
			list = list[n:]
		}
	}
}

func (w *writer) encode(name string, v any, records int) error {
	data, err := vault.Encode(v)
	if err != nil {
		return err
	}
	return w.put(name, data, records)
}

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
