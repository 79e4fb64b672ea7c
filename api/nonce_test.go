package api

import (
	"fmt"
	"strings"
	"testing"
)

// A player sets a nonce, which his draws have from an epoch on that nobody knows
// the secret of yet; the retry gets the same entry, and what is no nonce none.
func TestStandingNonce(t *testing.T) {
	w := open(t)
	token, stranger := w.player("p", 1000), w.player("q", 1000)
	nonce := strings.Repeat("5a", 32)
	put := func(token, key, body string) *answer {
		headers := []string{"Authorization", "Bearer " + token, "Content-Type", "application/json"}
		if key != "" {
			headers = append(headers, "Idempotency-Key", key)
		}
		return w.do("PUT", "/v1/nonce", body, headers...)
	}
	first := put(token, "k", `{"nonce":"`+nonce+`"}`).want(201)
	if first.text("leaf", "type") != "player.nonce-set" || first.text("leaf", "nonce") != nonce {
		t.Errorf("%s", first.body)
	}
	if again := put(token, "k", `{ "nonce": "`+nonce+`" }`).want(201); again.leaf() != first.leaf() || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the retry got %s", again.body)
	}
	put(token, "k", `{"nonce":"`+strings.Repeat("5b", 32)+`"}`).refused(409, "key-reused", "")
	if other := put(stranger, "k", `{"nonce":"`+nonce+`"}`).want(201); other.leaf() == first.leaf() {
		t.Error("two players share an entry")
	}
	w.unchanged(func() {
		put(token, "", `{"nonce":"`+nonce+`"}`).refused(400, "idempotency-key", "")
		put("nobody", "l", `{"nonce":"`+nonce+`"}`).refused(401, "unauthorized", "")
		put(operatorToken, "l", `{"nonce":"`+nonce+`"}`).refused(403, "forbidden", "")
		for _, bad := range []string{`{}`, `{"nonce":5}`, `{"nonce":null}`, `{"nonce":""}`, `{"nonce":"5a"}`, `{"nonce":"` + nonce + `5a"}`, `{"nonce":"` + strings.ToUpper(nonce) + `"}`, `{"nonce":"` + strings.Repeat("zz", 32) + `"}`} {
			put(token, "l", bad).refused(422, "invalid-value", "nonce")
		}
	})
	path := fmt.Sprintf("/v1/entries/%v", first.json["index"])
	w.get(path, token).want(200)
	w.get(path, stranger).refused(404, "not-found", "")
}
