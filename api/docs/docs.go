// Package docs makes a readable page of an OpenAPI document: plain HTML that
// needs no script, loads nothing from elsewhere and can be served under a
// strict content security policy.
//
// The document is the one source. Its tags without operations are the guides
// at the top of the page, in their order; those with operations are its
// chapters. What the page cannot show is an error, so nothing is left out of
// it by accident.
package docs

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

//go:embed style.css script.js icon.svg
var files embed.FS

// ContentSecurityPolicy is what the page can be served under.
const ContentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Problem is a kind of refusal that the page lists.
type Problem struct {
	Name           string // the last part of its type
	Status         int
	Title, Meaning string
	Retry          int    // seconds; 0 for none
	Outcome        string // what became of a command; empty where there is no doubt
}

// File is a resource that the page needs, named as the page refers to it,
// below /docs/. The page itself has no name.
type File struct {
	Name, Type string
	Body       []byte
}

// Render makes the page of an OpenAPI 3.1 document and the files it needs.
func Render(openAPI []byte, problems []Problem) ([]File, error) {
	d, err := parse(openAPI)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	view, err := d.page(problems)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := t.Execute(&page, view); err != nil {
		return nil, err
	}
	all := []File{{Type: "text/html; charset=utf-8", Body: page.Bytes()}}
	for _, f := range []File{
		{Name: "style.css", Type: "text/css; charset=utf-8"},
		{Name: "script.js", Type: "text/javascript; charset=utf-8"},
		{Name: "icon.svg", Type: "image/svg+xml"},
	} {
		if f.Body, err = files.ReadFile(f.Name); err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// page is what the template shows.
type page struct {
	Title, Version, Summary string
	About                   template.HTML
	Guides                  []chapter
	Roles                   []role
	Chapters                []chapter
	Problems                []problemGroup
	Schemas                 []*field
}

// chapter is a tag of the document.
type chapter struct {
	ID, Title string
	Text      template.HTML
	Calls     []*call
}

// role is a security scheme with the calls that it opens.
type role struct {
	ID, Name string
	Text     template.HTML
	Calls    []*call
}

// problemGroup are the problems of one status.
type problemGroup struct {
	Status   int
	Text     string
	Problems []Problem
}

// call is an operation.
type call struct {
	ID, Method, Path, Title string
	Text                    template.HTML
	Roles                   []string // nobody: anybody may call
	Parameters              []*field
	Body                    *content
	Required                bool // a body has to be sent
	Answers                 []*answer
	Curl                    template.HTML
}

// answer is a response.
type answer struct {
	Status  int
	Name    string // of the status
	Text    template.HTML
	Headers []*field
	Content []*content
}

// Good tells whether it is an answer of success.
func (a *answer) Good() bool { return a.Status < 400 }

// content is a body of one media type.
type content struct {
	Type    string
	Schema  *field
	Example template.HTML
	Long    bool // the example is shown in a box that scrolls
}

func (d *document) page(problems []Problem) (*page, error) {
	p := &page{Title: d.Info.Title, Version: d.Info.Version, Summary: d.Info.Summary, About: text(d.Info.Description)}
	byTag := map[string][]*call{}
	byRole := map[string][]*call{}
	for _, path := range d.Paths {
		for _, m := range path.Value {
			c, err := d.call(strings.ToUpper(m.Name), path.Name, m.Value)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", m.Name, path.Name, err)
			}
			for _, tag := range m.Value.Tags {
				byTag[tag] = append(byTag[tag], c)
			}
			for _, r := range c.Roles {
				byRole[r] = append(byRole[r], c)
			}
		}
	}
	for _, t := range d.Tags {
		c := chapter{ID: anchor(t.Name), Title: t.Name, Text: text(t.Description), Calls: byTag[t.Name]}
		delete(byTag, t.Name)
		if c.Calls == nil {
			p.Guides = append(p.Guides, c)
		} else {
			p.Chapters = append(p.Chapters, c)
		}
	}
	for tag := range byTag {
		return nil, fmt.Errorf("the tag %q is not described", tag)
	}
	for _, s := range d.Components.SecuritySchemes {
		p.Roles = append(p.Roles, role{ID: anchor(s.Name), Name: s.Name, Text: text(s.Value.Description), Calls: byRole[s.Name]})
		delete(byRole, s.Name)
	}
	for r := range byRole {
		return nil, fmt.Errorf("the security scheme %q is not described", r)
	}
	for _, s := range d.Components.Schemas {
		f, err := d.field(s.Name, s.Value)
		if err != nil {
			return nil, err
		}
		p.Schemas = append(p.Schemas, f)
	}
	problems = slices.Clone(problems)
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Status - b.Status })
	for _, one := range problems {
		if n := len(p.Problems); n == 0 || p.Problems[n-1].Status != one.Status {
			p.Problems = append(p.Problems, problemGroup{Status: one.Status, Text: http.StatusText(one.Status)})
		}
		last := &p.Problems[len(p.Problems)-1]
		last.Problems = append(last.Problems, one)
	}
	return p, nil
}

// anchor makes an id of a title.
func anchor(title string) string { return strings.ReplaceAll(strings.ToLower(title), " ", "-") }
