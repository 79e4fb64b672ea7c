package stock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

// leaves reads what fits a batch from the mirror's directory: entries of the log from
// one on, held once more against the tiles under the signed head, since a disk may have
// changed them.
func (f *Feeder) leaves(ctx context.Context, from, to uint64) (list [][]byte, err error) {
	size := 0
	for at := from; at < to && len(list) < batchMost; {
		block, err := f.block(ctx, at/tlog.TileWidth)
		if err != nil {
			return nil, err
		}
		for _, leaf := range block[at%tlog.TileWidth:] {
			if size += len(leaf); at == to || len(list) == batchMost || size > batchMostBytes && len(list) > 0 {
				return list, nil
			}
			list = append(list, leaf)
			at++
		}
	}
	return list, nil
}

// block reads an entry bundle.
func (f *Feeder) block(ctx context.Context, index uint64) ([][]byte, error) {
	t := f.truth
	hashes, err := t.tree.Edge(0), error(nil)
	if index < t.Size/tlog.TileWidth {
		if hashes, err = t.tree.Full(ctx, 0, index); err != nil {
			return nil, err
		}
	}
	const hashSize = len(tlog.Hash{})
	width := len(hashes) / hashSize
	path := tlog.EntriesPath(index, width)
	data, err := f.cfg.Mirror.Log().Read(ctx, nil, path, verify.BundleMost)
	if errors.Is(err, fs.ErrNotExist) { // it has grown, and the part is tidied away
		data, err = f.cfg.Mirror.Log().Read(ctx, nil, tlog.EntriesPath(index, tlog.TileWidth), verify.BundleMost)
	}
	if err != nil {
		return nil, err
	}
	leaves, err := tlog.ParseBundle(data)
	if err != nil || len(leaves) < width {
		return nil, fmt.Errorf("%s of the mirror: %d entries, want %d: %w", path, len(leaves), width, errors.Join(err, tlog.ErrFormat))
	}
	for i, leaf := range leaves[:width] {
		if tlog.LeafHash(leaf) != tlog.Hash(hashes[i*hashSize:]) {
			return nil, fmt.Errorf("%s of the mirror: an entry is not the leaf of its tile: start the mirror again, which fetches it anew", path)
		}
	}
	return leaves[:width], nil
}
