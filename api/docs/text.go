package docs

import (
	"bytes"
	"encoding/json"
	"html/template"
	"regexp"
	"strings"
	"unicode/utf8"
)

// text makes HTML of the CommonMark that the document's descriptions are
// written in: paragraphs, lists of one level, fenced code, and code in
// backticks. All else is shown as it stands.
func text(s string) template.HTML {
	var out strings.Builder
	for rest := strings.TrimSpace(s); rest != ""; rest = strings.TrimLeft(rest, "\n") {
		if code, found := strings.CutPrefix(rest, "```\n"); found {
			code, rest, _ = strings.Cut(code, "```")
			out.WriteString("<pre><code>" + template.HTMLEscapeString(strings.TrimSuffix(code, "\n")) + "</code></pre>\n")
			continue
		}
		var block string
		block, rest, _ = strings.Cut(rest, "\n\n")
		switch {
		case strings.HasPrefix(block, "- "):
			list(&out, "ul", block)
		case strings.HasPrefix(block, "1. "):
			list(&out, "ol", block)
		default:
			out.WriteString("<p>" + inline(block) + "</p>\n")
		}
	}
	return template.HTML(out.String())
}

func list(out *strings.Builder, tag, block string) {
	out.WriteString("<" + tag + ">\n")
	for item := range strings.Lines(block) {
		_, item, _ = strings.Cut(strings.TrimSpace(item), " ")
		out.WriteString("<li>" + inline(item) + "</li>\n")
	}
	out.WriteString("</" + tag + ">\n")
}

var backticks = regexp.MustCompile("`([^`]+)`")

func inline(s string) string {
	return backticks.ReplaceAllString(template.HTMLEscapeString(s), "<code>$1</code>")
}

// widest is the length in characters up to which an array or object of an
// example is kept on one line.
const widest = 52

// example shows a value: JSON with its tokens marked, or a string as the text
// it is.
func example(raw json.RawMessage, isJSON bool) (html template.HTML, lines int) {
	if !isJSON {
		s := scalar(raw)
		return template.HTML(template.HTMLEscapeString(s)), strings.Count(s, "\n")
	}
	var out strings.Builder
	show(&out, raw, "")
	s := out.String()
	return template.HTML(s), strings.Count(s, "\n")
}

// show writes a JSON value over as many lines as it needs.
func show(out *strings.Builder, raw json.RawMessage, indent string) {
	one, err := compact(raw)
	var object members[json.RawMessage]
	var array []json.RawMessage
	switch {
	case err != nil:
		panic(err) // the document was parsed
	case utf8.RuneCountInString(one)+strings.Count(one, ",") <= widest && !strings.Contains(one, ":{"):
		mark(out, one)
	case json.Unmarshal(raw, &object) == nil:
		out.WriteByte('{')
		for i, m := range object {
			separate(out, i, indent+"  ")
			name, _ := json.Marshal(m.Name)
			mark(out, string(name)+":")
			out.WriteByte(' ')
			show(out, m.Value, indent+"  ")
		}
		out.WriteString("\n" + indent + "}")
	case json.Unmarshal(raw, &array) == nil:
		out.WriteByte('[')
		for i, v := range array {
			separate(out, i, indent+"  ")
			show(out, v, indent+"  ")
		}
		out.WriteString("\n" + indent + "]")
	default:
		mark(out, one)
	}
}

func separate(out *strings.Builder, i int, indent string) {
	if i > 0 {
		out.WriteByte(',')
	}
	out.WriteString("\n" + indent)
}

// token matches a member's name, another string, a number or a literal.
var token = regexp.MustCompile(`("(?:[^"\\]|\\.)*"):|("(?:[^"\\]|\\.)*")|(-?[0-9][0-9.eE+-]*)|(true|false|null)`)

// mark writes compact JSON with a span around each token, and a space after
// what separates them.
func mark(out *strings.Builder, s string) {
	at := 0
	for _, m := range token.FindAllStringSubmatchIndex(s, -1) {
		out.WriteString(strings.ReplaceAll(s[at:m[0]], ",", ", "))
		at = m[1]
		for i, class := range []string{"name", "string", "number", "literal"} {
			if from, to := m[2+2*i], m[3+2*i]; from >= 0 {
				out.WriteString(`<span class="` + class + `">` + template.HTMLEscapeString(s[from:to]) + `</span>`)
				if class == "name" {
					out.WriteByte(':')
					if at < len(s) {
						out.WriteByte(' ')
					}
				}
			}
		}
	}
	out.WriteString(strings.ReplaceAll(s[at:], ",", ", "))
}

// compact writes JSON on one line, without escapes that only HTML needs.
func compact(raw json.RawMessage) (string, error) {
	var b bytes.Buffer
	err := json.Compact(&b, raw)
	return b.String(), err
}
