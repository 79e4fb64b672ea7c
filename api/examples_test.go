package api

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

var update = flag.Bool("update", false, "sign the receipts of the examples in openapi.json anew")

// receiptShape is what is taken from a receipt that is to be made anew: where its
// leaf stands, and the size of its checkpoint. A new example needs no more than
// "c2sp.org/tlog-proof@v1\nindex 16".
var receiptShape = regexp.MustCompile(`(?s)^c2sp\.org/tlog-proof@v1\nindex (\d+)(?:\n.*?\n\n[^\n]+\n(\d+)\n.*)?$`)

// The receipts of the examples are those of one made-up log: the leaves of the
// examples where their receipts say, and others between them. Its key is made
// from a word, so that whoever changes an example can sign it anew.
func TestExamplesAreOfOneLog(t *testing.T) {
	seed := sha256.Sum256([]byte("the examples of openapi.json"))
	key := ed25519.NewKeyFromSeed(seed[:])
	const origin = "countroom.example/test"
	public := key.Public().(ed25519.PublicKey)
	signer, err := tlog.NewSigner(origin, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil })
	if err != nil {
		t.Fatal(err)
	}
	vkey, err := tlog.VKey(origin, public)
	if err != nil {
		t.Fatal(err)
	}

	secret := sha256.Sum256([]byte("the witness of openapi.json"))
	witness := ed25519.NewKeyFromSeed(secret[:])
	cosigner := must(t, func() (*tlog.Cosigner, error) {
		vkey, err := tlog.CosignerVKey("witness.example/w1", witness.Public().(ed25519.PublicKey))
		if err != nil {
			return nil, err
		}
		return tlog.NewCosigner(vkey)
	})

	type place struct {
		index, size uint64
		old         string
	}
	var places []place
	checkpoints := map[string]tlog.Checkpoint{}
	leaves := map[uint64][]byte{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if receipt, ok := v["receipt"].(string); ok && v["leaf"] != nil {
				m := receiptShape.FindStringSubmatch(receipt)
				if m == nil {
					t.Fatalf("a receipt %q", receipt)
				}
				p := place{old: receipt}
				p.index, _ = strconv.ParseUint(m[1], 10, 16)
				p.size = p.index + 1
				if m[2] != "" {
					p.size, _ = strconv.ParseUint(m[2], 10, 16)
				}
				raw, err := json.Marshal(v["leaf"])
				if err != nil {
					t.Fatal(err)
				}
				leaf, err := entry.Canonical(raw)
				if err != nil {
					t.Fatal(err)
				}
				if other, ok := leaves[p.index]; ok && !bytes.Equal(other, leaf) {
					t.Fatalf("two leaves at index %d:\n%s\n%s", p.index, other, leaf)
				}
				leaves[p.index] = leaf
				places = append(places, p)
			}
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case string:
			if c, err := tlog.Peek([]byte(v)); err == nil && c.Origin == origin {
				checkpoints[v] = c
			}
		}
	}
	walk(map[string]any(document))

	var hashes []tlog.Hash
	for i := range uint64(64) {
		leaf, ok := leaves[i]
		if !ok {
			leaf = fmt.Appendf(nil, "leaf %d of the examples' log", i)
		}
		hashes = append(hashes, tlog.LeafHash(leaf))
	}
	quoted := func(s string) []byte {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	}
	sign := func(size uint64) []byte {
		return must(t, func() ([]byte, error) {
			return tlog.Sign(tlog.Checkpoint{Origin: origin, Size: size, Root: treeHash(hashes[:size])}, signer)
		})
	}
	fresh := openAPI
	for _, p := range places {
		receipt := string(tlog.AppendReceipt(nil, p.index, auditPath(int(p.index), hashes[:p.size]), sign(p.size)))
		fresh = bytes.ReplaceAll(fresh, quoted(p.old), quoted(receipt))
	}
	for old, c := range checkpoints {
		checkpoint := sign(c.Size)
		text, _, err := tlog.Text(checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		_, lines, err := tlog.Text([]byte(old))
		if err != nil {
			t.Fatal(err)
		}
		if _, cosigned, ok := bytes.Cut(lines, []byte("\n")); ok && len(cosigned) > 0 {
			list, err := tlog.ParseCosignatures(cosigned)
			if err != nil || len(list) != 1 || list[0].Name != cosigner.Name() {
				t.Fatalf("cosignatures %q: %v", cosigned, err)
			}
			made := tlog.Cosignature{Name: cosigner.Name(), KeyHash: cosigner.KeyHash(), Time: list[0].Time}
			made.Sig = [ed25519.SignatureSize]byte(ed25519.Sign(witness, tlog.CosignedMessage(made.Time, text)))
			checkpoint = made.AppendLine(checkpoint)
		}
		fresh = bytes.ReplaceAll(fresh, quoted(old), quoted(string(checkpoint)))
	}
	old := at(document, "paths", "/log/vkey", "get", "responses", "200", "content", "text/plain", "example").(string)
	fresh = bytes.ReplaceAll(fresh, quoted(old), quoted(vkey+"\n"))
	if bytes.Equal(fresh, openAPI) {
		return
	}
	if !*update {
		t.Fatal("the examples are not of one log; run this test with -update")
	}
	if err := os.WriteFile("openapi.json", fresh, 0o644); err != nil {
		t.Fatal(err)
	}
}

func must[T any](t *testing.T, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// treeHash and auditPath are MTH and PATH of RFC 6962, section 2.1.
func treeHash(d []tlog.Hash) tlog.Hash {
	if len(d) == 1 {
		return d[0]
	}
	k := splitPoint(len(d))
	left, right := treeHash(d[:k]), treeHash(d[k:])
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

func auditPath(m int, d []tlog.Hash) []tlog.Hash {
	if len(d) == 1 {
		return nil
	}
	k := splitPoint(len(d))
	if m < k {
		return append(auditPath(m, d[:k]), treeHash(d[k:]))
	}
	return append(auditPath(m-k, d[k:]), treeHash(d[:k]))
}

func splitPoint(n int) int {
	k := 1
	for k*2 < n {
		k *= 2
	}
	return k
}
