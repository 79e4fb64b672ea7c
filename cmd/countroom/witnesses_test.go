package main

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"testing"

	"countroom/ledger/cosign"
	"countroom/ledger/tlog"
)

func witnessKey(t *testing.T, name string, seed byte) string {
	t.Helper()
	b := make([]byte, 32)
	b[0] = seed
	vkey, err := tlog.CosignerVKey(name, ed25519.NewKeyFromSeed(b).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// The list means the same in the file, the environment and as a flag, and a
// quorum that could let two histories pass is refused at the start.
func TestWitnessesAreSet(t *testing.T) {
	one, two, three := witnessKey(t, "w.example/1", 1), witnessKey(t, "w.example/2", 2), witnessKey(t, "w.example/3", 3)
	file := fmt.Sprintf("witnesses:\n  policy: quorum\n  quorum: 2\n  list:\n    - {vkey: %s, url: https://a}\n    - {vkey: %s, url: https://b}\n    - {vkey: %s, url: https://c}\n", one, two, three)
	list := fmt.Sprintf("%s https://a, %s https://b,%s https://c", one, two, three)
	inFile, err := loaded(t, written(t, file), nil)
	if err != nil {
		t.Fatal(err)
	}
	environ, err := loaded(t, "", []string{"COUNTROOM_WITNESSES_POLICY=quorum", "COUNTROOM_WITNESSES_QUORUM=2", "COUNTROOM_WITNESSES_LIST=" + list})
	if err != nil {
		t.Fatal(err)
	}
	flags, err := loaded(t, "", nil, "--witnesses-policy=quorum", "--witnesses-quorum=2", "--witnesses-list="+list)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*config{inFile, environ, flags} {
		if w := c.cosign(); w.Policy != cosign.Quorum || w.Quorum != 2 || w.Faulty != nil || len(w.Witnesses) != 3 || w.Witnesses[1] != (cosign.Witness{VKey: two, URL: "https://b"}) {
			t.Errorf("%+v", w)
		}
	}
	for text, want := range map[string]string{
		strings.Replace(file, "quorum: 2", "quorum: 1", 1):                      "witnesses.quorum",
		strings.Replace(file, "quorum: 2", "quorum: 2\n  faulty: 1", 1):         "witnesses.faulty",
		strings.Replace(file, three, one, 1):                                    "witnesses.list",
		strings.Replace(file, "policy: quorum", "policy: most", 1):              "witnesses.policy",
		strings.Replace(file, "policy: quorum\n  quorum: 2", "policy: none", 1): "witnesses.policy",
		strings.Replace(file, "https://c", "c", 1):                              "list[2].url",
		"witnesses: {policy: quorum, quorum: 2, list: [{key: x}]}":              "key",
		"witnesses: {policy: quorum, quorum: 2, list: [x]}":                     "expected settings",
	} {
		if _, err := loaded(t, written(t, text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one that says %s", text, err, want)
		}
	}
	if _, err := loaded(t, "", []string{"COUNTROOM_WITNESSES_LIST=x"}); err == nil || !strings.Contains(err.Error(), "VKEY URL") {
		t.Error(err)
	}
}
