package cdb

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"countroom/regulator/vault"
)

// seeds are the files of the golden delivery.
func seeds(f *testing.F, pattern string) {
	f.Helper()
	list, err := filepath.Glob(filepath.Join("testdata", "golden", pattern))
	if err != nil || len(list) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range list {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><Records>&b;</Records>`))
	f.Add([]byte(`<Records xmlns="x"/>`))
	f.Add([]byte("<ControlManifest></ControlManifest>"))
}

// What is read as a file is written as the same bytes, so nothing else can hide in them.
func FuzzFile(f *testing.F) {
	seeds(f, "*/*-0*.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parseFile(data)
		if err != nil {
			return
		}
		again, err := vault.Encode(file)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v: %q", err, again)
		}
		if n := len(file.records()); n < 1 || n > RecordsMost {
			t.Errorf("%d records", n)
		}
	})
}

func FuzzManifest(f *testing.F) {
	seeds(f, "*/manifest.xml")
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest(data)
		if err != nil {
			return
		}
		again, err := vault.Encode(m)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%v: %q", err, again)
		}
		for _, of := range m.Files {
			if !filepath.IsLocal(of.Name) || filepath.Base(of.Name) != of.Name {
				t.Errorf("a file %q", of.Name)
			}
		}
	})
}
