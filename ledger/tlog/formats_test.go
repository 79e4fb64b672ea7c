package tlog

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/note"
)

var update = flag.Bool("update", false, "write the golden files")

// The key of the golden files, from a seed of zeros.
const origin = "casino.example/log"

var testKey = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func testSigner(t testing.TB, name string, key ed25519.PrivateKey) (note.Signer, note.Verifier) {
	t.Helper()
	pub := key.Public().(ed25519.PublicKey)
	s, err := NewSigner(name, pub, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := VKey(name, pub)
	if err != nil {
		t.Fatal(err)
	}
	v, err := NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

func wantFormat(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, ErrFormat) || errors.Is(err, ErrSignature) || errors.Is(err, ErrProof) {
		t.Errorf("%s: %v, want ErrFormat", what, err)
	}
}

func TestLeafHashIsThatOfRFC6962(t *testing.T) {
	for _, n := range []int{0, 1, 54, 55, 56, 1023, 2046, 2047, 2048, 2049, MaxEntrySize} {
		leaf := bytes.Repeat([]byte{7}, n)
		if got := LeafHash(leaf); !bytes.Equal(got[:], rfc6962.DefaultHasher.HashLeaf(leaf)) {
			t.Errorf("leaf of %d bytes: %x", n, got)
		}
	}
	left, right := LeafHash([]byte("l")), LeafHash([]byte("r"))
	if got := nodeHash(&left, &right); !bytes.Equal(got[:], rfc6962.DefaultHasher.HashChildren(left[:], right[:])) {
		t.Errorf("node: %x", got)
	}
	if got := emptyRoot(); !bytes.Equal(got[:], rfc6962.DefaultHasher.EmptyRoot()) {
		t.Errorf("empty root: %x", got)
	}
}

func TestPathsAreThoseOfTessera(t *testing.T) {
	for _, index := range []uint64{0, 1, 67, 999, 1000, 1067, 999_999, 1_000_000, 1_234_067, 123_456_789_012, math.MaxUint64} {
		for _, width := range []int{1, 17, 255, 256} {
			partial := uint8(width) // 256 is 0, a full tile
			for _, level := range []int{0, 1, 7, 10, 63} {
				path := TilePath(level, index, width)
				if want := layout.TilePath(uint64(level), index, partial); path != want {
					t.Errorf("path %s, want %s", path, want)
				}
				if r, err := ParsePath(path); err != nil || r != (Resource{KindTile, level, index, width}) {
					t.Errorf("%s parsed: %+v, %v", path, r, err)
				}
			}
			path := EntriesPath(index, width)
			if want := layout.EntriesPath(index, partial); path != want {
				t.Errorf("path %s, want %s", path, want)
			}
			if r, err := ParsePath(path); err != nil || r != (Resource{KindEntries, 0, index, width}) {
				t.Errorf("%s parsed: %+v, %v", path, r, err)
			}
		}
	}
}

func TestOtherPathsAreRefused(t *testing.T) {
	for _, path := range []string{
		"", "tile", "tile/", "tile/0", "tile/0/", "/tile/0/000", "tile/0/000/", "tile//000",
		"tile/64/000", "tile/00/000", "tile/-1/000", "tile/+1/000", "tile/256/000", "tile/x/000",
		"tile/0/0", "tile/0/00", "tile/0/0000", "tile/0/x000", "tile/0/x000/001", "tile/0/001/067", "tile/0/X001/067",
		"tile/0/x001/x067", "tile/0/x1/067", "tile/0/x001//067", "tile/0/xx001/067", "tile/0/001x", "tile/0/-01", "tile/0/+01",
		"tile/0/x018/x446/x744/x073/x709/x551/616", // 2^64
		"tile/0/000.p", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/-1",
		"tile/0/000.p/1/", "tile/0/000.p/1.p/1", "tile/0/x001.p/1/067", "tile/0/000p/1", "tile/0/000.p1",
		"tile/entries", "tile/entries/", "tile/entries/0", "tile/entries/0/000", "tile/entries/000.p/256",
		"tile/data/000", "checkpoint", "tile/0/000?x", "tile/0/000\x00", "tile/0/../000", "tile/0/٠٠٠",
		"tile/0/" + strings.Repeat("x000/", 1_000_000) + "000",
	} {
		r, err := ParsePath(path)
		wantFormat(t, path[:min(len(path), 60)], err)
		if r != (Resource{}) {
			t.Errorf("%.60q: %+v beside the error", path, r)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.60q: error of %d bytes", path, len(err.Error()))
		}
	}
}

func TestBundlesAreReadByTessera(t *testing.T) {
	leaves := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("b"), MaxEntrySize), []byte("c")}
	var b []byte
	for _, leaf := range leaves {
		b = AppendBundle(b, leaf)
	}
	got, err := ParseBundle(b)
	if err != nil || len(got) != len(leaves) {
		t.Fatalf("%d leaves, %v, want %d", len(got), err, len(leaves))
	}
	var theirs api.EntryBundle
	if err := theirs.UnmarshalText(b); err != nil || len(theirs.Entries) != len(leaves) {
		t.Fatalf("tessera: %d leaves, %v, want %d", len(theirs.Entries), err, len(leaves))
	}
	for i, leaf := range leaves {
		if !bytes.Equal(got[i], leaf) || !bytes.Equal(theirs.Entries[i], leaf) {
			t.Errorf("leaf %d differs", i)
		}
	}
	_ = append(got[0], "overwrite"...)
	if !bytes.Equal(got[2], leaves[2]) {
		t.Error("appending to a leaf wrote into the next one")
	}
}

