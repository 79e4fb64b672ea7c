package docs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// field is a parameter, a header, a member of an object, or a schema.
type field struct {
	Name, In string
	Required bool
	Type     string
	Schema   string // the schema that Type names, if it has a name of its own
	Null     bool   // may be null instead
	Text     template.HTML
	Limits   []limit
	Fields   []*field // members, of an object that has no name
	Example  string
}

// limit is a bound in words and, where there are any, values.
type limit struct {
	Text   string
	Values []string
}

// field describes a schema under a name.
func (d *document) field(name string, s *schema) (*field, error) {
	f := &field{Name: name, Example: scalar(s.Example)}
	described := s.Description
	if s.Ref != "" {
		var err error
		if f.Schema, s, err = refer(d.Components.Schemas, "schemas", s.Ref); err != nil {
			return nil, err
		}
		described = cmp.Or(described, s.Description)
	}
	f.Text = text(described)
	if err := d.describe(f, s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

// describe adds what a schema demands.
func (d *document) describe(f *field, s *schema) error {
	if len(s.OneOf) > 0 {
		return d.oneOf(f, s.OneOf)
	}
	f.Null = slices.Contains(s.Type, "null")
	f.Type = strings.Join(slices.DeleteFunc(slices.Clone(s.Type), func(t string) bool { return t == "null" }), " or ")
	if f.Type == "" {
		return fmt.Errorf("a schema without a type")
	}
	if len(s.Enum) > 0 {
		f.limit("one of", s.Enum...)
	}
	f.within(s.Minimum, s.Maximum, "")
	if s.Pattern != "" {
		f.limit("matches", s.Pattern)
	}
	if s.ContentEncoding != "" {
		f.Type = s.ContentEncoding
	}
	if s.Default != nil {
		f.limit("default", scalar(s.Default))
	}
	f.within(s.MinItems, s.MaxItems, " items")
	f.within(s.MinLength, s.MaxLength, " characters")
	f.within(s.MinProperties, s.MaxProperties, " members")
	for _, p := range s.PatternProperties {
		each, err := d.field("", p.Value)
		if err != nil {
			return err
		}
		f.Type = "object of " + each.Type
		f.limit("names match", p.Name)
		f.Limits = append(f.Limits, each.Limits...)
	}
	if s.Items != nil {
		items, err := d.field("", s.Items)
		if err != nil {
			return err
		}
		f.Type, f.Schema, f.Fields = "list of "+items.Type, items.Schema, items.Fields
		if items.Schema == "" {
			f.Limits = append(f.Limits, items.Limits...)
		}
	}
	if f.Schema != "" && f.Name != "" && len(s.Properties) > 0 {
		return nil // its own section lists them
	}
	for _, p := range s.Properties {
		m, err := d.field(p.Name, p.Value)
		if err != nil {
			return err
		}
		m.Required = slices.Contains(s.Required, p.Name)
		f.Fields = append(f.Fields, m)
	}
	if s.AdditionalProperties != nil && *s.AdditionalProperties {
		f.limit("may have more members")
	}
	return nil
}

// oneOf knows the one kind of choice that the document makes: something or
// null.
func (d *document) oneOf(f *field, choices []*schema) error {
	if len(choices) != 2 || len(choices[1].Type) != 1 || choices[1].Type[0] != "null" {
		return fmt.Errorf("oneOf: expected a schema and null")
	}
	one, err := d.field(f.Name, choices[0])
	if err != nil {
		return err
	}
	one.Null, one.Text = true, cmp.Or(f.Text, one.Text)
	*f = *one
	return nil
}

func (f *field) limit(text string, values ...string) {
	f.Limits = append(f.Limits, limit{text, values})
}

// within adds a range of numbers, or of how many there are of something.
func (f *field) within(least, most json.Number, of string) {
	switch {
	case least == "" && most == "":
	case most == "":
		f.limit("at least " + string(least) + of)
	case least == "":
		f.limit("at most " + string(most) + of)
	case least == most:
		f.limit("exactly " + string(least) + of)
	default:
		f.limit(string(least) + " to " + string(most) + of)
	}
}

// scalar shows a value of JSON, a string without its quotes.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// parameter describes a parameter or a header.
func (d *document) parameter(p *parameter) (*field, error) {
	f, err := d.field(p.Name, p.Schema)
	if err != nil {
		return nil, err
	}
	f.In, f.Required = p.In, p.Required
	f.Text = cmp.Or(text(p.Description), f.Text)
	f.Example = cmp.Or(scalar(p.Example), f.Example)
	return f, nil
}

func (d *document) content(list members[*media]) (all []*content, err error) {
	for _, m := range list {
		c := &content{Type: m.Name}
		if c.Schema, err = d.field("", m.Value.Schema); err != nil {
			return nil, err
		}
		if m.Value.Example != nil {
			var lines int
			c.Example, lines = example(m.Value.Example, strings.HasSuffix(m.Name, "json"))
			c.Long = lines > 36
		}
		all = append(all, c)
	}
	return all, nil
}

func (d *document) answer(status string, r *response) (a *answer, err error) {
	if r.Ref != "" {
		if _, r, err = refer(d.Components.Responses, "responses", r.Ref); err != nil {
			return nil, err
		}
	}
	a = &answer{Text: template.HTML(inline(r.Description))}
	if a.Status, err = strconv.Atoi(status); err != nil {
		return nil, err
	}
	a.Name = http.StatusText(a.Status)
	for _, h := range r.Headers {
		p := h.Value
		if p.Ref != "" {
			if _, p, err = refer(d.Components.Headers, "headers", p.Ref); err != nil {
				return nil, err
			}
		}
		f, err := d.parameter(p)
		if err != nil {
			return nil, err
		}
		f.Name = h.Name
		a.Headers = append(a.Headers, f)
	}
	a.Content, err = d.content(r.Content)
	return a, err
}

func (d *document) call(method, path string, o *operation) (c *call, err error) {
	c = &call{ID: o.OperationID, Method: method, Path: path, Title: o.Summary, Text: text(o.Description)}
	for _, s := range o.Security {
		for _, scheme := range s {
			c.Roles = append(c.Roles, scheme.Name)
		}
	}
	for _, p := range o.Parameters {
		if p.Ref != "" {
			if _, p, err = refer(d.Components.Parameters, "parameters", p.Ref); err != nil {
				return nil, err
			}
		}
		f, err := d.parameter(p)
		if err != nil {
			return nil, err
		}
		c.Parameters = append(c.Parameters, f)
	}
	var body json.RawMessage
	if o.RequestBody != nil {
		content, err := d.content(o.RequestBody.Content)
		if err != nil {
			return nil, err
		}
		if len(content) != 1 || content[0].Example == "" {
			return nil, fmt.Errorf("expected a request body of one type, with an example")
		}
		c.Body, c.Required, body = content[0], o.RequestBody.Required, o.RequestBody.Content[0].Value.Example
	}
	for _, r := range o.Responses {
		a, err := d.answer(r.Name, r.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		c.Answers = append(c.Answers, a)
	}
	c.Curl, err = c.curl(body)
	return c, err
}

// curl is a command for a shell that has the server's address in HOUSE and
// tokens in variables named as the roles.
func (c *call) curl(body json.RawMessage) (template.HTML, error) {
	path := c.Path
	var headers []string
	if len(c.Roles) > 0 {
		headers = append(headers, `"Authorization: Bearer $`+strings.ToUpper(c.Roles[0])+`"`)
	}
	for _, p := range c.Parameters {
		switch {
		case p.In == "path" && p.Example == "":
			return "", fmt.Errorf("the parameter %s has no example", p.Name)
		case p.In == "path":
			path = strings.ReplaceAll(path, "{"+p.Name+"}", p.Example)
		case p.In == "header" && p.Name == "Idempotency-Key":
			headers = append(headers, quote(p.Name+": "+c.ID+"-1"))
		case p.Required:
			return "", fmt.Errorf("the parameter %s has no place in a command", p.Name)
		}
	}
	command := `curl -sS "$HOUSE` + path + `"`
	if c.Method != "GET" && c.Method != "POST" { // which curl finds out by itself
		command = `curl -sS -X ` + c.Method + ` "$HOUSE` + path + `"`
	}
	for _, a := range c.Answers {
		if a.Good() && len(a.Content) > 0 && a.Content[0].Type == "application/octet-stream" {
			command += " -o " + c.ID + ".bin"
		}
	}
	if body != nil {
		headers = append(headers, quote("Content-Type: "+c.Body.Type))
	}
	for _, h := range headers {
		command += " \\\n  -H " + h
	}
	if body != nil {
		b, err := compact(body)
		if err != nil {
			return "", err
		}
		command += " \\\n  -d " + quote(b)
	}
	return template.HTML(template.HTMLEscapeString(command)), nil
}

// quote quotes a word for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
