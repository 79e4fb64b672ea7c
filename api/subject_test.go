package api

import (
	"fmt"
	"strings"
	"testing"

	"countroom/games/subjects"
)

// What is known of a player is written and read by the operator alone; what is no
// attribute or no text is refused by its name, and nothing of it is repeated.
func TestSubjectsAreRecordedAndRead(t *testing.T) {
	w := open(t)
	w.post("/v1/players", operatorToken, `{"id":"ann","currency":"EUR"}`).want(201)
	put := func(token, key, body string) *answer {
		return w.do("PUT", "/v1/players/ann/subject", body, "Authorization", "Bearer "+token, "Idempotency-Key", key, "Content-Type", "application/json")
	}
	first := put(operatorToken, "first", `{"values":{"name":"Ann Example","e-mail":"ann@example.org"}}`).want(201)
	w.accepted(first)
	again := put(operatorToken, "first", `{"values":{"e-mail":"ann@example.org","name":"Ann Example"}}`).want(201)
	if again.leaf() != first.leaf() {
		t.Error("a retry is answered by another entry")
	}
	put(operatorToken, "first", `{"values":{"name":"Another"}}`).refused(409, "key-reused", "")
	put(regulatorToken, "theirs", `{"values":{"name":"Ann"}}`).refused(403, "forbidden", "")
	w.get("/v1/players/ann/subject", regulatorToken).refused(403, "forbidden", "")
	w.get("/v1/players/nobody/subject", operatorToken).refused(404, "unknown-player", "")

	var many []string
	for i := range subjects.Most + 1 {
		many = append(many, fmt.Sprintf(`"a-%d":"secret"`, i))
	}
	for i, c := range []struct{ body, field string }{
		{`{}`, "values"},
		{`{"values":{}}`, "values"},
		{`{"values":"secret"}`, "values"},
		{`{"values":["secret"]}`, "values"},
		{`{"values":{` + strings.Join(many, ",") + `}}`, "values"},
		{`{"values":{"Name":"secret"}}`, "values"},
		{`{"values":{"":"secret"}}`, "values"},
		{`{"values":{"secret, as a name":"x"}}`, "values"},
		{`{"values":{"name":""}}`, "values.name"},
		{`{"values":{"name":7}}`, "values.name"},
		{`{"values":{"name":null}}`, "values.name"},
		{`{"values":{"name":"` + strings.Repeat("secret", 200) + `"}}`, "values.name"},
		{`{"values":{"name":"Ann"},"more":"secret"}`, "more"},
	} {
		a := put(operatorToken, fmt.Sprint("bad ", i), c.body)
		a.refused(422, "invalid-value", c.field)
		if strings.Contains(string(a.body), "secret") {
			t.Errorf("%s is repeated: %s", c.body, a.body)
		}
	}
	put(operatorToken, "rest", `{"values":{`+strings.Join(many[:subjects.Most], ",")+`}}`).refused(409, "too-many-attributes", "")
	read := w.get("/v1/players/ann/subject", operatorToken).want(200)
	if !strings.Contains(string(read.body), `"state":"present","value":"Ann Example"`) {
		t.Errorf("%s", read.body)
	}
}