func TestOtherBundlesAreRefused(t *testing.T) {
	entries := func(n int) []byte { return bytes.Repeat([]byte{0, 1, 'a'}, n) }
	if leaves, err := ParseBundle(entries(256)); err != nil || len(leaves) != 256 {
		t.Errorf("full bundle: %d leaves, %v", len(leaves), err)
	}
	for what, b := range map[string][]byte{
		"empty":           {},
		"257 entries":     entries(257),
		"half a length":   append(entries(2), 0),
		"entry cut short": append(entries(2), 0, 2, 'a'),
		"length only":     {255, 255},
	} {
		_, err := ParseBundle(b)
		wantFormat(t, what, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("an entry over the limit was put into a bundle")
		}
	}()
	AppendBundle(nil, make([]byte, MaxEntrySize+1))
}

func TestSignedCheckpointsAreThoseOfTheNotePackage(t *testing.T) {
	s, v := testSigner(t, origin, testKey)
	for _, size := range []uint64{0, 1, 109_482, math.MaxUint64} {
		c := Checkpoint{Origin: origin, Size: size, Root: sha256.Sum256([]byte{byte(size)})}
		got, err := Sign(c, s)
		if err != nil {
			t.Fatal(err)
		}
		want, err := note.Sign(&note.Note{Text: string(c.AppendBody(nil))}, s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("checkpoint\n%s\nwant\n%s", got, want)
		}
		if opened, err := Open(got, v); err != nil || opened != c {
			t.Errorf("opened: %+v, %v, want %+v", opened, err, c)
		}
	}
}

func TestKeysAreThoseOfTheNotePackage(t *testing.T) {
	skey, vkey, err := note.GenerateKey(bytes.NewReader(make([]byte, 64)), origin)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	key64 := vkey[strings.LastIndexByte(vkey, '+')+1:]
	key, err := base64.StdEncoding.DecodeString(key64)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := VKey(origin, key[1:]); err != nil || got != vkey {
		t.Errorf("vkey %s, %v, want %s", got, err, vkey)
	}
	ours, err := NewSigner(origin, key[1:], theirs.Sign)
	if err != nil {
		t.Fatal(err)
	}
	if ours.Name() != origin || ours.KeyHash() != theirs.KeyHash() {
		t.Errorf("signer %s+%08x, want %08x", ours.Name(), ours.KeyHash(), theirs.KeyHash())
	}
	if _, err := NewVerifier(vkey); err != nil {
		t.Error(err)
	}
	id := vkey[len(origin)+1 : len(origin)+9]
	for what, bad := range map[string]string{
		"empty":             "",
		"no id":             origin + "+" + key64,
		"upper-case id":     strings.Replace(vkey, id, strings.ToUpper(id), 1),
		"other id":          strings.Replace(vkey, id, "00000000", 1),
		"newline after it":  vkey + "\n",
		"newline inside":    vkey[:len(vkey)-4] + "\n" + vkey[len(vkey)-4:],
		"space before it":   " " + vkey,
		"other name":        "x" + vkey,
		"a fourth part":     vkey + "+x",
		"key cut short":     vkey[:len(vkey)-4],
		"name of no letter": strings.TrimPrefix(vkey, origin),
	} {
		if bad == vkey {
			t.Errorf("%s: the case is no case", what)
		}
		_, err := NewVerifier(bad)
		wantFormat(t, what, err)
	}
	for _, name := range []string{"", "a b", "a+b", "a\tb", "a\nb", "a\u00a0b", "a\u2003b", "a\x00b", "a\xffb"} {
		if _, err := VKey(name, key[1:]); !errors.Is(err, ErrFormat) {
			t.Errorf("key name %q: %v, want ErrFormat", name, err)
		}
	}
	if _, err := NewSigner(origin, key[2:], theirs.Sign); err == nil {
		t.Error("a public key of 31 bytes was taken")
	}
}

