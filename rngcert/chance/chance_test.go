package chance

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"

	"countroom/rngcert/drbg"
	"countroom/rngcert/uniform"
)

const origin = "example.com/house"

// plainDraw is the draw as the package comment writes it, by crypto/hmac.
func plainDraw(key [32]byte, origin, game, version string, player [16]byte, n uint64, step uint32, nonce []byte) (r Hash) {
	var frame []byte
	for _, field := range [][]byte{
		[]byte("countroom/draw/v1"), []byte(origin), []byte(game), []byte(version), player[:],
		binary.BigEndian.AppendUint64(nil, n), binary.BigEndian.AppendUint64(nil, uint64(step)), nonce,
	} {
		frame = binary.BigEndian.AppendUint32(frame, uint32(len(field)))
		frame = append(frame, field...)
	}
	h := hmac.New(sha256.New, key[:])
	h.Write(frame)
	h.Sum(r[:0])
	return r
}

func TestDrawIsTheMACOfItsFrame(t *testing.T) {
	key := [32]byte{0: 9, 31: 7}
	player := [16]byte{1, 2, 3}
	nonce := slices.Repeat([]byte{0xa5}, NonceSize)
	long := string(slices.Repeat([]byte{'x'}, 3000))
	// Origins around the block size of SHA-256, for the part hashed in advance.
	for _, origin := range []string{"", origin, long[:38], long[:39], long[:40], long} {
		d := NewDrawer(key, origin)
		for _, game := range []string{"", "slots/orchard", long} {
			for _, nonce := range [][]byte{nil, {}, nonce} {
				for n := range uint64(3) {
					got := d.Draw(game, "1.0.0", player, n<<40, uint32(n), nonce)
					want := plainDraw(key, origin, game, "1.0.0", player, n<<40, uint32(n), nonce)
					if got != want {
						t.Fatalf("origin of %d bytes, game of %d, nonce of %d, n %d: got %x, want %x",
							len(origin), len(game), len(nonce), n<<40, got, want)
					}
				}
			}
		}
	}
}

// Each argument counts, and none can pass for its neighbour.
func TestDrawsDiffer(t *testing.T) {
	key := [32]byte{1}
	d := NewDrawer(key, origin)
	player := [16]byte{1}
	zeros := make([]byte, NonceSize)
	draws := map[string]Hash{
		"base":           d.Draw("ab", "c", player, 1, 0, nil),
		"shifted names":  d.Draw("a", "bc", player, 1, 0, nil),
		"another game":   d.Draw("ac", "c", player, 1, 0, nil),
		"version":        d.Draw("ab", "d", player, 1, 0, nil),
		"player":         d.Draw("ab", "c", [16]byte{2}, 1, 0, nil),
		"round":          d.Draw("ab", "c", player, 2, 0, nil),
		"step":           d.Draw("ab", "c", player, 1, 1, nil),
		"swapped":        d.Draw("ab", "c", player, 0, 1, nil),
		"nonce":          d.Draw("ab", "c", player, 1, 0, zeros),
		"another house":  NewDrawer(key, origin+"2").Draw("ab", "c", player, 1, 0, nil),
		"another epoch":  NewDrawer([32]byte{2}, origin).Draw("ab", "c", player, 1, 0, nil),
		"origin to game": NewDrawer(key, origin+"a").Draw("b", "c", player, 1, 0, nil),
	}
	seen := map[Hash]string{}
	for name, r := range draws {
		if other, ok := seen[r]; ok {
			t.Errorf("%q and %q draw the same", name, other)
		}
		seen[r] = name
	}
}

