package main

import (
	"strings"
	"testing"

	"countroom/rngcert/epoch"
)

var someKey = strings.Repeat("ab", 32)

// The file's text becomes clients; what cannot is refused by name.
func TestExternalSettings(t *testing.T) {
	for _, text := range []string{
		"external:\n  policy: beacon\n  beacon_urls: https://a.example http://b.example/x\n  beacon_chain: " + someKey + "\n  on_failure: downgrade\n",
		"external:\n  policy: witness\n  witnesses: reg=" + someKey + "@https://r.example lab=" + someKey + "@https://l.example\n  patience: 5s\n",
	} {
		c, err := loaded(t, written(t, text), nil)
		if err != nil {
			t.Fatal(err)
		}
		x, err := c.External.house()
		if err != nil || x.Policy == epoch.PolicyBeacon && (x.Beacon == nil || !x.Downgrade) || x.Policy == epoch.PolicyWitness && (len(x.Witnesses) != 2 || x.Witnesses[0].Name() != "lab") {
			t.Errorf("%v, %+v", err, x)
		}
	}
	for want, text := range map[string]string{
		"expected none, witness or beacon": "policy: dice",
		"expected stop or downgrade":       "on_failure: shrug",
		"expected 1s to 1h":                "patience: 1ms",
		"beacon_chain: expected 64":        "policy: beacon",
		"at least one server":              "policy: beacon\n  beacon_chain: " + someKey,
		"beacon_urls":                      "policy: beacon\n  beacon_urls: ftp://a\n  beacon_chain: " + someKey,
		"beacon_key: expected 192":         "policy: beacon\n  beacon_urls: https://a\n  beacon_key: ab\n  beacon_chain: " + someKey,
		"expected NAME=KEY@URL":            "policy: witness\n  witnesses: regulator",
		"expected 64 hex digits":           "policy: witness\n  witnesses: reg=ab@https://r",
		"expected http":                    "policy: witness\n  witnesses: reg=" + someKey + "@r",
		"0 witnesses":                      "policy: witness",
	} {
		if _, err := loaded(t, written(t, "external:\n  "+text+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "external") {
			t.Errorf("%q: %v, expected %s", text, err, want)
		}
	}
}