func TestSignRefusesAnotherOriginAndPassesErrorsOn(t *testing.T) {
	s, _ := testSigner(t, origin, testKey)
	if _, err := Sign(Checkpoint{Origin: "other.example"}, s); err == nil {
		t.Error("signed for another origin")
	}
	gone := errors.New("token was pulled")
	s, err := NewSigner(origin, testKey.Public().(ed25519.PublicKey), func([]byte) ([]byte, error) { return nil, gone })
	if err != nil {
		t.Fatal(err)
	}
	if msg, err := Sign(Checkpoint{Origin: origin}, s); !errors.Is(err, gone) || msg != nil {
		t.Errorf("sign: %q, %v", msg, err)
	}
}

func TestOtherCheckpointBodiesAreRefused(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	good := origin + "\n10\n" + root + "\n"
	if c, err := ParseCheckpointBody([]byte(good)); err != nil || c != (Checkpoint{Origin: origin, Size: 10}) {
		t.Fatalf("%+v, %v", c, err)
	}
	for what, text := range map[string]string{
		"empty":               "",
		"no origin":           "\n10\n" + root + "\n",
		"space in origin":     "a b\n10\n" + root + "\n",
		"plus in origin":      "a+b\n10\n" + root + "\n",
		"no size":             origin + "\n\n" + root + "\n",
		"leading zero":        origin + "\n010\n" + root + "\n",
		"sign":                origin + "\n+10\n" + root + "\n",
		"negative":            origin + "\n-1\n" + root + "\n",
		"2^64":                origin + "\n18446744073709551616\n" + root + "\n",
		"carriage return":     origin + "\n10\r\n" + root + "\n",
		"no last newline":     origin + "\n10\n" + root,
		"extension line":      good + "extension\n",
		"empty line":          good + "\n",
		"two lines":           origin + "\n10\n",
		"root of 31 bytes":    origin + "\n10\n" + base64.StdEncoding.EncodeToString(make([]byte, 31)) + "\n",
		"root of 33 bytes":    origin + "\n10\n" + base64.StdEncoding.EncodeToString(make([]byte, 33)) + "\n",
		"loose base64":        origin + "\n10\n" + root[:42] + "B=\n",
		"URL base64":          origin + "\n10\n_" + root[1:] + "\n",
		"root without pad":    origin + "\n10\n" + root[:43] + "\n",
		"origin of a million": strings.Repeat("a b", 1_000_000) + "\n10\n" + root + "\n",
	} {
		_, err := ParseCheckpointBody([]byte(text))
		wantFormat(t, what, err)
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%s: error of %d bytes", what, len(err.Error()))
		}
	}
}

