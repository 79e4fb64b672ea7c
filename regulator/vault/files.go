package vault

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"countroom/ledger/tlog"
)

// Limits of a file of a delivery: its bytes, which a record of very many entries needs, and its tags, which take far more
// memory than they have bytes.
const (
	FileMost = 32 << 20
	tagsMost = 1 << 18
)

var errForm = errors.New("expected XML in the one form that deliveries have")

// Encode writes XML in the one form that deliveries have.
func Encode(v any) ([]byte, error) {
	b, err := xml.MarshalIndent(v, "", "\t")
	return append(append([]byte(xml.Header), b...), '\n'), err
}

// Decode is the exact inverse of Encode, so that nothing else can hide in a file.
func Decode(data []byte, v any) error {
	if len(data) > FileMost {
		return fmt.Errorf("%d bytes, at most %d expected", len(data), FileMost)
	}
	if n := bytes.Count(data, []byte("<")); n > tagsMost {
		return fmt.Errorf("%d tags, at most %d expected", n, tagsMost)
	}
	if err := xml.Unmarshal(data, v); err != nil {
		return err
	}
	again, err := Encode(v)
	if err == nil && !bytes.Equal(again, data) {
		err = errForm
	}
	return err
}

// Digest is the SHA-256 of a file, in hex.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// File is a file of a delivery, as its manifest has it.
type File struct {
	Name    string `xml:"name,attr"`
	Bytes   int64  `xml:"bytes,attr"`
	Records int    `xml:"records,attr"` // 0 of the checkpoint
	SHA256  string `xml:"sha256,attr"`
}

// Read reads the file. Where names it in a difference.
func (f *File) Read(fsys fs.FS, where string) ([]byte, error) {
	data, err := ReadFile(fsys, f.Name, FileMost)
	if err != nil {
		return nil, err
	}
	if got := Digest(data); got != f.SHA256 || int64(len(data)) != f.Bytes {
		return nil, &Difference{"file-digest", where, fmt.Sprintf("%d bytes of SHA-256 %s", f.Bytes, f.SHA256), fmt.Sprintf("%d of %s", len(data), got)}
	}
	return data, nil
}

// Entries are those from an index up to, and without, another: all of them are in a record or left out. Size and root
// are of the checkpoint under which records were made.
type Entries struct {
	From uint64 `xml:"from,attr"`
	To   uint64 `xml:"to,attr"`
	Size uint64 `xml:"size,attr"`
	Root string `xml:"root,attr"`
}

// Check refuses what is no range of a log.
func (e *Entries) Check() error {
	if e.From > e.To || e.To > e.Size {
		return fmt.Errorf("entries %d to %d of %d, expected a range of the log", e.From, e.To, e.Size)
	}
	return nil
}

// CheckpointName is the file with the checkpoint of a delivery.
const CheckpointName = "checkpoint"

// Under reads the checkpoint of a delivery, which the house must have signed, of this log, and as the manifest says.
func (l *Log) Under(fsys fs.FS, name, origin string, f *File, e *Entries) (under tlog.Checkpoint, err error) {
	note, err := f.Read(fsys, name+"/"+CheckpointName)
	if err != nil {
		return under, err
	}
	if under, err = l.Vouch(note); err != nil {
		return under, err
	}
	if root := hex.EncodeToString(under.Root[:]); under.Origin != origin || under.Size != e.Size || root != e.Root {
		err = &Difference{
			"checkpoint", name, fmt.Sprintf("%s, %d entries, root %s, as its checkpoint says", under.Origin, under.Size, root),
			fmt.Sprintf("%s, %d, %s", origin, e.Size, e.Root),
		}
	}
	return under, err
}

// Beside says why entries of a type are in no record of any format.
var Beside = map[string]string{
	"house.active": "operation of the house", "house.active.v2": "operation of the house", "house.restored": "operation of the house",
	"house.production": "operation of the house", "clock.stepped": "operation of the house", "alarm.raised": "operation of the house",
	"software.verified": "operation of the house",
	"key.introduced":    "keys and officers of the house", "key.retired": "keys and officers of the house",
	"officer.enrolled": "keys and officers of the house", "officer.retired": "keys and officers of the house",
	"rng.assessed": "examination of games", "laboratory.recognised": "examination of games", "game.certified": "examination of games",
	"chance.observed": "examination of games", "chance.alarmed": "examination of games",
	"seed.committed": "proof of chance", "seed.committed.v2": "proof of chance", "seed.activated": "proof of chance", "seed.activated.v2": "proof of chance",
	"seed.closed": "proof of chance", "seed.revealed": "proof of chance", "seed.halted": "proof of chance", "seed.ended": "proof of chance",
	"seed.abandoned": "proof of chance", "entropy.failed": "proof of chance", "entropy.restored": "proof of chance", "player.nonce-set": "proof of chance",
	"round.displayed":  "a client's claim about a round that has its record",
	"subject.recorded": "commitments to personal data", "subject.erased": "commitments to personal data", "vault.rewrapped": "operation of the house",
}

// Left are entries of a type that are in no record.
type Left struct {
	Type  string `xml:"type,attr"`
	Count uint64 `xml:"count,attr"`
	Why   string `xml:",chardata"`
}

// Omissions count what is in no record.
type Omissions map[string]Left

// Add adds an entry.
func (o Omissions) Add(typ, why string) { o[typ] = Left{typ, o[typ].Count + 1, why} }

// List is what a manifest says of them.
func (o Omissions) List() (list []Left) {
	for _, typ := range slices.Sorted(maps.Keys(o)) {
		list = append(list, o[typ])
	}
	return list
}

// Check holds what a manifest says against what the log has.
func (o Omissions) Check(name string, said []Left) error {
	want := o.List()
	text := func(list []Left, i int) string {
		if i >= len(list) {
			return "nothing more"
		}
		return fmt.Sprintf("%d of %s: %s", list[i].Count, list[i].Type, list[i].Why)
	}
	for i := range max(len(want), len(said)) {
		if w, s := text(want, i), text(said, i); w != s {
			return &Difference{"omitted", name, w, s}
		}
	}
	return nil
}
