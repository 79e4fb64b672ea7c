package mirror

import (
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// Counts are what a mirror did and is, for whoever shows it.
type Counts struct {
	Size     uint64            // entries under the newest complete head
	Done     int64             // Unix time of the last round in which everything that the house shows was here
	Evidence int               // files in the directory
	Missing  int               // blobs that entries name and the house does not give
	Damaged  uint64            // files of the directory that were fetched again
	Refusals map[string]uint64 // rounds that came to nothing, by reason
	Fetched  map[string]uint64 // files that were verified and kept, by kind
}

type counts struct {
	mu sync.Mutex
	n  Counts
}

func (c *counts) change(f func(n *Counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.n)
}

// Counts returns what they are now.
func (m *Mirror) Counts() Counts {
	m.counts.mu.Lock()
	defer m.counts.mu.Unlock()
	n := m.counts.n
	n.Refusals, n.Fetched = maps.Clone(n.Refusals), maps.Clone(n.Fetched)
	if h := m.head.Load(); h != nil {
		n.Size = h.Size
	}
	return n
}

// evidenceFiles lists the evidence that is kept.
func (m *Mirror) evidenceFiles() ([]string, error) {
	kept, err := filepath.Glob(filepath.Join(m.path("evidence"), "*.json"))
	m.counts.change(func(n *Counts) { n.Evidence = len(kept) })
	if err == nil {
		_, err = os.Lstat(m.path("evidence"))
	}
	return kept, err
}
