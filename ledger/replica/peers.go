package replica

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"maps"
	"sync"
	"time"

	"countroom/ledger/replica/core"

	"encoding/binary"
)

// peers is what a node remembers of the others: how far each was durable. So a node whose disk was put back to an earlier
// state is noticed when it comes back, and a log is kept for whoever is behind.
type peers struct {
	mu      sync.Mutex
	far     map[string]uint64 // by name, the farthest it ever said
	now     map[string]core.Report
	heard   map[string]time.Time
	pins    map[uint64]int
	lastPin time.Time
	pinAt   uint64
	saved   map[string]uint64
}

const (
	peersName = "peers"
	// pinFor is how long the log is kept for a node after it fetched a state.
	pinFor = time.Minute
)

func (p *peers) init() {
	p.far, p.now, p.heard, p.pins = map[string]uint64{}, map[string]core.Report{}, map[string]time.Time{}, map[uint64]int{}
}

// load reads what was remembered before; what is lost is no harm.
func (p *peers) load(n *Node) {
	f, err := n.fs.Open(n.fs.PathJoin(n.cfg.Dir, peersName))
	if err != nil {
		return
	}
	b, err := io.ReadAll(f)
	if errors.Join(err, f.Close()) != nil || len(b) < 4 || crc32.Checksum(b[4:], castagnoli) != binary.BigEndian.Uint32(b) {
		return
	}
	far := map[string]uint64{}
	if json.Unmarshal(b[4:], &far) == nil {
		p.far, p.saved = far, maps.Clone(far)
	}
}

func (p *peers) save(n *Node) {
	p.mu.Lock()
	far := maps.Clone(p.far)
	p.mu.Unlock()
	if maps.Equal(far, p.saved) {
		return
	}
	b, err := json.Marshal(far)
	if err == nil {
		err = n.writeFile(peersName, b)
	}
	if err != nil {
		n.cfg.Log.Error("what the other nodes have is not remembered", "node", n.self.Name, "error", err)
		return
	}
	p.saved = far
}

func (p *peers) report(name string, r core.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.far[name] = max(p.far[name], r.Durable)
	p.now[name], p.heard[name] = r, time.Now()
}

func (p *peers) durable(name string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.far[name]
}

// last returns what a node said last, and when.
func (p *peers) last(name string) (core.Report, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now[name], p.heard[name]
}

func (p *peers) pin(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pins[index]++
}

func (p *peers) unpin(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pins[index]--; p.pins[index] == 0 {
		delete(p.pins, index)
	}
	p.lastPin, p.pinAt = time.Now(), index
}

// pinned returns from where on the log is kept for nodes that fetch a state.
func (p *peers) pinned() (index uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.lastPin) < pinFor {
		index, ok = p.pinAt, true
	}
	for i := range p.pins {
		if !ok || i < index {
			index, ok = i, true
		}
	}
	return index, ok
}