func TestDrawsRunConcurrently(t *testing.T) {
	key := [32]byte{3}
	d := NewDrawer(key, origin)
	var wg sync.WaitGroup
	for p := range byte(4) {
		wg.Go(func() {
			player := [16]byte{p}
			for n := range uint64(500) {
				if got := d.Draw("g", "1", player, n, 0, nil); got != plainDraw(key, origin, "g", "1", player, n, 0, nil) {
					t.Errorf("player %d, round %d: wrong draw", p, n)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestDestroyedKeyDrawsNothing(t *testing.T) {
	d := NewDrawer([32]byte{4}, origin)
	d.Draw("g", "1", [16]byte{}, 1, 0, nil)
	d.Destroy()
	for _, state := range [][]byte{d.key.inner, d.key.outer} {
		if len(state) == 0 || slices.ContainsFunc(state, func(b byte) bool { return b != 0 }) {
			t.Errorf("state not overwritten: %x", state)
		}
	}
	mustPanic(t, "draw after Destroy", func() { d.Draw("g", "1", [16]byte{}, 1, 0, nil) })
	d.Destroy() // twice is harmless
}

func TestMisuseStops(t *testing.T) {
	d := NewDrawer([32]byte{4}, origin)
	mustPanic(t, "nonce of 31 bytes", func() { d.Draw("g", "1", [16]byte{}, 1, 0, make([]byte, 31)) })
	mustPanic(t, "Int before Reset", func() { new(Expander).Int(6) })
	mustPanic(t, "Int of 0", func() {
		var x Expander
		x.Reset(Hash{})
		x.Int(0)
	})
	// A refused draw leaves the Drawer usable.
	d.Draw("g", "1", [16]byte{}, 1, 0, nil)
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	f()
}

// generalExpansion is the expansion by the DRBG of package drbg.
type generalExpansion struct {
	t     *testing.T
	drbg  *drbg.DRBG
	words []uint32
}

func expandByDRBG(t *testing.T, r Hash) *generalExpansion {
	g, err := drbg.New(r[:], []byte("countroom/drbg/1"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &generalExpansion{t: t, drbg: g}
}

func (e *generalExpansion) word() uint32 {
	if len(e.words) == 0 {
		var block [32]byte
		if err := e.drbg.Generate(block[:], nil); err != nil {
			e.t.Fatal(err)
		}
		for i := 0; i < len(block); i += 4 {
			e.words = append(e.words, binary.BigEndian.Uint32(block[i:]))
		}
	}
	w := e.words[0]
	e.words = e.words[1:]
	return w
}

func (e *generalExpansion) int(n uint32) uint32 {
	for {
		if v, ok := uniform.Reduce(e.word(), n); ok {
			return v
		}
	}
}

func TestExpanderIsTheGeneralDRBG(t *testing.T) {
	bounds := []uint32{1, 2, 6, 37, 52, 60, 1 << 16, 1<<31 + 1, 3 << 30, 1<<32 - 1}
	var x Expander
	for i := range 50 {
		r := sha256.Sum256([]byte{byte(i)})
		x.Reset(r) // each time over the remains of the last
		want := expandByDRBG(t, r)
		for j := range 3 * i {
			n := bounds[(i+j)%len(bounds)]
			if got, want := x.Int(n), want.int(n); got != want {
				t.Fatalf("draw %d, integer %d below %d: got %d, want %d", i, j, n, got, want)
			}
		}
	}
}

func TestKeyDependsOnEverything(t *testing.T) {
	s1, s2 := [32]byte{1}, [32]byte{2}
	c1, c2 := Commitment(origin, 1, s1, [32]byte{}), Commitment(origin, 2, s1, [32]byte{})
	keys := map[[32]byte]bool{
		DeriveKey(s1, c1, nil):             true,
		DeriveKey(s2, c1, nil):             true,
		DeriveKey(s1, c2, nil):             true,
		DeriveKey(s1, c1, []byte("drand")): true,
	}
	if len(keys) != 4 {
		t.Errorf("%d different keys of 4", len(keys))
	}
}

func TestSealOpensOnlyAsItWasSealed(t *testing.T) {
	key, secret, salt := [32]byte{1}, [32]byte{2}, [32]byte{3}
	context := []byte("example.com/house 7")
	sealed := Seal(key, context, [12]byte{4}, secret, salt)
	if len(sealed) != SealedSize {
		t.Fatalf("sealed to %d bytes, want %d", len(sealed), SealedSize)
	}
	gotSecret, gotSalt, err := Open(key, context, sealed)
	if err != nil || gotSecret != secret || gotSalt != salt {
		t.Fatalf("opened to %x, %x, %v", gotSecret, gotSalt, err)
	}
	refused := func(what string, key [32]byte, context, sealed []byte) {
		t.Helper()
		secret, salt, err := Open(key, context, sealed)
		if !errors.Is(err, ErrSealed) || secret != [32]byte{} || salt != [32]byte{} {
			t.Errorf("%s: got %x, %x, %v; want nothing and ErrSealed", what, secret, salt, err)
		}
	}
	refused("another key", [32]byte{9}, context, sealed)
	refused("another epoch", key, []byte("example.com/house 8"), sealed)
	refused("nothing", key, context, nil)
	refused("cut short", key, context, sealed[:len(sealed)-1])
	refused("too long", key, context, append(slices.Clone(sealed), 0))
	for i := range sealed {
		changed := slices.Clone(sealed)
		changed[i] ^= 1
		refused("changed byte", key, context, changed)
	}
}

func FuzzOpen(f *testing.F) {
	key, context := [32]byte{1}, []byte("epoch 1")
	good := Seal(key, context, [12]byte{4}, [32]byte{2}, [32]byte{3})
	f.Add(good)
	f.Add(good[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		_, _, err := Open(key, context, sealed)
		if (err == nil) != slices.Equal(sealed, good) {
			t.Errorf("Open(%x) = %v", sealed, err)
		}
	})
}
