package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// document is the OpenAPI document as data.
var document = func() map[string]any {
	v, err := decodeJSON(openAPI)
	if err != nil {
		panic(err)
	}
	return v.(map[string]any)
}()

// decodeJSON keeps numbers as they are written.
func decodeJSON(b []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// at follows names into the document; nil when there is nothing.
func at(v any, names ...string) any {
	for _, n := range names {
		m, _ := resolve(v).(map[string]any)
		v = m[n]
	}
	return resolve(v)
}

// resolve follows a reference.
func resolve(v any) any {
	m, _ := v.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	target := at(document, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	if target == nil {
		panic("nothing at " + ref)
	}
	return target
}

// keywords are those that check knows, and those that only describe.
var keywords = []string{
	"$ref", "type", "required", "properties", "additionalProperties", "enum", "items", "pattern", "minimum", "maximum", "minItems", "maxItems",
	"oneOf", "description", "example", "default", "contentEncoding", "patternProperties", "minProperties", "maxProperties", "minLength", "maxLength",
}

// check holds a value against a JSON Schema of the kind that the document uses.
func check(where string, v, schema any) error {
	s, ok := resolve(schema).(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no schema", where)
	}
	for k := range s {
		if !slices.Contains(keywords, k) {
			return fmt.Errorf("%s: the checker does not know %q", where, k)
		}
	}
	if one, ok := s["oneOf"].([]any); ok {
		fits := 0
		var last error
		for _, o := range one {
			if err := check(where, v, o); err == nil {
				fits++
			} else {
				last = err
			}
		}
		if fits != 1 {
			return fmt.Errorf("%s: fits %d of %d: %v", where, fits, len(one), last)
		}
		return nil
	}
	if types, ok := s["type"].([]any); ok {
		if !slices.Contains(types, any(typeOf(v))) {
			return fmt.Errorf("%s: %s, want %v", where, typeOf(v), types)
		}
	} else if s["type"] != typeOf(v) && (s["type"] != "number" || typeOf(v) != "integer") {
		return fmt.Errorf("%s: %s, want %v", where, typeOf(v), s["type"])
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s: %v, want one of %v", where, v, enum)
	}
	switch v := v.(type) {
	case string:
		if p, ok := s["pattern"].(string); ok && !matches(p, v) {
			return fmt.Errorf("%s: %q does not match %s", where, v, p)
		}
		length := float64(len([]rune(v)))
		if least, ok := bound(s["minLength"]); ok && length < least {
			return fmt.Errorf("%s: %v characters, want at least %v", where, length, least)
		}
		if most, ok := bound(s["maxLength"]); ok && length > most {
			return fmt.Errorf("%s: %v characters, want at most %v", where, length, most)
		}
	case json.Number:
		n, _ := bound(v)
		if least, ok := bound(s["minimum"]); ok && n < least {
			return fmt.Errorf("%s: %s is below %v", where, v, least)
		}
		if most, ok := bound(s["maximum"]); ok && n > most {
			return fmt.Errorf("%s: %s is above %v", where, v, most)
		}
	case []any:
		if least, ok := bound(s["minItems"]); ok && float64(len(v)) < least {
			return fmt.Errorf("%s: %d items, want at least %v", where, len(v), least)
		}
		if most, ok := bound(s["maxItems"]); ok && float64(len(v)) > most {
			return fmt.Errorf("%s: %d items, want at most %v", where, len(v), most)
		}
		for i := range v {
			if err := check(fmt.Sprintf("%s[%d]", where, i), v[i], s["items"]); err != nil {
				return err
			}
		}
	case map[string]any:
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Errorf("%s: no %q", where, name)
			}
		}
		if least, ok := bound(s["minProperties"]); ok && float64(len(v)) < least {
			return fmt.Errorf("%s: %d members, want at least %v", where, len(v), least)
		}
		if most, ok := bound(s["maxProperties"]); ok && float64(len(v)) > most {
			return fmt.Errorf("%s: %d members, want at most %v", where, len(v), most)
		}
		properties, _ := s["properties"].(map[string]any)
		named, _ := s["patternProperties"].(map[string]any)
		for name := range v {
			p, ok := properties[name]
			for pattern, more := range named {
				if matches(pattern, name) {
					p, ok = more, true
				}
			}
			if ok {
				if err := check(where+"."+name, v[name], p); err != nil {
					return err
				}
			} else if s["additionalProperties"] == false {
				return fmt.Errorf("%s: unknown %q", where, name)
			}
		}
	}
	return nil
}

