package money

import (
	"regexp"
	"testing"
)

var code = regexp.MustCompile(`^[A-Z]{3}$`)

// What is read as a currency is a code as it was written.
func FuzzParseCurrency(f *testing.F) {
	for _, s := range []string{"EUR", "JPY", "KWD", "eur", "XXX", "UR ", " EU", "EURO", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCurrency(s)
		if err != nil {
			if c != "" {
				t.Fatalf("%q: %q beside %v", s, c, err)
			}
			return
		}
		if string(c) != s || !code.MatchString(s) || c.Digits() != 0 && c.Digits() != 2 && c.Digits() != 3 {
			t.Fatalf("%q was read as %q of %d digits", s, c, c.Digits())
		}
	})
}