func TestOpenTellsForgedFromMalformed(t *testing.T) {
	s, v := testSigner(t, origin, testKey)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	impostor, _ := testSigner(t, origin, other)
	witness, _ := testSigner(t, "witness.example", other)
	c := Checkpoint{Origin: origin, Size: 10, Root: sha256.Sum256([]byte("root"))}
	body := string(c.AppendBody(nil))
	good, err := Sign(c, s)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(text string, signers ...note.Signer) []byte {
		msg, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}

	for what, msg := range map[string][]byte{
		"alone":                    good,
		"cosigned":                 sign(body, s, witness),
		"cosigned before":          sign(body, witness, s),
		"same name, other key":     sign(body, impostor, s),
		"cosignature that is junk": append(bytes.Clone(good), "— witness.example AAAAAAAA\n"...),
	} {
		if got, err := Open(msg, v); err != nil || got != c {
			t.Errorf("%s: %+v, %v, want %+v", what, got, err, c)
		}
	}

	later, err := Sign(Checkpoint{Origin: origin, Size: 11, Root: c.Root}, s)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.LastIndex(later, []byte("\n\n")) + 1 // the blank line and the signature
	for what, msg := range map[string][]byte{
		"other size":                []byte(strings.Replace(string(good), "\n10\n", "\n11\n", 1)),
		"by an impostor":            sign(body, impostor),
		"by a witness only":         sign(body, witness),
		"signature of another head": append([]byte(body), later[lines:]...),
	} {
		_, err := Open(msg, v)
		if !errors.Is(err, ErrSignature) || errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrSignature", what, err)
		}
	}

	for what, msg := range map[string][]byte{
		"empty":                  {},
		"no signature":           []byte(body + "\n"),
		"no blank line":          []byte(strings.Replace(string(good), "\n\n", "\n", 1)),
		"text after":             append(bytes.Clone(good), "more\n"...),
		"cut short":              good[:len(good)-1],
		"control character":      append([]byte{1}, good...),
		"not UTF-8":              append([]byte{0xff}, good...),
		"signed extension line":  sign(body+"extension\n", s),
		"signed other origin":    sign(string(Checkpoint{Origin: "other.example", Size: 1}.AppendBody(nil)), s),
		"signed other text":      sign("I owe you\n", s),
		"a thousand signatures":  append(bytes.Clone(good), bytes.Repeat([]byte("— witness.example AAAAAAAA\n"), 1000)...),
		"hyphen for the em dash": []byte(strings.Replace(string(good), "— ", "- ", 1)),
	} {
		_, err := Open(msg, v)
		wantFormat(t, what, err)
	}
}

func testReceipt(t testing.TB) (leaf, receipt []byte) {
	t.Helper()
	l := newLog(t)
	l.grow(t, 7)
	root, err := l.Root(7)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := testSigner(t, origin, testKey)
	checkpoint, err := Sign(Checkpoint{origin, 7, root}, s)
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := l.Inclusion(nil, 5, 7)
	if err != nil {
		t.Fatal(err)
	}
	return testLeaf(5), AppendReceipt(nil, 5, hashes, checkpoint)
}

func TestGoldenReceipt(t *testing.T) {
	leaf, receipt := testReceipt(t)
	vkey, err := VKey(origin, testKey.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"log.vkey":           []byte(vkey + "\n"),
		"leaf":               leaf,
		"receipt.tlog-proof": receipt,
	} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s\n%s\nwant\n%s", name, got, want)
		}
	}
}

func TestReceiptsAreThoseOfTheFormatsCodec(t *testing.T) {
	for n := range 64 {
		p := tlogproof.TLogProof{Index: uint64(n) * 987_654_321, Checkpoint: []byte("a\n1\n\n— b c\n")}
		for i := range n {
			p.Hashes = append(p.Hashes, testHash(uint64(i)))
		}
		got := AppendReceipt([]byte("before "), p.Index, p.Hashes, p.Checkpoint)
		if want := append([]byte("before "), p.Marshal()...); !bytes.Equal(got, want) {
			t.Errorf("receipt\n%s\nwant\n%s", got, want)
		}
	}
}

