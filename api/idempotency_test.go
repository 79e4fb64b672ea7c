package api

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func TestSameKeySameAnswer(t *testing.T) {
	dir := t.TempDir()
	w := openIn(t, dir)
	token := w.player("p", 1000)
	first := map[string]*answer{}
	calls := []struct{ path, by, body, spelled string }{
		{"/v1/players", operatorToken, `{"id":"n","currency":"EUR"}`, "{\n\t\"currency\" : \"E\\u0055R\", \"id\":\"n\" }"},
		{"/v1/players/n/deposits", operatorToken, `{"amount":500,"currency":"EUR"}`, `{"currency":"EUR","amount":500}`},
		{"/v1/players/n/withdrawals", operatorToken, `{"amount":100,"currency":"EUR"}`, ` {"amount":100,"currency":"EUR"} `},
		{"/v1/sessions", operatorToken, `{"player":"n","game":"` + game + `"}`, `{"game":"` + game + `","player":"n"}`},
		{"/v1/players/n/state", operatorToken, `{"state":"suspended","reason":"é"}`, `{"reason":"\u00e9","state":"suspended"}`},
		{"/v1/spins", token, `{"stake":100}`, `{ "stake" : 100 }`},
		{"/v1/games/" + game + "/state", operatorToken, `{"state":"disabled","reason":"x"}`, `{"reason":"x","state":"disabled"}`},
	}
	for _, c := range calls {
		first[c.path] = w.postKey(c.path, c.by, "key of "+c.path, c.body).want(201)
		if first[c.path].header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the first answer says that it is replayed", c.path)
		}
	}
	session := w.post("/v1/sessions/"+first["/v1/sessions"].text("id")+"/close", operatorToken, ``).want(201)
	w.accepted(session)

	again := func(w *world) {
		t.Helper()
		w.unchanged(func() {
			for _, c := range calls {
				a := w.postKey(c.path, c.by, "key of "+c.path, c.spelled).want(201)
				w.accepted(a)
				if a.leaf() != first[c.path].leaf() || a.header.Get("Idempotency-Replayed") != "true" {
					t.Errorf("%s: the retry is answered with\n%s\nthe first was\n%s", c.path, a.body, first[c.path].body)
				}
				for _, name := range []string{"token", "expires", "id", "round"} {
					if was, has := first[c.path].json[name]; a.json[name] != was && has {
						t.Errorf("%s: %s was %v, the retry says %v", c.path, name, was, a.json[name])
					}
				}
			}
		})
	}
	again(w)
	w.house.Close()
	again(openIn(t, dir))
}

