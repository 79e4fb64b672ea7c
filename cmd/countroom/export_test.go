package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/ledger/dsse"
	"countroom/ledger/dsse/cosigntest"
	"countroom/regulator/export"
)

// unzipped reads what is in an export, by a reader that is not ours.
func unzipped(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err == nil {
			files[f.Name], err = io.ReadAll(r)
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	return files
}

// A house that plays exports what auditors take home, by its command line and over HTTP; when it is closed the same
// checkpoint still gives the same bytes. Stock cosign finds the signature good.
func TestExports(t *testing.T) {
	s := newServer(t)
	s.start()
	began := time.Now().UTC().Add(-time.Second).Truncate(time.Microsecond)
	players := seat(s, 3)
	players.play()
	players.more(30)
	players.leave()
	ended := time.Now().UTC().Truncate(time.Microsecond).Add(time.Microsecond)
	time.Sleep(10 * time.Millisecond)
	players.play() // the span is over when there is an entry behind it
	players.more(3)
	vkey := strings.TrimSpace(string(bytesOf(t, filepath.Join(s.dir, "log.vkey"))))
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	check := func(name, certificate string) *export.Report {
		t.Helper()
		b := bytesOf(t, at(name))
		opts := export.CheckOptions{VKey: vkey}
		if certificate != "" {
			opts.Certificate = bytesOf(t, at(certificate))
		}
		r, err := export.Check(t.Context(), bytes.NewReader(b), int64(len(b)), opts)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return r
	}

	span := []string{"--data", s.dir, "--from", began.Add(1).Format(time.RFC3339Nano), "--to", ended.Format(time.RFC3339Nano)}
	if _, status := examines(t, append([]string{"export", "-o", at("x.zip")}, span...)...); status != 1 {
		t.Error("a time of nanoseconds is taken") // entries have microseconds
	}
	span = []string{"--data", s.dir, "--from", began.Format(time.RFC3339Nano), "--to", ended.Format(time.RFC3339Nano)}
	if said, status := examines(t, append([]string{"export", "-o", at("span.zip")}, span...)...); status != 0 || !strings.Contains(said, ", complete, ") {
		t.Fatalf("ends with %d: %s", status, said)
	}
	if said, status := examines(t, append([]string{"certify-span", "-o", at("span.json")}, span...)...); status != 0 || !strings.Contains(said, "complete as to the log") {
		t.Fatalf("ends with %d: %s", status, said)
	}
	r := check("span.zip", "span.json")
	if r.Rounds == 0 || r.Certificate.Players != 3 || r.Certificate.Cash[0].DepositCount != 3 {
		t.Errorf("%+v", r)
	}
	if _, status := examines(t, append([]string{"export", "-o", at("span.zip")}, span...)...); status != 1 {
		t.Error("a file is written over")
	}
	players.leave()

	if said, status := examines(t, "export", "--data", s.dir, "--from", "0", "--to", "40", "--type", "round.settled", "-o", at("rounds.zip")); status != 0 || !strings.Contains(said, "not complete") {
		t.Errorf("ends with %d: %s", status, said)
	}
	if r := check("rounds.zip", ""); r.Manifest.Complete || r.Rounds != r.Manifest.Entries || r.Rounds == 0 {
		t.Errorf("%+v", r)
	}
	files := unzipped(t, bytesOf(t, at("span.zip")))
	if err := os.WriteFile(at("kept.checkpoint"), files["checkpoint"], 0o600); err != nil {
		t.Fatal(err)
	}

	// Over HTTP the same is there already.
	body, err := json.Marshal(map[string]string{"from": span[3], "to": span[5], "checkpoint": string(files["checkpoint"])})
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.post(s.client, "/v1/exports", s.token("auditor"), "export", string(body))
	var made struct{ ID, State string }
	if err := json.Unmarshal(answer, &made); err != nil || status != http.StatusCreated || made.State != "done" {
		t.Fatalf("%d: %s", status, answer)
	}
	if _, b := s.get("/v1/exports/"+made.ID+"/file", s.token("regulator")); !bytes.Equal(b, bytesOf(t, at("span.zip"))) {
		t.Error("over HTTP it is another")
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}

	// With the server gone and its exports lost, the house makes the same again.
	if err := os.RemoveAll(filepath.Join(s.dir, exportsFolder)); err != nil {
		t.Fatal(err)
	}
	again := append([]string{"export", "-o", at("again.zip"), "--checkpoint", at("kept.checkpoint")}, span...)
	if said, status := examines(t, again...); status != 0 {
		t.Fatalf("ends with %d: %s", status, said)
	}
	if !bytes.Equal(bytesOf(t, at("again.zip")), bytesOf(t, at("span.zip"))) {
		t.Error("the same range under the same checkpoint gave other bytes")
	}

	key, err := dsse.ParseKey(r.Key)
	if err != nil {
		t.Fatal(err)
	}
	for bundle, blob := range map[string]string{export.BundleName: export.ManifestName, export.CertificateName: "leaves.jsonl"} {
		if err := cosigntest.Verify(t, key.PEM(), files[bundle], files[blob]); err != nil {
			t.Error(err)
		}
		if err := cosigntest.Verify(t, key.PEM(), files[bundle], append(files[blob], ' ')); err == nil {
			t.Errorf("cosign takes a changed %s", blob)
		}
	}
}

func bytesOf(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
