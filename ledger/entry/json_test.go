package entry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// The worked examples of RFC 8785, 3.2.2 to 3.2.4 and appendix B.
func TestCanonicalExamples(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{`{ "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
		   "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`},
		{`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"},
		{`-0`, `0`}, {`5e-324`, `5e-324`}, {`-5e-324`, `-5e-324`}, {`1.7976931348623157e308`, `1.7976931348623157e+308`},
		{`9007199254740992`, `9007199254740992`}, {`295147905179352830000`, `295147905179352830000`},
		{`9.999999999999997e22`, `9.999999999999997e+22`}, {`1e23`, `1e+23`}, {`1.0000000000000001e23`, `1.0000000000000001e+23`},
		{`999999999999999900000`, `999999999999999900000`}, {`1e21`, `1e+21`}, {`0.000001`, `0.000001`}, {`0.0000001`, `1e-7`},
		{`333333333.33333325`, `333333333.33333325`}, {`-0.0000033333333333333333`, `-0.0000033333333333333333`},
		{` [ ] `, `[]`}, {`{"b":1,"a":{}}`, `{"a":{},"b":1}`}, {"\"\u2028\u007f\"", "\"\u2028\u007f\""}, {`"\b\t\n\f\r\u0001"`, `"\b\t\n\f\r\u0001"`},
	} {
		got, err := Canonical([]byte(c.in))
		if err != nil || string(got) != c.out {
			t.Errorf("%s\n got %s, %v\nwant %s", c.in, got, err, c.out)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{
		``, ` `, `{`, `}`, `[1,]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `01`, `1.`, `.5`, `+1`, `-`, `1e`, `1e+`, `1e999`, `NaN`,
		`tru`, `nul`, `"`, `"\x"`, `"\u12"`, `"\u12G4"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00"`, `"\u0000"`, "\"\x00\"", "\"\n\"", "\"\xff\"", "\"\xc3\"",
		`1 2`, `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, strings.Repeat("[", 70) + strings.Repeat("]", 70), "\ufeff{}", `'a'`,
	} {
		if v, err := Parse([]byte(bad)); !errors.Is(err, ErrJSON) {
			t.Errorf("%q: %v, %+v", bad, err, v)
		}
	}
	wide := "{" + strings.Repeat(`"a":1,`, 1) // grow one object past the limit
	for i := range maxMembers + 1 {
		wide += `"` + strings.Repeat("x", 1) + string(rune('A'+i%26)) + strings.Repeat("y", i/26) + `":1,`
	}
	if _, err := Parse([]byte(strings.TrimSuffix(wide, ",") + "}")); !errors.Is(err, ErrJSON) {
		t.Errorf("an object of %d names: %v", maxMembers+2, err)
	}
}

// Hex is read eight digits at a time, which must refuse just what a digit at a
// time refuses: every byte in every place.
func TestHexReadsLowerCaseDigitsOnly(t *testing.T) {
	for size := range 10 {
		text := hex.EncodeToString(bytes.Repeat([]byte{0x9f, 0xa0, 0x4c}, 4)[:size])
		for at := range text {
			for b := range 256 {
				s := []byte(text)
				s[at] = byte(b)
				got := make([]byte, size)
				want, err := hex.DecodeString(string(s))
				good := err == nil && string(s) == strings.ToLower(string(s))
				if ok := readHex(got, s); ok != good || good && !bytes.Equal(got, want) {
					t.Fatalf("%q: %x, %v; want %x, %v", s, got, ok, want, good)
				}
			}
		}
	}
}
