package docs

import (
	"encoding/json"
	"html"
	"regexp"
	"strings"
	"testing"
)

const small = `{"openapi":"3.1.0","info":{"title":"T","version":"1","summary":"S","description":"D"},"tags":[{"name":"Guide","description":"How."},{"name":"Calls","description":"What."}],
"paths":{"/things/{id}":{"post":{"operationId":"make","tags":["Calls"],"summary":"Make","security":[{"maker":[]}],
"parameters":[{"name":"id","in":"path","required":true,"description":"Which.","schema":{"$ref":"#/components/schemas/ID"},"example":"a'b"}],
"requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"},"example":{"size":1,"note":"it's <b>"}}}},
"responses":{"201":{"description":"Made."},"404":{"$ref":"#/components/responses/None"}}}}},
"components":{"securitySchemes":{"maker":{"type":"http","scheme":"bearer","description":"Makes."}},"responses":{"None":{"description":"None."}},
"schemas":{"ID":{"type":"string","pattern":"^a"},"Thing":{"type":"object","required":["size"],"properties":{"size":{"type":"integer","minimum":1,"maximum":9},"of":{"oneOf":[{"$ref":"#/components/schemas/ID"},{"type":"null"}]}}}}}}`

func TestRender(t *testing.T) {
	files, err := Render([]byte(small), []Problem{{Name: "late", Status: 503, Title: "Late", Meaning: "Wait.", Retry: 7}})
	if err != nil {
		t.Fatal(err)
	}
	page := string(files[0].Body)
	for _, want := range []string{
		`<h2 id="guide-guide">Guide</h2>`, `<h2 id="chapter-calls">Calls</h2>`, `<h3 id="call-make">Make</h3>`, `<div id="problem-late">`, `<code class="value">7</code>`,
		`<a href="#role-maker">maker</a>`, `1 to 9`, `<a href="#schema-ID">ID</a> (string) or null`, `<span class="required">required</span>`, `it&#39;s &lt;b&gt;`,
		html.EscapeString(`-d '{"size":1,"note":"it'\''s <b>"}'`),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is not in the page:\n%s", want, page)
		}
	}
}

func TestWhatThePageCannotShowIsRefused(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{`"minimum":1`, `"exclusiveMinimum":1`, "exclusiveMinimum"},
		{`"summary":"Make"`, `"summary":"Make","callbacks":{}`, "callbacks"},
		{`"$ref":"#/components/schemas/Thing"`, `"$ref":"#/components/schemas/Thin"`, "nothing is there"},
		{`"$ref":"#/components/responses/None"`, `"$ref":"other.json#/None"`, "nothing is there"},
		{`{"type":"null"}]`, `{"type":"string"}]`, "oneOf"},
		{`"tags":["Calls"]`, `"tags":["Others"]`, `"Others" is not described`},
		{`"security":[{"maker":[]}]`, `"security":[{"other":[]}]`, `"other" is not described`},
		{`,"example":"a'b"`, ``, "has no example"},
		{`,"example":{"size":1,"note":"it's <b>"}`, ``, "with an example"},
		{`"openapi":"3.1.0"`, `"openapi":"3.0.3"`, "expected 3.1"},
		{`{"type":"string","pattern":"^a"}`, `{"pattern":"^a"}`, "without a type"},
		{`"paths":{`, `"paths":[{`, ""},
		{`"properties":{`, `"properties":7,"x":{`, ""},
	} {
		if strings.Count(small, c.old) != 1 {
			t.Fatalf("%s is in the document %d times", c.old, strings.Count(small, c.old))
		}
		_, err := Render([]byte(strings.Replace(small, c.old, c.new, 1)), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.new, err)
		}
	}
	if _, err := Render([]byte(small+"{}"), nil); err == nil {
		t.Error("a second document is not refused")
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		"one <b>\n\ntwo":                      "<p>one &lt;b&gt;</p>\n<p>two</p>\n",
		"use `a<b` and `c`":                   "<p>use <code>a&lt;b</code> and <code>c</code></p>\n",
		"- a\n- `b`\n\nafter":                 "<ul>\n<li>a</li>\n<li><code>b</code></li>\n</ul>\n<p>after</p>\n",
		"1. a\n2. b":                          "<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n",
		"```\na `x`\n\n  <b>\n```\n\nafter `": "<pre><code>a `x`\n\n  &lt;b&gt;</code></pre>\n<p>after `</p>\n",
		"```\nnever closed":                   "<pre><code>never closed</code></pre>\n",
	} {
		if got := string(text(in)); got != want {
			t.Errorf("%q is shown as\n%s want\n%s", in, got, want)
		}
	}
}

// Taken out of its HTML, what is shown is the example again.
func TestExamplesAreShownWhole(t *testing.T) {
	tags := regexp.MustCompile(`</?span[^>]*>`)
	for _, in := range []string{
		`null`, `-1.5e+9`, `"a, b: \"c\" <\u2014>"`, `{}`, `[]`, `[[32,23],[33,12]]`, `{"a":{"b":[1,2,{"c":null}]},"d":[true,false],"z":0,"e":"x:1,2"}`,
		`{"long":"` + strings.Repeat("a, ", 40) + `","list":[` + strings.Repeat(`"element",`, 20) + `"last"],"none":[],"empty":{}}`,
	} {
		shown, lines := example(json.RawMessage(in), true)
		plain := html.UnescapeString(tags.ReplaceAllString(string(shown), ""))
		got, err := compact(json.RawMessage(plain))
		if err != nil || got != in {
			t.Errorf("%s is shown as\n%s\n%v", in, plain, err)
		}
		if lines != strings.Count(plain, "\n") {
			t.Errorf("%s: %d lines", in, lines)
		}
	}
	if shown, lines := example(json.RawMessage(`"a\n<b>\n"`), false); shown != "a\n&lt;b&gt;\n" || lines != 2 {
		t.Errorf("a text is shown as %q, %d lines", shown, lines)
	}
}
