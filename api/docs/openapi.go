package docs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// members is a JSON object whose order is kept.
type members[T any] []member[T]

type member[T any] struct {
	Name  string
	Value T
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *members[T]) UnmarshalJSON(b []byte) error {
	d := decoder(b)
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return fmt.Errorf("expected an object, got %.20s", b)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		one := member[T]{Name: name.(string)}
		if err := d.Decode(&one.Value); err != nil {
			return fmt.Errorf("%s: %w", one.Name, err)
		}
		*m = append(*m, one)
	}
	_, err := d.Token()
	return err
}

func (m members[T]) get(name string) (v T, ok bool) {
	for _, one := range m {
		if one.Name == name {
			return one.Value, true
		}
	}
	return v, false
}

// decoder refuses members that the page would leave out.
func decoder(b []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	d.UseNumber()
	return d
}

// The document, as far as the page shows it.
type (
	document struct {
		OpenAPI string
		Info    struct{ Title, Version, Summary, Description string }
		Servers []struct{ URL string }
		Tags    []struct{ Name, Description string }
		Paths   members[members[*operation]]

		Components struct {
			SecuritySchemes members[securityScheme]
			Parameters      members[*parameter]
			Headers         members[*parameter]
			Responses       members[*response]
			Schemas         members[*schema]
		}
	}

	securityScheme struct{ Type, Scheme, Description string }

	operation struct {
		OperationID, Summary, Description string
		Tags                              []string
		Security                          []members[[]string]
		Parameters                        []*parameter
		RequestBody                       *struct {
			Required bool
			Content  members[*media]
		}
		Responses members[*response]
	}

	// parameter is a parameter or a header.
	parameter struct {
		Ref                   string `json:"$ref"`
		Name, In, Description string
		Required              bool
		Schema                *schema
		Example               json.RawMessage
	}

	response struct {
		Ref         string `json:"$ref"`
		Description string
		Headers     members[*parameter]
		Content     members[*media]
	}

	media struct {
		Schema  *schema
		Example json.RawMessage
	}

	schema struct {
		Ref                  string `json:"$ref"`
		Type                 types
		Description, Pattern string
		Enum, Required       []string
		Properties           members[*schema]
		AdditionalProperties *bool
		PatternProperties    members[*schema] // one at most, of texts
		MinProperties        json.Number
		MaxProperties        json.Number
		MinLength, MaxLength json.Number
		Items                *schema
		OneOf                []*schema
		Minimum, Maximum     json.Number
		MinItems, MaxItems   json.Number
		ContentEncoding      string
		Default, Example     json.RawMessage
	}
)

// types is a type or a list of them.
type types []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *types) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte{'"'}) {
		*t = types{""}
		return json.Unmarshal(b, &(*t)[0])
	}
	return json.Unmarshal(b, (*[]string)(t))
}

func parse(b []byte) (*document, error) {
	var doc document
	d := decoder(b)
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows it")
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		return nil, fmt.Errorf("version %q: expected 3.1", doc.OpenAPI)
	}
	return &doc, nil
}

// refer follows a reference into one kind of component.
func refer[T any](all members[T], kind, ref string) (name string, v T, err error) {
	name, local := strings.CutPrefix(ref, "#/components/"+kind+"/")
	v, found := all.get(name)
	if !local || !found {
		return name, v, fmt.Errorf("%s: nothing is there", ref)
	}
	return name, v, nil
}
