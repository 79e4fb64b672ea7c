package api

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"countroom/regulator/export"
)

// made asks for an export and waits for it.
func (w *world) made(body string) *answer {
	w.t.Helper()
	a := w.post("/v1/exports", auditorToken, body).want(201)
	for a.text("state") == "waiting" || a.text("state") == "running" {
		time.Sleep(5 * time.Millisecond)
		a = w.get("/v1/exports/"+a.text("id"), regulatorToken).want(200)
	}
	if a.text("state") != "done" {
		w.t.Fatalf("%s", a.body)
	}
	return a
}

// An auditor has an export made, loads it in two parts, and checks it by the key alone.
func TestExports(t *testing.T) {
	w := open(t)
	token := w.player("p", 10_000)
	w.grow(token, 40)
	a := w.made(`{"from":0,"to":30}`)
	path := "/v1/exports/" + a.text("id") + "/file"
	whole := w.get(path, auditorToken).want(200)
	if n := fmt.Sprint(a.json["bytes"]); n != fmt.Sprint(float64(len(whole.body))) {
		t.Errorf("%d bytes, announced were %s", len(whole.body), n)
	}
	r, err := export.Check(t.Context(), bytes.NewReader(whole.body), int64(len(whole.body)), export.CheckOptions{VKey: w.house.Ledger.VKey()})
	if err != nil || r.Manifest.Entries != 30 || !r.Manifest.Complete {
		t.Fatalf("%v: %+v", err, r)
	}

	part := func(of string) *answer {
		return w.do("GET", path, "", "Authorization", "Bearer "+auditorToken, "Range", of, "If-Range", whole.header.Get("ETag"))
	}
	half := len(whole.body) / 2
	first, second := part(fmt.Sprintf("bytes=0-%d", half-1)).want(206), part(fmt.Sprintf("bytes=%d-", half)).want(206)
	if !bytes.Equal(append(first.body, second.body...), whole.body) {
		t.Error("two parts are not the whole")
	}
	part(fmt.Sprintf("bytes=%d-", len(whole.body)+1)).want(416)
	w.do("GET", path, "", "Authorization", "Bearer "+auditorToken, "If-None-Match", whole.header.Get("ETag")).want(304)

	// The same under the same checkpoint is the same, whatever was played meanwhile.
	w.grow(token, 60)
	same := w.made(fmt.Sprintf(`{"from":0,"to":30,"checkpoint":%q}`, a.text("checkpoint")))
	if same.text("id") != a.text("id") {
		t.Error("the same is another export")
	}
	if other := w.made(`{"from":0,"to":30}`); other.text("id") == a.text("id") {
		t.Error("under a newer checkpoint it is the same export")
	}
	if f := w.made(`{"from":0,"to":30,"type":"round.settled"}`); f.json["filter"].(map[string]any)["type"] != "round.settled" {
		t.Errorf("%s", f.body)
	}
	w.get("/v1/exports/"+a.text("id")+"/certificate", auditorToken).refused(404, "not-found", "")
}

// A span of time that is over comes with its certificate.
func TestSpanCertificates(t *testing.T) {
	w := open(t)
	begin := time.Now().UTC().Add(-time.Hour)
	token := w.player("p", 10_000)
	w.grow(token, w.size()+10)
	end := time.Now().UTC()
	time.Sleep(2 * time.Millisecond)
	w.grow(token, w.size()+1)
	a := w.made(fmt.Sprintf(`{"from":%q,"to":%q}`, begin.Truncate(time.Microsecond).Format(time.RFC3339Nano), end.Truncate(time.Microsecond).Format(time.RFC3339Nano)))
	whole := w.get("/v1/exports/"+a.text("id")+"/file", auditorToken).want(200)
	alone := w.get("/v1/exports/"+a.text("id")+"/certificate", regulatorToken).want(200)
	r, err := export.Check(t.Context(), bytes.NewReader(whole.body), int64(len(whole.body)), export.CheckOptions{VKey: w.house.Ledger.VKey(), Certificate: alone.body})
	if err != nil || r.Certificate == nil || r.Certificate.Games[0].Rounds != r.Rounds || r.Rounds == 0 {
		t.Fatalf("%v: %+v", err, r)
	}
}

func TestExportsAreRefused(t *testing.T) {
	w := open(t)
	w.grow(w.player("p", 1000), 3)
	for body, field := range map[string]string{
		`{"from":0}`:                          "to",
		`{"from":"yesterday","to":1}`:         "from",
		`{"from":0,"to":1e3}`:                 "to",
		`{"from":0,"to":-1}`:                  "to",
		`{"from":0,"to":1,"player":"alice"}`:  "player",
		`{"from":0,"to":1,"game":"a\"b"}`:     "game",
		`{"from":0,"to":1,"type":""}`:         "type",
		`{"from":0,"to":1,"everything":true}`: "everything",
		`[]`:                                  "body",
	} {
		w.post("/v1/exports", auditorToken, body).refused(422, "invalid-value", field)
	}
	for _, body := range []string{
		`{"from":0,"to":99999}`, `{"from":5,"to":4}`, `{"from":0,"to":"2030-01-01T00:00:00Z"}`, `{"from":"2020-01-01T00:00:00Z","to":"2090-01-01T00:00:00Z"}`,
		`{"from":"2020-01-02T00:00:00Z","to":"2020-01-01T00:00:00Z"}`, `{"from":0,"to":1,"checkpoint":"x"}`,
	} {
		w.post("/v1/exports", auditorToken, body).refused(409, "export-refused", "")
	}
	// A checkpoint of this size with another root, or of another key.
	note := string(w.house.Ledger.Signed().Checkpoint)
	for _, forged := range []string{strings.Replace(note, "— countroom.example/test ", "— countroom.example/test A", 1), strings.Replace(note, "\n", "x\n", 1)} {
		w.post("/v1/exports", auditorToken, fmt.Sprintf(`{"from":0,"to":1,"checkpoint":%q}`, forged)).refused(409, "export-refused", "")
	}
	for _, path := range []string{"/v1/exports/x", "/v1/exports/" + strings.Repeat("0", 32), "/v1/exports/..%2f..%2fkeys/file", "/v1/exports/x/certificate"} {
		w.get(path, auditorToken).want(404)
	}
}
