package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"countroom/ledger/store"
)

// indexStore is a store of index rows and nothing else.
type indexStore struct {
	store.Store
	rows []store.Row // by key
}

func (s indexStore) Index(key []byte) ([]byte, error) {
	for _, r := range s.rows {
		if bytes.Equal(r.Key, key) {
			return r.Value, nil
		}
	}
	return nil, nil
}

func (s indexStore) Snapshot() (store.Reader, error) { return indexReader{rows: s.rows}, nil }

type indexReader struct {
	store.Reader
	rows []store.Row
}

func (r indexReader) ScanIndex(from, to []byte, reverse bool, yield func(store.Row) error) error {
	rows := slices.Clone(r.rows)
	if reverse {
		slices.Reverse(rows)
	}
	for _, row := range rows {
		if bytes.Compare(row.Key, from) < 0 || bytes.Compare(row.Key, to) >= 0 {
			continue
		}
		if err := yield(row); err != nil {
			return err
		}
	}
	return nil
}

func (indexReader) Close() error { return nil }

// A stored index row that is not what the indexer writes is ErrCorrupt to
// whoever meets it, and hides no other.
func FuzzIndexRow(f *testing.F) {
	key, player := [16]byte{1, 2, 3}, [16]byte{4, 5, 6}
	byKey, byPlayer := IndexRow{ByKey, key, 7}, IndexRow{'r', player, 8}
	keyRow := byKey.appendKey(nil)
	honest := []store.Row{{Key: keyRow[:keyLen], Value: keyRow[keyLen:]}, {Key: byPlayer.appendKey(nil), Value: empty}}
	for _, r := range honest {
		for n := range len(r.Key) {
			f.Add(r.Key[:n], r.Value)
		}
		f.Add(append(bytes.Clone(r.Key), 0), r.Value)
	}
	f.Add(append([]byte{'K'}, make([]byte, 16)...), []byte{1})
	f.Add(append([]byte{'K'}, make([]byte, 16)...), make([]byte, 8))
	f.Add((&IndexRow{'r', player, 3}).appendKey(nil), empty)
	set := newFilter()
	f.Fuzz(func(t *testing.T, k, value []byte) {
		if bytes.Equal(k, honest[0].Key) || bytes.Equal(k, honest[1].Key) {
			return
		}
		rows := append(slices.Clone(honest), store.Row{Key: k, Value: value})
		slices.SortFunc(rows, func(a, b store.Row) int { return bytes.Compare(a.Key, b.Key) })
		set.ready.Store(false)
		x := &indexer{store: indexStore{rows: rows}, filter: set, written: 1 << 62}

		isKey := len(k) > 0 && k[0] == byte(ByKey)
		if err := set.fill(x.store, nil); errors.Is(err, store.ErrCorrupt) != (isKey && len(k) != keyLen) {
			t.Fatalf("filling the filter: %v", err)
		}
		if at, found, err := x.key(key); at != 7 || !found || err != nil {
			t.Fatalf("the honest key leads to %d, %t, %v", at, found, err)
		}
		if isKey && len(k) == keyLen {
			at, found, err := x.key([16]byte(k[1:]))
			if len(value) != 8 {
				if !errors.Is(err, store.ErrCorrupt) {
					t.Fatalf("a value of %d bytes leads to %d, %v", len(value), at, err)
				}
			} else if !found || at != binary.BigEndian.Uint64(value) || err != nil {
				t.Fatalf("%x leads to %d, %t, %v", value, at, found, err)
			}
		}
		found, err := x.find('r', player, 1<<62, 10)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) || len(k) == rowLen {
				t.Fatal(err)
			}
			return
		}
		want := []uint64{8}
		if len(k) == rowLen && bytes.HasPrefix(k, honest[1].Key[:keyLen]) {
			if at := binary.BigEndian.Uint64(k[keyLen:]); at < 1<<62 {
				want = append(want, at)
			}
		}
		slices.Sort(want)
		slices.Reverse(want)
		if !slices.Equal(found, want) {
			t.Fatalf("found %d, want %d", found, want)
		}
	})
}