func TestAReceiptProvesItsLeafAndNoOther(t *testing.T) {
	leaf, text := testReceipt(t)
	_, v := testSigner(t, origin, testKey)
	r, err := ParseReceipt(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Verify(leaf, v)
	if err != nil || c.Size != 7 || c.Origin != origin {
		t.Errorf("%+v, %v", c, err)
	}
	for what, change := range map[string]func(*Receipt) []byte{
		"other leaf":   func(r *Receipt) []byte { return testLeaf(4) },
		"other index":  func(r *Receipt) []byte { r.Index = 4; return leaf },
		"index beyond": func(r *Receipt) []byte { r.Index = 7; return leaf },
		"one hash less": func(r *Receipt) []byte {
			r.Hashes = r.Hashes[1:]
			return leaf
		},
		"one hash more": func(r *Receipt) []byte {
			r.Hashes = append(r.Hashes, Hash{})
			return leaf
		},
		"flipped bit": func(r *Receipt) []byte {
			r.Hashes[0][0] ^= 1
			return leaf
		},
	} {
		forged, err := ParseReceipt(text)
		if err != nil {
			t.Fatal(err)
		}
		other := change(&forged)
		if _, err := forged.Verify(other, v); !errors.Is(err, ErrProof) || errors.Is(err, ErrSignature) || errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrProof", what, err)
		}
	}
	_, stranger := testSigner(t, origin, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize)))
	if _, err := r.Verify(leaf, stranger); !errors.Is(err, ErrSignature) || errors.Is(err, ErrProof) {
		t.Errorf("other key: %v, want ErrSignature", err)
	}
	r.Checkpoint = r.Checkpoint[1 : len(r.Checkpoint)-1]
	_, err = r.Verify(leaf, v)
	wantFormat(t, "checkpoint cut short", err)
}

func TestOtherReceiptsAreRefused(t *testing.T) {
	_, good := testReceipt(t)
	replace := func(old, by string) []byte {
		b := bytes.Replace(good, []byte(old), []byte(by), 1)
		if bytes.Equal(b, good) {
			t.Fatalf("no %q in the receipt", old)
		}
		return b
	}
	for what, b := range map[string][]byte{
		"empty":                  {},
		"other version":          replace("@v1", "@v2"),
		"no index":               replace("index 5\n", ""),
		"leading zero":           replace("index 5", "index 05"),
		"sign":                   replace("index 5", "index +5"),
		"index of 65 bits":       replace("index 5", "index 18446744073709551616"),
		"carriage return":        replace("index 5\n", "index 5\r\n"),
		"carriage return at end": append(bytes.Clone(good[:len(good)-1]), "\r\n"...),
		"no last newline":        good[:len(good)-1],
		"extra data":             replace("index 5\n", "extra AAAA\nindex 5\n"),
		"empty extra data":       replace("index 5\n", "extra \nindex 5\n"),
		"no blank line":          []byte("c2sp.org/tlog-proof@v1\nindex 5\n"),
		"a hash of 3 bytes":      replace("index 5\n", "index 5\nAAAA\n"),
		"loose base64":           replace("index 5\n", "index 5\n"+strings.Repeat("A", 42)+"B=\n"),
		"line of 70,000":         append(append(bytes.Clone(good), bytes.Repeat([]byte("a"), 70_000)...), '\n'),
		"space before":           append([]byte(" "), good...),
	} {
		_, err := ParseReceipt(b)
		wantFormat(t, what, err)
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	l := newLog(t)
	l.grow(t, 3000)
	checkpoint := bytes.Repeat([]byte("c"), 250)
	hashes := make([]Hash, 0, 64)
	text := make([]byte, 0, 4096)
	small, large := make([]byte, 500), make([]byte, MaxEntrySize)
	for what, f := range map[string]func(){
		"LeafHash":       func() { LeafHash(small) },
		"LeafHash large": func() { LeafHash(large) },
		"Inclusion":      func() { hashes, _ = l.Inclusion(hashes[:0], 2900, 3000) },
		"AppendReceipt":  func() { text = AppendReceipt(text[:0], 2900, hashes, checkpoint) },
		"AppendBundle":   func() { text = AppendBundle(text[:0], small) },
	} {
		f()
		if n := testing.AllocsPerRun(200, f); n != 0 && !raceDetector {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

// The base64 of a key may itself hold a plus sign.
func TestVerifierKeysOfManyKeys(t *testing.T) {
	for i := range 200 {
		seed := sha256.Sum256([]byte{byte(i)})
		pub := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
		vkey, err := VKey("casino.example/log", pub)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewVerifier(vkey); err != nil {
			t.Fatalf("%s: %v", vkey, err)
		}
	}
}
