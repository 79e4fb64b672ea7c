package pkcs11

import (
	"strings"
	"testing"
)

func TestURIsOfTheStandard(t *testing.T) {
	for s, want := range map[string]URI{
		"pkcs11:":                             {},
		"pkcs11:object=my-pubkey;type=public": {Object: "my-pubkey", Type: "public"},
		"pkcs11:object=my-key;type=private?pin-source=file:/etc/token": {Object: "my-key", Type: "private", PINSource: "/etc/token"},
		"pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;object=my-certificate;type=private;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:///etc/token_pin": {
			Token: "The Software PKCS#11 Softtoken", Manufacturer: "Snake Oil, Inc.", Model: "1.0", Object: "my-certificate", Type: "private",
			ID: "i\x95>\\\xf4\xbd\xec\x91", PINSource: "/etc/token_pin"},
		"pkcs11:token=house;object=seeds?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin": {
			Token: "house", Object: "seeds", ModulePath: "/usr/lib/softhsm/libsofthsm2.so", PINSource: "/run/pin"},
		"pkcs11:slot-id=007?module-path=m": {SlotID: "7", ModulePath: "m"},
	} {
		got, err := ParseURI(s)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
		if again, err := ParseURI(got.String()); err != nil || again != got {
			t.Errorf("%s: written as %s, read as %+v, %v", s, got, again, err)
		}
	}
}

func TestURIsThatAreRefused(t *testing.T) {
	for s, says := range map[string]string{
		"":                           "expected \"pkcs11:\"",
		"PKCS11:token=a":             "expected \"pkcs11:\"",
		"pkcs11:token":               "name=value",
		"pkcs11:token=a;":            "name=value",
		"pkcs11:token=a;token=b":     "twice",
		"pkcs11:token=a;colour=b":    "not known",
		"pkcs11:token=a b":           "%20",
		"pkcs11:token=a/b":           "%2F",
		"pkcs11:token=%4":            "two hex digits",
		"pkcs11:token=a%00":          "zero byte",
		"pkcs11:slot-id=x":           "expected a number",
		"pkcs11:type=cert":           "expected private",
		"pkcs11:token=a?":            "nothing follows",
		"pkcs11:token=a?pin-value=1": "file of mode 0600",
		"pkcs11:token=a;pin-value=1": "file of mode 0600",
		"pkcs11:?pin-source=%7Ccat":  "path of a file",
		"pkcs11:?pin-source=":        "path of a file",
		"pkcs11:?module-name=a":      "not known",
		"pkcs11:?token=a":            "not known",
	} {
		if u, err := ParseURI(s); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v; want an error with %q", s, u, err, says)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=house;object=seeds?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/pin")
	f.Add("pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;id=%69%00;slot-id=3;type=private")
	f.Add("pkcs11:serial=1?pin-source=file:///etc/pin")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := ParseURI(s)
		if err != nil {
			return
		}
		if again, err := ParseURI(u.String()); err != nil || again != u {
			t.Errorf("%q: %+v is written as %s and read as %+v, %v", s, u, u, again, err)
		}
	})
}
