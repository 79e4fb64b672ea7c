package tlog

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func FuzzParsePath(f *testing.F) {
	for _, path := range []string{"tile/0/000", "tile/63/x001/x234/067.p/17", "tile/entries/x001/067.p/5", "tile/0/x018/x446/x744/x073/x709/x551/615.p/255", "tile/00/0", "checkpoint"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := ParsePath(path)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%q: %v, want ErrFormat", path, err)
			}
			return
		}
		again := ""
		switch r.Kind {
		case KindTile:
			again = TilePath(r.Level, r.Index, r.Width)
		case KindEntries:
			again = EntriesPath(r.Index, r.Width)
		}
		if again != path {
			t.Errorf("%q became %q", path, again)
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendBundle(AppendBundle(nil, []byte("one")), []byte("two")))
	f.Add([]byte{0, 0, 0, 3, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		leaves, err := ParseBundle(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		var again []byte
		for _, leaf := range leaves {
			again = AppendBundle(again, leaf)
		}
		if !bytes.Equal(again, b) || len(leaves) > TileWidth {
			t.Errorf("%x became %x in %d leaves", b, again, len(leaves))
		}
	})
}

func FuzzParseCheckpointBody(f *testing.F) {
	f.Add(Checkpoint{Origin: origin, Size: 10}.AppendBody(nil))
	f.Add([]byte("a\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add([]byte("a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCheckpointBody(text)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		if again := c.AppendBody(nil); !bytes.Equal(again, text) {
			t.Errorf("%q became %q", text, again)
		}
	})
}

// FuzzOpen changes a note in any way; what opens still has the text that was
// signed.
func FuzzOpen(f *testing.F) {
	s, v := testSigner(f, origin, testKey)
	c := Checkpoint{Origin: origin, Size: 10, Root: testHash(10)}
	msg, err := Sign(c, s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Add(append(bytes.Clone(msg), "— witness.example AAAAAAAA\n"...))
	f.Add([]byte(strings.Replace(string(msg), "10", "11", 1)))
	f.Add([]byte("\n\n— \n"))
	f.Fuzz(func(t *testing.T, msg []byte) {
		got, err := Open(msg, v)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrSignature) {
				t.Errorf("%v, want ErrFormat or ErrSignature", err)
			}
			return
		}
		if got != c || !bytes.HasPrefix(msg, c.AppendBody(nil)) {
			t.Errorf("%q opened as %+v", msg, got)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	leaf, receipt := testReceipt(f)
	_, v := testSigner(f, origin, testKey)
	f.Add(receipt)
	f.Add(bytes.Replace(receipt, []byte("index"), []byte("extra AAAA\nindex"), 1))
	f.Add(bytes.ReplaceAll(receipt, []byte("\n"), []byte("\r\n")))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReceipt(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		if again := AppendReceipt(nil, r.Index, r.Hashes, r.Checkpoint); !bytes.Equal(again, b) {
			t.Errorf("%q became %q", b, again)
		}
		// Only the checkpoint's cosignatures can differ from the real one.
		if _, err := r.Verify(leaf, v); err == nil {
			if r.Index != 5 || len(r.Hashes) != 3 {
				t.Errorf("%q verifies", b)
			}
		} else if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrSignature) && !errors.Is(err, ErrProof) {
			t.Errorf("%v, want one of the three", err)
		}
	})
}
