package tlog

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"

	formats "github.com/transparency-dev/formats/log"
	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"golang.org/x/mod/sumdb/note"
	sumdb "golang.org/x/mod/sumdb/tlog"
)

// spent fails the test if f allocates more than it may for n bytes of input:
// so many times n, and a mebibyte that others in the process may have taken.
func spent(t *testing.T, n, times int, f func()) {
	t.Helper()
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	got := uint64(math.MaxUint64)
	for range 5 { // others may take more at any time, but f takes as much each time
		metrics.Read(s)
		before := s[0].Value.Uint64()
		f()
		metrics.Read(s)
		if got = min(got, s[0].Value.Uint64()-before); got <= uint64(times*n+1<<20) {
			return
		}
	}
	t.Errorf("%d bytes of input took %d bytes of memory", n, got)
}

// exampleFile is the one file of docs/formats that the pattern names.
func exampleFile(f *testing.F, pattern string) []byte {
	names, err := filepath.Glob("../../docs/formats/examples/" + pattern)
	if err != nil || len(names) != 1 {
		f.Fatalf("%s: %q, %v", pattern, names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// A path is what its values are written as, and where golang.org/x/mod knows
// the path, by its own names, the values are the same.
func FuzzParsePath(f *testing.F) {
	for _, path := range []string{
		"tile/0/000", "tile/63/x001/x234/067.p/17", "tile/entries/x001/067.p/5", "tile/0/x018/x446/x744/x073/x709/x551/615.p/255", "tile/00/0", "checkpoint",
		"tile/0/x018/x446/x744/x073/x709/x551/616", "tile/entries/x009/x223/x372/x036/x854/x775/808", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/x000/001", "tile/+1/000",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := ParsePath(path)
		theirs, known := readBySumdb(path)
		if err != nil {
			if !errors.Is(err, ErrFormat) || known {
				t.Errorf("%q: %v, golang.org/x/mod reads %+v", path, err, theirs)
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
		if known != (r.Index <= math.MaxInt64) || known && r != theirs { // there it is an int64
			t.Errorf("%q: %+v, golang.org/x/mod reads %+v", path, r, theirs)
		}
	})
}

// readBySumdb reads a path as a tile of the Go checksum database, which has the
// height in its paths and names bundles otherwise.
func readBySumdb(path string) (Resource, bool) {
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || strings.HasPrefix(rest, "data/") {
		return Resource{}, false
	}
	if index, ok := strings.CutPrefix(rest, "entries/"); ok {
		rest = "data/" + index
	}
	tile, err := sumdb.ParseTilePath("tile/8/" + rest)
	if err != nil || tile.L > levelMax { // there it has no limit
		return Resource{}, false
	}
	r := Resource{Kind: KindTile, Level: tile.L, Index: uint64(tile.N), Width: tile.W}
	if tile.L == -1 {
		r.Kind, r.Level = KindEntries, 0
	}
	return r, true
}

// A bundle is what its entries are written as, and Tessera reads the same.
func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{})
	f.Add(AppendBundle(AppendBundle(nil, []byte("one")), []byte("two")))
	f.Add([]byte{0, 0, 0, 3, 'a'})
	f.Add([]byte{0xff, 0xff, 'a'})
	f.Add(make([]byte, 2*TileWidth))
	f.Add(make([]byte, 2*TileWidth+2))
	f.Add(exampleFile(f, "log/tile/entries/000.p/*"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var leaves [][]byte
		var err error
		spent(t, len(b), 0, func() { leaves, err = ParseBundle(b) }) // the entries alias it
		var theirs api.EntryBundle
		refused := theirs.UnmarshalText(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			if n := len(theirs.Entries); refused == nil && n > 0 && n <= TileWidth {
				t.Errorf("%x: %v, Tessera reads %d entries", b, err, n)
			}
			return
		}
		if refused != nil || len(theirs.Entries) != len(leaves) || len(leaves) < 1 || len(leaves) > TileWidth {
			t.Fatalf("%x: %d entries, Tessera reads %d, %v", b, len(leaves), len(theirs.Entries), refused)
		}
		var again []byte
		for i, leaf := range leaves {
			if !bytes.Equal(leaf, theirs.Entries[i]) {
				t.Errorf("entry %d is %x, Tessera reads %x", i, leaf, theirs.Entries[i])
			}
			again = AppendBundle(again, leaf)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// A checkpoint's text is what its values are written as. The formats module
// reads the same, and what it reads and writes back unchanged is refused only
// for its extension lines, its origin or its root's length.
func FuzzParseCheckpointBody(f *testing.F) {
	f.Add(Checkpoint{Origin: origin, Size: 10}.AppendBody(nil))
	f.Add([]byte("a\n01\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add([]byte("a\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n\n"))
	f.Add([]byte("a\n18446744073709551616\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add(exampleFile(f, "log/checkpoint"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCheckpointBody(text)
		var theirs formats.Checkpoint
		rest, refused := theirs.Unmarshal(text)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			if refused == nil && len(rest) == 0 && bytes.Equal(theirs.Marshal(), text) && len(theirs.Hash) == len(c.Root) {
				if _, err := VKey(theirs.Origin, testKey.Public().(ed25519.PublicKey)); err == nil {
					t.Errorf("%q: %v, the formats module reads %+v", text, err, theirs)
				}
			}
			return
		}
		if again := c.AppendBody(nil); !bytes.Equal(again, text) {
			t.Errorf("%q became %q", text, again)
		}
		if refused != nil || len(rest) != 0 || theirs.Origin != c.Origin || theirs.Size != c.Size || !bytes.Equal(theirs.Hash, c.Root[:]) {
			t.Errorf("%q: %+v, the formats module reads %+v, %v", text, c, theirs, refused)
		}
	})
}

// A verifier key is what the note package writes for it.
func FuzzNewVerifier(f *testing.F) {
	good, err := VKey(origin, testKey.Public().(ed25519.PublicKey))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good + "\n")
	f.Add(strings.ToUpper(good))
	f.Add("a+00000000+AQ==")
	f.Add("+" + good)
	f.Add(strings.TrimSpace(string(exampleFile(f, "log.vkey"))))
	f.Fuzz(func(t *testing.T, vkey string) {
		v, err := NewVerifier(vkey)
		theirs, refused := note.NewVerifier(vkey)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		if refused != nil || theirs.Name() != v.Name() || theirs.KeyHash() != v.KeyHash() {
			t.Fatalf("%q: %s+%08x, the note package: %v", vkey, v.Name(), v.KeyHash(), refused)
		}
		key, err := base64.StdEncoding.DecodeString(vkey[len(v.Name())+len("+12345678+"):])
		if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 1 {
			t.Fatalf("%q has the key %x, %v", vkey, key, err)
		}
		if again, err := note.NewEd25519VerifierKey(v.Name(), key[1:]); err != nil || again != vkey {
			t.Errorf("%q became %q, %v", vkey, again, err)
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

// A receipt is what its values are written as, and it is refused where the
// formats module reads it only if that would write it otherwise or found an
// extra line.
func FuzzParseReceipt(f *testing.F) {
	leaf, receipt := testReceipt(f)
	_, v := testSigner(f, origin, testKey)
	f.Add(receipt)
	f.Add(bytes.Replace(receipt, []byte("index"), []byte("extra AAAA\nindex"), 1))
	f.Add(bytes.ReplaceAll(receipt, []byte("\n"), []byte("\r\n")))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 18446744073709551615\n" + strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 65) + "\n"))
	f.Add(exampleFile(f, "receipt.txt"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Receipt
		var err error
		spent(t, len(b), 32, func() { r, err = ParseReceipt(b) })
		var theirs tlogproof.TLogProof
		refused := theirs.Unmarshal(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) || refused == nil && theirs.ExtraData == nil && bytes.Equal(theirs.Marshal(), b) {
				t.Errorf("%q: %v, the formats module reads %+v", b, err, theirs)
			}
			return
		}
		if again := AppendReceipt(nil, r.Index, r.Hashes, r.Checkpoint); !bytes.Equal(again, b) {
			t.Errorf("%q became %q", b, again)
		}
		if refused != nil || !bytes.Equal(theirs.Marshal(), b) || theirs.Index != r.Index {
			t.Errorf("%q: the formats module reads %+v, %v", b, theirs, refused)
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

// FuzzTile puts other bytes into one of the stored tiles. The tree then has
// another root or none, or gives the true proofs, or an error, but never a
// proof that leads nowhere.
func FuzzTile(f *testing.F) {
	const size = TileWidth*TileWidth + 3*TileWidth + 5
	l := newLog(f)
	l.grow(f, size)
	root, err := l.Root(size)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), uint64(0), uint64(7), uint16(100), []byte{1}, uint16(8192))
	f.Add(uint8(0), uint64(257), uint64(257*TileWidth), uint16(0), []byte{}, uint16(8191))
	f.Add(uint8(1), uint64(0), uint64(60000), uint16(8191), []byte{0xff}, uint16(8192))
	f.Add(uint8(1), uint64(0), uint64(60000), uint16(0), make([]byte, 64), uint16(9000))
	f.Fuzz(func(t *testing.T, level uint8, tile, leaf uint64, at uint16, patch []byte, length uint16) {
		bad := tileID{int(level % 2), tile % (TileWidth + 3)}
		tree, err := NewTree(size, func(level int, index uint64) ([]byte, error) {
			data, err := l.store.load(level, index)
			if err == nil && bad == (tileID{level, index}) {
				if int(at) < len(data) {
					copy(data[at:], patch)
				}
				data = append(data, make([]byte, max(0, int(length)-len(data)))...)[:length]
			}
			return data, err
		}, hashesOf(size-size%TileWidth, size))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		got, err := tree.Root(size)
		if err != nil || got != root {
			return // the head or the checkpoint tells
		}
		leaf %= size
		hashes, err := tree.Inclusion(nil, leaf, size)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("%v, want ErrFormat", err)
			}
			return
		}
		h := testHash(leaf)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, leaf, size, h[:], slicesOf(hashes), root[:]); err != nil {
			t.Error(err)
		}
	})
}
