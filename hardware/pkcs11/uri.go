package pkcs11

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// URI names a token and an object on it, as RFC 7512 does. An empty field is not
// asked for.
type URI struct {
	Token, Manufacturer, Model, Serial string
	SlotID                             string // decimal
	Object                             string // the label of the key
	ID                                 string // raw bytes of CKA_ID
	Type                               string // private, public or secret-key

	ModulePath string
	PINSource  string // path of a file
}

// Scheme begins each URI.
const Scheme = "pkcs11:"

// ParseURI reads a URI. It is strict: RFC 7512 has those who do not know an
// attribute refuse it, for it may narrow down what is meant. A PIN in the URI
// itself (pin-value) would end up in process lists and configurations, and is
// refused.
func ParseURI(s string) (u URI, err error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return URI{}, fmt.Errorf("pkcs11 URI: expected %q and attributes, such as pkcs11:token=LABEL;object=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/path", Scheme)
	}
	path, query, asked := strings.Cut(rest, "?")
	if asked && query == "" {
		return URI{}, errors.New("pkcs11 URI: nothing follows the question mark")
	}
	seen := map[string]bool{}
	if err := u.attributes(path, ";", "&", u.pathFields(), seen); err != nil {
		return URI{}, err
	}
	if err := u.attributes(query, "&", "/?|", u.queryFields(), seen); err != nil {
		return URI{}, err
	}
	if u.SlotID != "" {
		n, err := strconv.ParseUint(u.SlotID, 10, 64)
		if err != nil {
			return URI{}, fmt.Errorf("pkcs11 URI: slot-id %q: expected a number", u.SlotID)
		}
		u.SlotID = strconv.FormatUint(n, 10)
	}
	switch u.Type {
	case "", "private", "public", "secret-key":
	default:
		return URI{}, fmt.Errorf("pkcs11 URI: type %q: expected private, public or secret-key", u.Type)
	}
	if file, ok := strings.CutPrefix(u.PINSource, "file:"); ok {
		u.PINSource = strings.TrimPrefix(file, "//")
	}
	if seen["pin-source"] && (u.PINSource == "" || strings.HasPrefix(u.PINSource, "|")) {
		return URI{}, errors.New("pkcs11 URI: pin-source: expected the path of a file with the PIN")
	}
	return u, nil
}

func (u *URI) pathFields() map[string]*string {
	return map[string]*string{
		"token": &u.Token, "manufacturer": &u.Manufacturer, "model": &u.Model, "serial": &u.Serial,
		"slot-id": &u.SlotID, "object": &u.Object, "id": &u.ID, "type": &u.Type,
	}
}

func (u *URI) queryFields() map[string]*string {
	return map[string]*string{"module-path": &u.ModulePath, "pin-source": &u.PINSource}
}

// attributes reads name=value pairs. also are the characters that this part of a
// URI may hold beside those that both may.
func (u *URI) attributes(s, separator, also string, fields map[string]*string, seen map[string]bool) error {
	if s == "" {
		return nil
	}
	for pair := range strings.SplitSeq(s, separator) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("pkcs11 URI: %q: expected name=value", pair)
		}
		field := fields[name]
		switch {
		case name == "pin-value":
			return errors.New("pkcs11 URI: pin-value would show the PIN: put it into a file of mode 0600 and name that as pin-source")
		case field == nil:
			return fmt.Errorf("pkcs11 URI: attribute %q is not known here", name)
		case seen[name]:
			return fmt.Errorf("pkcs11 URI: attribute %q is given twice", name)
		}
		seen[name] = true
		for i := range len(value) {
			if c := value[i]; c != '%' && !plain(c, also) {
				return fmt.Errorf("pkcs11 URI: attribute %q: byte %#x has to be written as %%%02X", name, c, c)
			}
		}
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return fmt.Errorf("pkcs11 URI: attribute %q: expected %%XX with two hex digits", name)
		}
		if strings.ContainsRune(decoded, 0) && name != "id" {
			return fmt.Errorf("pkcs11 URI: attribute %q holds a zero byte", name)
		}
		*field = decoded
	}
	return nil
}

// plain is whether RFC 7512 lets a byte stand for itself: unreserved,
// pk11-res-avail, or one of also.
func plain(c byte, also string) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-._~:[]@!$'()*+,=", c) >= 0 || strings.IndexByte(also, c) >= 0
}

// String writes the URI; ParseURI reads it back. It holds no PIN and may be shown.
func (u URI) String() string {
	var b strings.Builder
	b.WriteString(Scheme)
	mark := ""
	write := func(separator, also string, fields map[string]*string, names ...string) {
		for _, name := range names {
			value := *fields[name]
			if value == "" {
				continue
			}
			b.WriteString(mark + name + "=")
			for i := range len(value) {
				if plain(value[i], also) {
					b.WriteByte(value[i])
				} else {
					fmt.Fprintf(&b, "%%%02X", value[i])
				}
			}
			mark = separator
		}
	}
	write(";", "&", u.pathFields(), "token", "manufacturer", "model", "serial", "slot-id", "object", "id", "type")
	mark = "?"
	write("&", "/?|", u.queryFields(), "module-path", "pin-source")
	return b.String()
}

// ofToken is the part of u that names the token.
func (u URI) ofToken() URI {
	u.Object, u.ID, u.Type, u.PINSource = "", "", "", ""
	return u
}