// bound reads a number. As floats 2^53-1 and 2^53 still differ.
func bound(v any) (float64, bool) {
	n, ok := v.(json.Number)
	f, err := n.Float64()
	return f, ok && err == nil
}

var patterns sync.Map // pattern → *regexp.Regexp

func matches(pattern, s string) bool {
	re, ok := patterns.Load(pattern)
	if !ok {
		re, _ = patterns.LoadOrStore(pattern, regexp.MustCompile(pattern))
	}
	return re.(*regexp.Regexp).MatchString(s)
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") { // the house takes digits only
			return "number"
		}
		return "integer"
	case []any:
		return "array"
	}
	return "object"
}

// templates are the document's paths as patterns, the most particular first.
var templates = func() (list []template) {
	for path := range at(document, "paths").(map[string]any) {
		pattern := strings.NewReplacer("{tile}", ".*", "{bundle}", ".*").Replace(path)
		pattern = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(pattern, "[^/]*")
		list = append(list, template{path, regexp.MustCompile("^" + pattern + "$")})
	}
	slices.SortFunc(list, func(a, b template) int { return len(b.path) - len(a.path) })
	return list
}()

type template struct {
	path    string
	pattern *regexp.Regexp
}

// operation finds what the document says of a request; nil for none.
func operation(method, path string) any {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	path, _, _ = strings.Cut(path, "?")
	for _, t := range templates {
		if t.pattern.MatchString(path) {
			return at(document, "paths", t.path, strings.ToLower(method))
		}
	}
	return nil
}

// conforms holds a request and its answer against the document.
func (a *answer) conforms(method, path, body string) {
	a.t.Helper()
	fail := func(format string, args ...any) {
		a.t.Helper()
		a.t.Errorf("%s %.60s: %d: %s: %.300s", method, path, a.status, fmt.Sprintf(format, args...), a.body)
	}
	op := operation(method, path)
	responses := map[string]any{"404": at(document, "components", "responses", "NotFound"), "405": at(document, "components", "responses", "MethodNotAllowed")}
	if op != nil && a.status != 405 {
		responses = at(op, "responses").(map[string]any)
	}
	response := resolve(responses[fmt.Sprint(a.status)])
	if response == nil {
		fail("the document has no such answer")
		return
	}
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	content, _ := at(response, "content").(map[string]any)
	if content == nil && kind == "" && len(a.body) == 0 {
		return
	}
	media, ok := content[kind]
	if !ok {
		fail("the document has no such answer of type %q", kind)
		return
	}
	for name := range content {
		if name == "application/problem+json" {
			headers, _ := at(response, "headers").(map[string]any)
			for h := range headers {
				if a.header.Get(h) == "" {
					fail("no %s", h)
				}
			}
		}
	}
	if strings.HasSuffix(kind, "json") && method != http.MethodHead {
		v, err := decodeJSON(a.body)
		if err == nil {
			err = check("answer", v, at(media, "schema"))
		}
		if err != nil {
			fail("%v", err)
		}
	}
	if !isCommand(method) || op == nil || body == "" {
		return
	}
	v, err := decodeJSON([]byte(body))
	if err == nil {
		err = check("body", v, at(op, "requestBody", "content", "application/json", "schema"))
	}
	switch {
	case a.status == 201 && err != nil:
		fail("it was accepted, but: %v", err)
	case a.json["type"] == "/problems/invalid-value" && a.json["field"] != "currency" && err == nil:
		fail("it was refused, but the document allows it")
	}
}

