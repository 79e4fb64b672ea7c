package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"countroom/games/slots"
)

// screenshot is the displayed result of a spin without free spins as a client
// makes it, from nothing but the answer and the game's public definition.
func screenshot(t *testing.T, spin *answer) string {
	t.Helper()
	var a struct {
		Balance struct{ Amount int64 }
		Leaf    struct {
			ID            string
			Payout, Stake struct {
				Amount   int64
				Currency string
			}
			Outcome struct{ Spins []struct{ Stops [5]int } }
		}
	}
	if err := json.Unmarshal([]byte(spin.body), &a); err != nil {
		t.Fatal(err)
	}
	d := slots.Bundled()
	var screens []string
	for i, s := range a.Leaf.Outcome.Spins {
		strips := d.Base
		if i > 0 {
			strips = d.Free
		}
		var reels []string
		for reel, stop := range s.Stops {
			strip := strips[reel]
			reels = append(reels, fmt.Sprintf("[%q,%q,%q]", strip[stop], strip[(stop+1)%len(strip)], strip[(stop+2)%len(strip)]))
		}
		screens = append(screens, "["+strings.Join(reels, ",")+"]")
	}
	shown := fmt.Sprintf(`{"balance":%d,"currency":%q,"payout":%d,"round":%q,"screens":[%s],"stake":%d,"tag":"countroom/displayed/v1"}`,
		a.Balance.Amount, a.Leaf.Stake.Currency, a.Leaf.Payout.Amount, a.Leaf.ID, strings.Join(screens, ","), a.Leaf.Stake.Amount)
	digest := sha256.Sum256([]byte(shown))
	return hex.EncodeToString(digest[:])
}

// A client says what it showed. What differs from the outcome is an alarm in the
// log at once, and is kept as the claim it is.
func TestDisplayed(t *testing.T) {
	w := open(t)
	token, stranger := w.player("p", 100_000), w.player("q", 1000)
	for n := range 30 { // with free spins among them
		spin := w.postKey("/v1/spins", token, fmt.Sprint("spin-", n), `{"stake":20}`).want(201)
		path := "/v1/rounds/" + spin.text("round") + "/displayed"
		seen := screenshot(t, spin)
		claim := w.postKey(path, token, fmt.Sprint("seen-", n), `{"sha256":"`+seen+`"}`).want(201)
		if claim.text("leaf", "displayed") != seen || claim.text("leaf", "expected") != seen || claim.text("leaf", "round") != spin.text("round") {
			t.Fatalf("%s: the client made %s", claim.body, seen)
		}
	}
	spin := w.postKey("/v1/spins", token, "last", `{"stake":20}`).want(201)
	path := "/v1/rounds/" + spin.text("round") + "/displayed"
	other := strings.Repeat("5a", 32)
	claim := w.postKey(path, token, "other", `{"sha256":"`+other+`"}`).want(201)
	if claim.text("leaf", "displayed") != other || claim.text("leaf", "expected") != screenshot(t, spin) {
		t.Errorf("%s", claim.body)
	}
	alarm := w.get(fmt.Sprintf("/v1/entries/%v", uint64(claim.json["index"].(float64))+1), operatorToken).want(200)
	if alarm.text("leaf", "type") != "alarm.raised" || alarm.text("leaf", "alarm") != "displayed-mismatch" || alarm.text("leaf", "about") != other {
		t.Errorf("the entry after is %s", alarm.body)
	}
	if again := w.postKey(path, token, "other", `{"sha256":"`+other+`"}`).want(201); again.leaf() != claim.leaf() {
		t.Errorf("the retry got %s", again.body)
	}
	w.unchanged(func() {
		w.postKey(path, stranger, "k", `{"sha256":"`+other+`"}`).refused(404, "not-found", "")
		w.postKey("/v1/rounds/"+claim.text("leaf", "id")+"/displayed", token, "k", `{"sha256":"`+other+`"}`).refused(404, "not-found", "")
		w.postKey("/v1/rounds/nothing/displayed", token, "k", `{"sha256":"`+other+`"}`).refused(404, "not-found", "")
		w.postKey(path, operatorToken, "k", `{"sha256":"`+other+`"}`).refused(403, "forbidden", "")
		for _, bad := range []string{`{}`, `{"sha256":5}`, `{"sha256":"5a"}`, `{"sha256":"` + strings.ToUpper(other) + `"}`} {
			w.postKey(path, token, "k", bad).refused(422, "invalid-value", "sha256")
		}
	})
}
