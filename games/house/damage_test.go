package house_test

import (
	"errors"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/ledger/store"
)

// damaged is a store with one row or vault row that is not what was written.
type damaged struct {
	store.Store
	key   string
	value []byte
	met   *bool // whether it was read
}

func (d damaged) Row(key []byte) ([]byte, error)   { return d.read(d.Store.Row, key) }
func (d damaged) Vault(key []byte) ([]byte, error) { return d.read(d.Store.Vault, key) }

func (d damaged) read(get func([]byte) ([]byte, error), key []byte) ([]byte, error) {
	if string(key) != d.key {
		return get(key)
	}
	*d.met = true
	return d.value, nil
}

func (d damaged) Snapshot() (store.Reader, error) {
	r, err := d.Store.Snapshot()
	return damagedReader{r, d}, err
}

type damagedReader struct {
	store.Reader
	damaged damaged
}

func (r damagedReader) Row(key []byte) ([]byte, error) { return r.damaged.read(r.Reader.Row, key) }
func (r damagedReader) Vault(key []byte) ([]byte, error) {
	return r.damaged.read(r.Reader.Vault, key)
}

// A start that meets a damaged row refuses; and a house whose damaged row was
// not met is whole.
func TestADamagedRowRefusesToStart(t *testing.T) {
	dir := t.TempDir()
	var st store.Store
	h := housetest.Open(t, dir, func(lc *ledger.Config, _ *house.Config) { st = lc.Store })
	spin(t, h, seated(t, h, "regular", 1000), "a", 20)
	var keys []string
	r, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	note := func(row store.Row) error {
		keys = append(keys, string(row.Key))
		return nil
	}
	if err := errors.Join(r.ScanRows(nil, note), r.ScanVault(nil, note), r.Close()); err != nil {
		t.Fatal(err)
	}
	h.Close()

	refusals := 0
	for _, key := range keys {
		met := false
		s := &start{TB: t}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			housetest.Open(s, dir, func(lc *ledger.Config, _ *house.Config) {
				lc.Store = damaged{lc.Store, key, []byte(`{}`), &met}
				lc.Fatal = func(error) {}
			})
		}()
		<-ended
		for i := len(s.cleanups) - 1; i >= 0; i-- {
			s.cleanups[i]()
		}
		if met != (s.err != nil) {
			t.Errorf("%s: read %t, refused with %v", key, met, s.err)
		}
		if s.err != nil {
			refusals++
		}
	}
	if refusals < 5 {
		t.Errorf("only %d refusals of %d damaged rows", refusals, len(keys))
	}
	audit(t, housetest.Open(t, dir))
}