func TestSameKeyOtherRequest(t *testing.T) {
	dir := t.TempDir()
	w := openIn(t, dir)
	token := w.player("p", 1000)
	w.player("q", 1000)
	deposit, spin := "/v1/players/p/deposits", "/v1/spins"
	w.postKey(deposit, operatorToken, "k", `{"amount":5,"currency":"EUR"}`).want(201)
	first := w.postKey(spin, token, "k", `{"stake":20}`).want(201) // another scope
	before := w.size()
	for _, c := range []struct{ path, by, body string }{
		{deposit, operatorToken, `{"amount":6,"currency":"EUR"}`},
		{"/v1/players/q/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`},
		{"/v1/players/p/withdrawals", operatorToken, `{"amount":5,"currency":"EUR"}`},
		{"/v1/players", operatorToken, `{"id":"p","currency":"EUR"}`},
		// The look-up comes before the values, before what the path names …
		{deposit, operatorToken, `{"amount":"5","currency":"EUR"}`},
		{deposit, operatorToken, `[]`},
		{deposit, operatorToken, `{"amount":5,"currency":"EUR","x":1}`},
		{"/v1/players/nobody/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`},
		{"/v1/players/no%20body/deposits", operatorToken, `{"amount":5,"currency":"EUR"}`},
		{"/v1/players/nobody/state", operatorToken, `{"state":"open","reason":"x"}`},
		{"/v1/sessions", operatorToken, `{"player":"nobody","game":"x"}`},
		{"/v1/sessions/x/close", operatorToken, ``},
		{"/v1/games/nothing/state", operatorToken, `{"state":"enabled","reason":"x"}`},
		{"/v1/games/NOTHING/state", operatorToken, `{"state":"enabled","reason":"x"}`},
		// … and before what the game offers and the player has.
		{spin, token, `{"stake":21}`},
		{spin, token, `{"stake":-1}`},
		{spin, token, `{"stake":1000000}`},
	} {
		w.postKey(c.path, c.by, "k", c.body).refused(409, "key-reused", "")
	}
	w.accepted(first)
	if again := w.postKey(spin, token, "k", `{"stake":20}`).want(201); again.leaf() != first.leaf() {
		t.Errorf("after all that the retry is answered with %s", again.body)
	}

	// Nothing of it is in the log but one alarm; closing waits for it.
	w.house.Close()
	w = openIn(t, dir)
	if caused := w.caused(before); len(caused) != 0 {
		t.Errorf("the log holds\n%s", strings.Join(caused, "\n"))
	}
	alarms := 0
	err := w.house.Ledger.Leaves(before, w.size(), func(_ uint64, leaf []byte) error {
		if strings.Contains(string(leaf), `"alarm":"request-key-reused"`) {
			alarms++
		}
		return nil
	})
	if err != nil || alarms != 1 {
		t.Errorf("%d alarms, want one a minute; %v", alarms, err)
	}
}

func TestARefusalConsumesNoKey(t *testing.T) {
	w := open(t)
	token := w.player("p", 0)
	w.postKey("/v1/spins", token, "k", `{"stake":20}`).refused(409, "insufficient-funds", "")
	w.postKey("/v1/spins", token, "k", `{"stake":21}`).refused(422, "stake-not-offered", "stake")
	w.postKey("/v1/spins", token, "k", `{"stake":"20"}`).refused(422, "invalid-value", "stake")
	w.postKey("/v1/players/nobody/deposits", operatorToken, "k", `{"amount":50,"currency":"EUR"}`).refused(404, "unknown-player", "")
	w.postKey("/v1/players/p/deposits", operatorToken, "k", `{"amount":50,"currency":"EUR"}`).want(201)
	w.postKey("/v1/spins", token, "k", `{"stake":40}`).want(201)
}

func TestARetryOutlivesItsSession(t *testing.T) {
	w := open(t)
	w.player("p", 1000)
	session := w.session("p")
	first := w.postKey("/v1/spins", session.text("token"), "k", `{"stake":20}`).want(201)
	w.post("/v1/sessions/"+session.text("id")+"/close", operatorToken, ``).want(201)
	w.post("/v1/players/p/state", operatorToken, `{"state":"closed","reason":"x"}`).want(201)
	if again := w.postKey("/v1/spins", session.text("token"), "k", `{"stake":20}`).want(201); again.leaf() != first.leaf() {
		t.Errorf("the retry after the end is answered with %s", again.body)
	}
	w.postKey("/v1/spins", session.text("token"), "k", `{"stake":40}`).refused(409, "key-reused", "")
	w.postKey("/v1/spins", session.text("token"), "l", `{"stake":20}`).refused(401, "session-over", "")
}

func TestARetryThroughALaterSession(t *testing.T) {
	w := open(t)
	token := w.player("p", 1000)
	stranger := w.player("q", 1000)
	first := w.postKey("/v1/spins", token, "k", `{"stake":20}`).want(201)
	later := w.session("p").text("token")
	if again := w.postKey("/v1/spins", later, "k", `{"stake":20}`).want(201); again.leaf() != first.leaf() {
		t.Errorf("the later session is answered with %s", again.body)
	}
	w.postKey("/v1/spins", later, "k", `{"stake":40}`).refused(409, "key-reused", "")
	if other := w.postKey("/v1/spins", stranger, "k", `{"stake":20}`).want(201); other.leaf() == first.leaf() {
		t.Error("another player was given the round")
	}
}

func TestOneEntryPerKeyUnderConcurrency(t *testing.T) {
	w := open(t)
	token := w.player("p", 1_000_000)
	before := w.size()
	const callers, each, shared = 64, 12, 20
	var mu sync.Mutex
	leaves := map[string]string{} // by key
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("shared %d", (caller+i)%shared)
				if i%3 == 0 {
					key = fmt.Sprintf("own %d/%d", caller, i)
				}
				a := w.postKey("/v1/spins", token, key, `{"stake":20}`)
				if a.status != 201 {
					t.Errorf("%s: %d %s", key, a.status, a.body)
					continue
				}
				mu.Lock()
				if was, seen := leaves[key]; seen && was != a.leaf() {
					t.Errorf("%s was answered with\n%s\nand\n%s", key, was, a.leaf())
				}
				leaves[key] = a.leaf()
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	rounds := map[string]bool{}
	err := w.house.Ledger.Leaves(before, w.size(), func(_ uint64, leaf []byte) error {
		if strings.HasSuffix(string(leaf), `"type":"round.settled"}`) {
			rounds[string(leaf)] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := callers*each/3 + shared; len(leaves) != want || len(rounds) != want {
		t.Errorf("%d keys made %d rounds, want %d", len(leaves), len(rounds), want)
	}
	for key, leaf := range leaves {
		if !rounds[leaf] {
			t.Errorf("%s was answered with what is not in the log: %s", key, leaf)
		}
	}
}
