package cdb

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/games/players"
	"countroom/regulator/verify/logtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The vault of a small house, with a correction: what docs/vault-deliveries.md shows.
func TestGolden(t *testing.T) {
	h := logtest.New(logtest.Config{Seed: 1, Origin: "casino.example/log", Step: time.Second})
	p := h.Join(10_000)
	h.Play([]logtest.Player{p}, 3)
	h.Withdraw(p, 2_500)
	h.Close(p)
	h.Change(p, players.Closed)
	log, dir := openLog(t, h), t.TempDir()
	if _, err := Deliver(t.Context(), log, dir, nil, h.Size()); err != nil {
		t.Fatal(err)
	}
	bets := indexes(t, log, "round.settled", h.Size())
	if _, err := Correct(t.Context(), log, dir, []Correction{{Index: bets[0]}, {Index: bets[1], Cancel: "delivered-in-error"}}); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "golden")
	os.Remove(filepath.Join(dir, ".lock"))
	if *update {
		if err := os.RemoveAll(golden); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(golden, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	sameTree(t, tree(t, golden), tree(t, dir))
	if _, err := Audit(t.Context(), log, os.DirFS(golden)); err != nil {
		t.Error(err)
	}
}

// The document shows what the files have.
func TestDocument(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/vault-deliveries.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join("testdata", "golden", nameOf(1), recordsName(Bets, 1)))
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(doc), "```xml\n")
	shown, _, found := strings.Cut(shown, "```")
	if !found || !strings.Contains(string(file), shown) {
		t.Errorf("the files have no\n%s", shown)
	}
	for _, name := range []string{"Previous_SHA256", "Batch_SHA256", "not the authorities' schemas"} {
		if !strings.Contains(string(doc), name) {
			t.Errorf("the document does not say %s", name)
		}
	}
}

// The chain can be followed with sha256sum alone.
func TestTheChainWithStockTools(t *testing.T) {
	script := `cd testdata/golden
files=$(sed -n 's/.*<File name="\([^"]*\)".*/\1/p' delivery-00000002/manifest.xml)
batch=$(cd delivery-00000002 && sha256sum $files | sha256sum | cut -c1-64)
grep -q "<Batch_SHA256>$batch<" delivery-00000002/manifest.xml || { echo batch $batch; exit 1; }
before=$(sha256sum < delivery-00000001/manifest.xml | cut -c1-64)
grep -q "<Previous_SHA256>$before<" delivery-00000002/manifest.xml || { echo before $before; exit 1; }`
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
