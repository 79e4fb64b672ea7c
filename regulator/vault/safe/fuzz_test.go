package safe

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"countroom/ledger/tlog"
	"countroom/regulator/vault"
)

func seeds(f *testing.F, name string) {
	f.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "golden", days[0], name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Delivery>&b;</Delivery>`))
}

// exact demands that what was read is written as the same bytes.
func exact(t *testing.T, v any, data []byte) {
	t.Helper()
	again, err := vault.Encode(v)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: %q", err, again)
	}
}

func FuzzSessions(f *testing.F) {
	seeds(f, recordsName(1))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseSessions(data); err == nil {
			exact(t, s, data)
		}
	})
}

func FuzzManifest(f *testing.F) {
	seeds(f, ManifestName)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		exact(t, m, data)
		for _, of := range m.Files {
			if filepath.Base(of.Name) != of.Name {
				t.Errorf("a file %q", of.Name)
			}
		}
	})
}

func FuzzSeal(f *testing.F) {
	seeds(f, SealName)
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := parseSeal(data); err == nil {
			exact(t, s, data)
		}
	})
}

func FuzzEndOfDay(f *testing.F) {
	seeds(f, endName)
	f.Fuzz(func(t *testing.T, data []byte) {
		var e EndOfDay
		if err := vault.Decode(data, &e); err == nil {
			exact(t, &e, data)
			totals(nil, &e)
		}
	})
}

func FuzzRanges(f *testing.F) {
	for _, s := range []string{"0", "7 9-12", "1-2 4", "9-8", "1 2", "0-5 7-9 11"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseRanges(s)
		if err != nil {
			return
		}
		b := bound{ranges: list}
		if l := b.ledger(tlog.Checkpoint{}); l.Entries != s || l.First != list[0][0] {
			t.Errorf("%q is %q", s, l.Entries)
		}
	})
}