func TestTheDocumentDescribesEveryRoute(t *testing.T) {
	w := open(t)
	served := map[string]bool{}
	for _, r := range w.api.routes(nil) {
		template := strings.ReplaceAll(r.path, "...}", "}")
		served[r.method+" "+template] = true
		if at(document, "paths", template, strings.ToLower(r.method)) == nil {
			t.Errorf("%s %s is not in the document", r.method, template)
		}
	}
	ids := map[string]bool{}
	for path, item := range at(document, "paths").(map[string]any) {
		for method, op := range item.(map[string]any) {
			if !served[strings.ToUpper(method)+" "+path] {
				t.Errorf("%s %s is in the document but not served", method, path)
			}
			id := at(op, "operationId").(string)
			if ids[id] || at(op, "summary") == nil || at(op, "security") == nil {
				t.Errorf("%s %s: no operation of its own: %v", method, path, op)
			}
			ids[id] = true
			for status, response := range at(op, "responses").(map[string]any) {
				content, _ := at(response, "content").(map[string]any)
				for kind, media := range content {
					if at(media, "example") == nil && (strings.HasSuffix(kind, "json") || kind == "text/plain") {
						t.Errorf("%s %s: %s has no example", method, path, status)
					}
				}
			}
			parameters, _ := at(op, "parameters").([]any)
			var named []string
			for _, p := range parameters {
				if at(p, "in") == "path" {
					named = append(named, "{"+at(p, "name").(string)+"}")
				}
			}
			if got := regexp.MustCompile(`\{\w+\}`).FindAllString(path, -1); !slices.Equal(got, named) {
				t.Errorf("%s %s has the parameters %v, documented are %v", method, path, got, named)
			}
		}
	}
	a := w.get("/openapi.json", "").want(200)
	if !bytes.Equal(a.body, openAPI) || a.header.Get("Content-Type") != "application/json" {
		t.Error("/openapi.json is not the document")
	}
}

func TestTheDocumentListsEveryProblem(t *testing.T) {
	var types, names []any
	for _, p := range problems {
		types, names = append(types, "/problems/"+p.name), append(names, p.name)
	}
	for _, c := range []struct {
		have any
		want []any
	}{
		{at(document, "components", "schemas", "Problem", "properties", "type", "enum"), types},
		{at(document, "components", "parameters", "ProblemName", "schema", "enum"), names},
	} {
		have := c.have.([]any)
		for _, name := range c.want {
			if !slices.Contains(have, name) {
				t.Errorf("%s is not in the document", name)
			}
		}
		if len(have) != len(c.want) {
			t.Errorf("the document lists %d problems, there are %d", len(have), len(c.want))
		}
	}
}

// The examples are of one house, whose key is the example of /log/vkey.
func TestTheDocumentsExamplesHold(t *testing.T) {
	key := at(document, "paths", "/log/vkey", "get", "responses", "200", "content", "text/plain", "example").(string)
	verifier, err := tlog.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		t.Fatal(err)
	}
	checked, verified := 0, 0
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if example, ok := v["example"]; ok {
				schema, ok := v["schema"]
				if !ok {
					schema = v
				}
				checked++
				if err := check(where, example, schema); err != nil {
					t.Error(err)
				}
			}
			if receipt, ok := v["receipt"].(string); ok && v["leaf"] != nil {
				verified++
				raw, err := json.Marshal(v["leaf"])
				if err != nil {
					t.Fatal(err)
				}
				leaf, err := entry.Canonical(raw)
				if err != nil {
					t.Fatal(err)
				}
				r, err := tlog.ParseReceipt([]byte(receipt))
				if err == nil {
					_, err = r.Verify(leaf, verifier)
				}
				if err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
			for name := range v {
				walk(where+"/"+name, v[name])
			}
		case []any:
			for i := range v {
				walk(fmt.Sprintf("%s/%d", where, i), v[i])
			}
		}
	}
	walk("", map[string]any(document))
	if checked < 30 || verified < 8 {
		t.Errorf("%d examples, %d receipts: the walk has missed some", checked, verified)
	}
	if !utf8.Valid(openAPI) {
		t.Error("not UTF-8")
	}
}

func TestTheCheckerSeesFaults(t *testing.T) {
	for _, c := range []struct{ schema, value string }{
		{"NewSpin", `{}`}, {"NewSpin", `{"stake":0}`}, {"NewSpin", `{"stake":1.0}`}, {"NewSpin", `{"stake":"1"}`}, {"NewSpin", `{"stake":9007199254740992}`},
		{"NewSpin", `{"stake":1,"x":1}`}, {"NewSpin", `[]`}, {"NewPlayer", `{"id":"-","currency":"EUR"}`}, {"GameState", `{"state":"on","reason":"x"}`},
		{"Next", `1`}, {"Next", `"x"`}, {"Entries", `{"items":[{}],"next":null}`}, {"Epoch", `{"epoch":1,"status":"active","committed":1,"activated":null,"closed":null,"revealed":null,"halted":null,"abandoned":null}`},
	} {
		v, err := decodeJSON([]byte(c.value))
		if err != nil {
			t.Fatal(err)
		}
		if check("", v, at(document, "components", "schemas", c.schema)) == nil {
			t.Errorf("%s passes for %s", c.value, c.schema)
		}
	}
}
