package portal_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/api/browsertest"
	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/ledger"
	"countroom/regulator/dispute"
	"countroom/regulator/replay"

	"github.com/chromedp/chromedp"
)

// pack asks for a round's dispute pack.
func (w *world) pack(id, bearer string, status int) []byte {
	w.t.Helper()
	req := must[*http.Request](w.t)(http.NewRequest("GET", w.url+"/v1/rounds/"+id+"/dispute-pack", nil))
	req.Header.Set("Authorization", "Bearer "+bearer)
	resp := must[*http.Response](w.t)(http.DefaultClient.Do(req))
	defer resp.Body.Close()
	b := must[[]byte](w.t)(io.ReadAll(resp.Body))
	if resp.StatusCode != status {
		w.t.Fatalf("%d, want %d: %.300s", resp.StatusCode, status, b)
	}
	if status == 200 && (!strings.HasPrefix(resp.Header.Get("Content-Disposition"), "attachment") || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "sandbox")) {
		w.t.Errorf("the header is %v", resp.Header)
	}
	return b
}

func TestADisputeIsAnsweredByOneFile(t *testing.T) {
	w := open(t)
	s := w.seat("eve", "evil")
	nonce := [32]byte{1, 2, 3}
	if _, err := w.house.SetNonce(t.Context(), w.request("PUT", "/v1/nonce", s.Principal(), "nonce"), s, nonce); err != nil {
		t.Fatal(err)
	}
	early := w.settled(w.spin(s, 100)).ID.String()
	for range 70 { // into the epoch that the nonce counts in
		w.spin(s, 20)
	}
	// What is known of a bystander is nothing to the player.
	ok := must[ledger.Receipt](t)
	ok(w.house.CreatePlayer(t.Context(), w.request("POST", "/v1/players", "operator", "bystander"), "bystander", "EUR"))
	ok(w.house.RecordSubject(t.Context(), w.request("PUT", "/v1/players/bystander/subject", "operator", "known"), "bystander", []house.Attribute{{Name: "ailment", Value: "gout"}}))
	ok(w.house.RecordSubject(t.Context(), w.request("PUT", "/v1/players/eve/subject", "operator", "known"), "eve", []house.Attribute{{Name: "motto", Value: "never again"}}))
	last := w.settled(w.spin(s, 100))
	late := last.ID.String()
	const operator = "operator-0123456789abcdef"
	w.pack(early, "nobody", 401)
	w.pack("00000000-0000-4000-8000-000000000000", operator, 404)
	vkey := w.house.Ledger.VKey()
	fresh := must[*dispute.Pack](t)(dispute.Check(w.pack(late, operator, 200), vkey))
	if fresh.Report.Verdict() != replay.Open || fresh.Round != late {
		t.Errorf("a round whose seed is secret: %+v", fresh.Report.Steps)
	}
	w.revealed(s, last.Draw.Epoch)
	for _, id := range []string{early, late} {
		p := must[*dispute.Pack](t)(dispute.Check(w.pack(id, token, 200), vkey))
		if p.Report.Verdict() != replay.Holds || p.Round != id || p.Origin != housetest.Origin {
			t.Errorf("%s: %+v", id, p.Report.Steps)
		}
	}

	if _, err := w.house.Displayed(t.Context(), w.request("POST", "/v1/rounds/"+late+"/displayed", s.Principal(), "seen"), s, last.ID, [32]byte{0xba, 0xd0}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(w.pack(early, operator, 200)), "The client said nothing of it") {
		t.Error("a claim about another round is in the pack")
	}
	good := w.pack(late, operator, 200)
	page := string(good)
	for _, want := range []string{"As the player saw it", "Rules in force at the wager", "What happened around it", "session.opened", "&lt;script&gt;alert(1)&lt;/script&gt;", "It holds entry",
		"subject.recorded", "the client said that it displayed another result", "bad00000", "another result than the log has", "displayed-mismatch"} {
		if !strings.Contains(page, want) {
			t.Errorf("the pack lacks %q", want)
		}
	}
	if bystander := must[house.SubjectView](t)(w.house.Subject(t.Context(), "bystander")); strings.Contains(page, bystander.Ref.String()) {
		t.Error("the pack tells of another player")
	}
	for name, bad := range map[string]string{
		"another payout in the page":  strings.Replace(page, "and was paid", "and was paid not", 1),
		"a word after the signature":  page + "x",
		"a word before the signature": strings.Replace(page, "<h2>Signature", "<p>Void.</p><h2>Signature", 1),
		"no signature":                page[:strings.Index(page, "<!-- the signature")],
		"a page in the page":          page + page,
		"another signature":           strings.Replace(page, "&#34;sig&#34;:&#34;ME", "&#34;sig&#34;:&#34;MF", 1),
		"nothing":                     "",
	} {
		if bad == page {
			t.Fatalf("%s: nothing was changed", name)
		}
		if p, err := dispute.Check([]byte(bad), vkey); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	other := open(t)
	if _, err := dispute.Check(good, other.house.Ledger.VKey()); err == nil {
		t.Error("a pack of another house is good under this one's key")
	}
	// Who has no key for exports cannot seal.
	refused := errors.New("refused")
	if _, err := dispute.Seal([]byte("<p>"), dispute.Said{}, func([]byte) ([]byte, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("sealed: %v", err)
	}

	// It is read from a file, in a browser, without a network, as it was made.
	name := filepath.Join(t.TempDir(), "pack.html")
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	b := browse(t, w)
	b.Do(chromedp.Navigate("file://" + name))
	if family := browsertest.Eval[string](b.Tab, `getComputedStyle(document.querySelector("td.lit, .pairs, h1")).lineHeight`); family == "normal" {
		t.Error("the pack is shown without its style")
	}
	if n := browsertest.Eval[int](b.Tab, `document.querySelectorAll("table.reels td").length`); n < 15 {
		t.Errorf("%d cells of reels", n)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1000, 360} {
			b.look(width, scheme)
			for _, f := range browsertest.Eval[[]string](b.Tab, faint) {
				if !strings.HasPrefix(f, "sticks out") { // tables
					t.Errorf("%s, %d wide: %s", scheme, width, f)
				}
			}
		}
	}
	if shots := os.Getenv("SHOTS"); shots != "" {
		b.look(1000, "light")
		if err := os.WriteFile(shots+"/pack.png", b.shot(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	asked, complaints := b.Heard()
	if len(asked) != 1 || len(complaints) != 0 {
		t.Errorf("the pack asks for %q, and the browser complains of %q", asked, complaints)
	}
}
