package mirror

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify"
)

const hashSize = len(tlog.Hash{})

// complete brings everything under an accepted head into the directory, and
// publishes it. What is there already and true is not fetched.
func (m *Mirror) complete(ctx context.Context, h evidence.Head, tree *evidence.Tree) error {
	for level := 7; level >= 0; level-- {
		edge := tree.Edge(level)
		if len(edge) == 0 {
			continue
		}
		index := h.Size >> (8 * level) / tlog.TileWidth
		path := tlog.TilePath(level, index, len(edge)/hashSize)
		if !bytes.Equal(m.Stored(ctx, path, len(edge)), edge) {
			if err := m.write(path, edge, 0o644); err != nil {
				return err
			}
		}
		if level > 0 {
			if err := m.below(ctx, tree, level, index, edge); err != nil {
				return err
			}
			continue
		}
		if err := m.blocks(ctx, tree, []*block{{index: index, tile: edge}}); err != nil {
			return err
		}
	}
	if m.cfg.Leaves && h.Size > 0 {
		if !slices.ContainsFunc(m.cfg.VKeys, m.chain.Has) {
			return fmt.Errorf("%w %s: the log of size %d does not name it as its", tlog.ErrSignature, m.cfg.VKeys[0], h.Size)
		}
		if _, err := openBy(h.Note, m.chain.InForce(h.Size)); err != nil {
			return fmt.Errorf("size %d, by the keys that the log has in force there: %w", h.Size, err)
		}
		if err := m.learn(m.chain.InForce(h.Size)); err != nil {
			return err
		}
	}
	return m.publish(h)
}

// below completes what is under a tile of a level above the lowest.
func (m *Mirror) below(ctx context.Context, tree *evidence.Tree, level int, index uint64, over []byte) error {
	first := index * tlog.TileWidth
	var group []*block
	for j := range uint64(len(over) / hashSize) {
		child := first + j
		if (child+1)<<(8*level) <= m.verified {
			continue
		}
		if level == 1 {
			group = append(group, &block{index: child, over: over})
			if len(group) < m.cfg.Workers && j+1 < uint64(len(over)/hashSize) {
				continue
			}
			if err := m.blocks(ctx, tree, group); err != nil {
				return err
			}
			group = group[:0]
			continue
		}
		tile, err := m.tile(ctx, tree, level-1, child, over)
		if err != nil {
			return err
		}
		if err := m.below(ctx, tree, level-1, child, tile); err != nil {
			return err
		}
	}
	return nil
}

// tile returns a full tile, from here or from the house, which is then kept.
func (m *Mirror) tile(ctx context.Context, tree *evidence.Tree, level int, index uint64, over []byte) ([]byte, error) {
	path := tlog.TilePath(level, index, tlog.TileWidth)
	if data := m.Stored(ctx, path, tlog.TileWidth*hashSize); data != nil {
		if err := tree.Under(level, index, data, over); err == nil {
			return data, nil
		}
		m.damaged(path)
	}
	data, err := evidence.Tiles(m.src)(ctx, level, index, tlog.TileWidth)
	if err != nil {
		return nil, err
	}
	if err := tree.Under(level, index, data, over); err != nil {
		return nil, err
	}
	m.counts.change(func(n *Counts) { n.Fetched["tile"]++ })
	return data, m.write(path, data, 0o644)
}

func (m *Mirror) damaged(path string) {
	m.counts.change(func(n *Counts) { n.Damaged++ })
	m.cfg.Log.Warn("a file in the directory is damaged and is fetched again", "file", path)
}

// block is a tile of the lowest level with its bundle.
type block struct {
	index uint64
	tile  []byte // part of one; a full one is found under
	over  []byte

	leading map[uint64][]byte // entries about keys
	blobs   [][32]byte
}

// blocks completes some blocks at once, and then takes them in order.
func (m *Mirror) blocks(ctx context.Context, tree *evidence.Tree, list []*block) error {
	var running sync.WaitGroup
	errs := make([]error, len(list))
	for i, b := range list {
		running.Go(func() { errs[i] = m.block(ctx, tree, b) })
	}
	running.Wait()
	for i, b := range list {
		if errs[i] != nil {
			return errs[i]
		}
		width := uint64(len(b.tile) / hashSize)
		for index := b.index * tlog.TileWidth; index < b.index*tlog.TileWidth+width; index++ {
			if index >= m.chained {
				if leaf := b.leading[index]; leaf != nil {
					m.chain.Leaf(index, leaf)
				}
				m.chained = index + 1
			}
		}
		for _, digest := range b.blobs {
			if sha256.Sum256(m.Stored(ctx, verify.BlobPath(digest), verify.BlobMost)) != digest && len(m.missing) < missingMost {
				m.missing[digest] = true
			}
		}
		m.verified = max(m.verified, b.index*tlog.TileWidth+width)
	}
	return nil
}

