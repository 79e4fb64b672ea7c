package chance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// The vectors for a second implementation: bytes in hexadecimal, 64-bit integers
// as decimal strings.
type (
	vectors struct {
		Epochs []epochVector `json:"epochs"`
		Seals  []sealVector  `json:"seals"`
	}
	epochVector struct {
		Origin     string       `json:"origin"`
		Epoch      string       `json:"epoch"`
		Secret     string       `json:"secret"`
		Salt       string       `json:"salt"`
		Commitment string       `json:"commitment"`
		External   string       `json:"external"`
		Key        string       `json:"key"`
		Draws      []drawVector `json:"draws"`
	}
	drawVector struct {
		Game    string   `json:"game"`
		Version string   `json:"version"`
		Player  string   `json:"player"`
		N       string   `json:"n"`
		Step    uint32   `json:"step"`
		Nonce   string   `json:"nonce"`
		R       string   `json:"r"`
		Words   []string `json:"words"`  // the first 16
		Ranges  []uint32 `json:"ranges"` // n of each integer in [0, n)
		Ints    []uint32 `json:"ints"`
	}
	sealVector struct {
		Key     string `json:"key"`
		Context string `json:"context"`
		IV      string `json:"iv"`
		Secret  string `json:"secret"`
		Salt    string `json:"salt"`
		Sealed  string `json:"sealed"`
	}
)

// bytesFor gives each input of a vector bytes of its own.
func bytesFor(name string) [32]byte { return sha256.Sum256([]byte("vector " + name)) }

func vectorInputs() vectors {
	hexOf := func(name string, size int) string {
		b := bytesFor(name)
		return hex.EncodeToString(b[:size])
	}
	var v vectors
	reels := []uint32{20, 30, 40, 50, 60}
	draws := []drawVector{
		{Game: "slots/orchard", Version: "1.0.0", N: "1", Ranges: reels},
		{Game: "slots/orchard", Version: "1.0.0", N: "2", Nonce: hexOf("nonce", 32), Ranges: reels},
		{Game: "cards/deck", Version: "2026-01", N: "9007199254740993", Step: 3, Ranges: func() (r []uint32) {
			for n := uint32(52); n > 0; n-- {
				r = append(r, n)
			}
			return r
		}()},
		// Every second word or so is rejected, and some integers need many.
		{Game: "test/rejection", Version: "1", N: "18446744073709551615", Step: 1<<32 - 1, Nonce: hexOf("nonce 2", 32),
			Ranges: []uint32{1<<31 + 1, 1<<31 + 1, 1<<31 + 1, 1<<31 + 1, 1<<31 + 1, 1<<31 + 1, 1, 1<<32 - 1, 1 << 31, 3 << 30, 37}},
	}
	for i, e := range []epochVector{
		{Origin: "example.com/house", Epoch: "0"},
		{Origin: "example.com/house", Epoch: "1", External: hexOf("beacon", 32)},
		{Origin: "", Epoch: "18446744073709551615", External: hexOf("witness 1", 32) + hexOf("witness 2", 32) + "00"},
	} {
		e.Secret = hexOf(fmt.Sprintf("secret %d", i), 32)
		e.Salt = hexOf(fmt.Sprintf("salt %d", i), 32)
		for j, d := range draws {
			d.Player = hexOf(fmt.Sprintf("player %d", j), 16)
			e.Draws = append(e.Draws, d)
		}
		v.Epochs = append(v.Epochs, e)
	}
	for i, context := range []string{"", hex.EncodeToString([]byte("example.com/house epoch 1"))} {
		v.Seals = append(v.Seals, sealVector{
			Key: hexOf("seal key", 32), Context: context, IV: hexOf(fmt.Sprintf("iv %d", i), 12),
			Secret: v.Epochs[i].Secret, Salt: v.Epochs[i].Salt,
		})
	}
	return v
}

// compute fills what follows from the inputs of v.
func (v *vectors) compute(t *testing.T) {
	for i := range v.Epochs {
		e := &v.Epochs[i]
		secret, salt := unhex32(t, e.Secret), unhex32(t, e.Salt)
		c := Commitment(e.Origin, integer(t, e.Epoch), secret, salt)
		key := DeriveKey(secret, c, unhex(t, e.External))
		e.Commitment, e.Key = hex.EncodeToString(c[:]), hex.EncodeToString(key[:])
		drawer := NewDrawer(key, e.Origin)
		for j := range e.Draws {
			d := &e.Draws[j]
			r := drawer.Draw(d.Game, d.Version, [16]byte(unhex(t, d.Player)), integer(t, d.N), d.Step, unhex(t, d.Nonce))
			d.R = hex.EncodeToString(r[:])
			words := expandByDRBG(t, r)
			for range 16 {
				d.Words = append(d.Words, fmt.Sprintf("%08x", words.word()))
			}
			var x Expander
			x.Reset(r)
			for _, n := range d.Ranges {
				d.Ints = append(d.Ints, x.Int(n))
			}
		}
	}
	for i := range v.Seals {
		s := &v.Seals[i]
		s.Sealed = hex.EncodeToString(Seal(unhex32(t, s.Key), unhex(t, s.Context), [12]byte(unhex(t, s.IV)),
			unhex32(t, s.Secret), unhex32(t, s.Salt)))
	}
}

func TestVectors(t *testing.T) {
	v := vectorInputs()
	v.compute(t)
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code computes; these formats must never change under one tag", vectorsFile)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex32(t *testing.T, s string) [32]byte {
	t.Helper()
	return [32]byte(unhex(t, s))
}

func integer(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
