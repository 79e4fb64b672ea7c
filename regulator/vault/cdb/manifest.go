package cdb

import (
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"countroom/regulator/vault"
)

// ManifestName is the manifest of a delivery.
const ManifestName = "manifest.xml"

// Kinds of deliveries: of the entries that the log has since the last one, and of corrections to what was delivered.
const (
	KindEntries     = "entries"
	KindCorrections = "corrections"
)

// Manifest is the control manifest of a delivery. Previous is the SHA-256 of the manifest before it, zeros in the first.
// Batch is that of the lines that sha256sum prints of the delivery's other files, in their order.
type Manifest struct {
	XMLName  xml.Name      `xml:"ControlManifest"`
	Format   string        `xml:"format,attr"`
	Origin   string        `xml:"origin,attr"`
	Sequence uint64        `xml:"sequence,attr"`
	Kind     string        `xml:"kind,attr"`
	Previous string        `xml:"Previous_SHA256"`
	Batch    string        `xml:"Batch_SHA256"`
	Entries  vault.Entries `xml:"Entries"`
	Omitted  []vault.Left  `xml:"Omitted"` // by type
	Files    []vault.File  `xml:"File"`
}

var zeros = strings.Repeat("0", 2*sha256.Size)

// batch is the digest of all files.
func batch(files []vault.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%s  %s\n", f.SHA256, f.Name)
	}
	return vault.Digest([]byte(b.String()))
}

var (
	fileName     = regexp.MustCompile(`^(checkpoint|[a-z]{3,12}-[0-9]{5,8}\.xml)$`)
	deliveryName = regexp.MustCompile(`^delivery-[0-9]{8}$`)
)

// nameOf is the folder of a delivery.
func nameOf(sequence uint64) string { return fmt.Sprintf("delivery-%08d", sequence) }

// manifestFiles bounds how many files a manifest names.
const manifestFiles = 1 << 14

// parseManifest reads a manifest, which names files of a delivery and nothing else.
func parseManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := vault.Decode(data, m); err != nil {
		return nil, err
	}
	if m.Format != Format {
		return nil, fmt.Errorf("format %.64q, expected %s", m.Format, Format)
	}
	if m.Kind != KindEntries && m.Kind != KindCorrections {
		return nil, fmt.Errorf("kind %.64q, expected %s or %s", m.Kind, KindEntries, KindCorrections)
	}
	if err := m.Entries.Check(); err != nil {
		return nil, err
	}
	if e := m.Entries; (m.Kind == KindEntries) != (e.From < e.To) {
		return nil, fmt.Errorf("entries %d to %d, expected some in a delivery of entries and none in one of corrections", e.From, e.To)
	}
	if len(m.Files) > manifestFiles {
		return nil, fmt.Errorf("%d files, expected at most %d", len(m.Files), manifestFiles)
	}
	names := map[string]bool{}
	for _, f := range m.Files {
		if !fileName.MatchString(f.Name) || names[f.Name] {
			return nil, fmt.Errorf("a file %.64q, expected %s and files of records, each once", f.Name, vault.CheckpointName)
		}
		names[f.Name] = true
	}
	return m, nil
}

// chain are the manifests of a vault, each of which names the one before.
type chain struct {
	list []*Manifest
	last string // SHA-256 of the newest
}

// end is the first entry that no delivery covers.
func (c *chain) end() uint64 {
	if len(c.list) == 0 {
		return 0
	}
	return c.list[len(c.list)-1].Entries.To
}

// readChain reads all manifests of a vault.
func readChain(fsys fs.FS) (*chain, error) {
	c := &chain{last: zeros}
	names, err := vault.List(fsys, deliveryName.MatchString)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		want := nameOf(uint64(i) + 1)
		if name != want {
			return nil, &vault.Difference{Rule: "manifest-sequence", Where: name, Expected: want, Found: "it"}
		}
		data, err := vault.ReadFile(fsys, name+"/"+ManifestName, vault.FileMost)
		if err != nil {
			return nil, err
		}
		m, err := parseManifest(data)
		if err != nil {
			return nil, &vault.Difference{Rule: "manifest", Where: name, Expected: "a manifest", Found: err.Error()}
		}
		if err := c.next(name, m); err != nil {
			return nil, err
		}
		c.list, c.last = append(c.list, m), vault.Digest(data)
	}
	return c, nil
}

// next holds a manifest against the one before.
func (c *chain) next(name string, m *Manifest) error {
	differ := func(rule string, expected, found any) error {
		return &vault.Difference{Rule: rule, Where: name, Expected: fmt.Sprint(expected), Found: fmt.Sprint(found)}
	}
	if want := uint64(len(c.list)) + 1; m.Sequence != want {
		return differ("manifest-sequence", want, m.Sequence)
	}
	if m.Previous != c.last {
		return differ("manifest-chain", "the SHA-256 "+c.last+" of the manifest before", m.Previous)
	}
	if want := batch(m.Files); m.Batch != want {
		return differ("manifest-batch", want, m.Batch)
	}
	if len(c.list) == 0 {
		if m.Kind != KindEntries {
			return differ("manifest-range", "entries in the first delivery", m.Kind)
		}
		return nil
	}
	before := c.list[len(c.list)-1]
	if m.Origin != before.Origin {
		return differ("manifest-origin", before.Origin, m.Origin)
	}
	if m.Entries.From != before.Entries.To {
		return differ("manifest-range", fmt.Sprintf("entries from %d on", before.Entries.To), m.Entries.From)
	}
	if m.Entries.Size < before.Entries.Size {
		return differ("manifest-range", fmt.Sprintf("a checkpoint of %d entries or more", before.Entries.Size), m.Entries.Size)
	}
	return nil
}