func (m *Mirror) block(ctx context.Context, tree *evidence.Tree, b *block) (err error) {
	if b.tile == nil {
		if b.tile, err = m.tile(ctx, tree, 0, b.index, b.over); err != nil {
			return err
		}
	}
	if !m.cfg.Leaves {
		return nil
	}
	width := len(b.tile) / hashSize
	path := tlog.EntriesPath(b.index, width)
	var leaves [][]byte
	if data := m.Stored(ctx, path, verify.BundleMost); data != nil {
		if leaves, err = tlog.ParseBundle(data); err == nil {
			err = b.check(path, data, leaves)
		}
		if err != nil {
			leaves = nil
			m.damaged(path)
		}
	}
	if leaves == nil {
		if leaves, err = m.leaves(ctx, b.index, width); err != nil {
			return err
		}
		var data []byte
		for _, leaf := range leaves {
			data = tlog.AppendBundle(data, leaf)
		}
		if err := b.check(path, data, leaves); err != nil {
			return err
		}
		m.counts.change(func(n *Counts) { n.Fetched["entries"]++ })
		if err := m.write(path, data, 0o640); err != nil {
			return err
		}
	}
	b.leading = map[uint64][]byte{}
	for i, leaf := range leaves {
		if index := b.index*tlog.TileWidth + uint64(i); verify.Leads(index, leaf) {
			b.leading[index] = leaf
		}
		b.blobs = append(b.blobs, verify.BlobsOf(leaf)...)
	}
	return nil
}

// check holds entries against the block's tile.
func (b *block) check(path string, data []byte, leaves [][]byte) error {
	if len(leaves) != len(b.tile)/hashSize {
		return fmt.Errorf("%s: %w: %d entries, want %d", path, tlog.ErrFormat, len(leaves), len(b.tile)/hashSize)
	}
	for i, leaf := range leaves {
		want := tlog.Hash(b.tile[i*hashSize:])
		if found := tlog.LeafHash(leaf); found != want {
			return &badEntries{path, data, want, found}
		}
	}
	return nil
}

// leaves reads a bundle of the house, of which nothing is known yet. A log that
// has grown may hold only the full one.
func (m *Mirror) leaves(ctx context.Context, index uint64, width int) ([][]byte, error) {
	path := tlog.EntriesPath(index, width)
	data, err := m.src.Read(ctx, nil, path, verify.BundleMost)
	full := false
	if width < tlog.TileWidth && errors.Is(err, fs.ErrNotExist) {
		if whole, bad := m.src.Read(ctx, nil, tlog.EntriesPath(index, tlog.TileWidth), verify.BundleMost); bad == nil {
			data, err, full = whole, nil, true
		}
	}
	if err != nil {
		return nil, err
	}
	leaves, err := tlog.ParseBundle(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(leaves) != width && !(full && len(leaves) == tlog.TileWidth) {
		return nil, fmt.Errorf("%s: %w: %d entries, want %d", path, tlog.ErrFormat, len(leaves), width)
	}
	return leaves[:width], nil
}

// blobs fetches what entries name and the directory lacks. The log is whole
// without them: one that the house does not give is asked for in each round.
func (m *Mirror) blobs(ctx context.Context) error {
	var last error
	for digest := range m.missing {
		path := verify.BlobPath(digest)
		data, err := m.src.Read(ctx, nil, path, verify.BlobMost)
		if err == nil && sha256.Sum256(data) != digest {
			err = fmt.Errorf("%s: %w: another digest", path, tlog.ErrFormat)
		}
		if err == nil {
			if err := m.write(path, data, 0o640); err != nil {
				return err
			}
			m.counts.change(func(n *Counts) { n.Fetched["blob"]++ })
			delete(m.missing, digest)
			continue
		}
		last = err
	}
	m.counts.change(func(n *Counts) { n.Missing = len(m.missing) })
	return last
}
