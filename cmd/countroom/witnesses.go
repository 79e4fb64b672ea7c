package main

import (
	"fmt"
	"strings"

	"countroom/ledger/cosign"
)

// witnessList is a setting: in the file a list of {vkey, url}, elsewhere one text,
// VKEY URL, with commas between.
type witnessList []witnessEntry

type witnessEntry struct {
	VKey string `yaml:"vkey"`
	URL  string `yaml:"url"`
}

// String implements pflag.Value.
func (l *witnessList) String() string {
	var all []string
	for _, w := range *l {
		all = append(all, w.VKey+" "+w.URL)
	}
	return strings.Join(all, ",")
}

// Set implements pflag.Value.
func (l *witnessList) Set(s string) error {
	list := witnessList{}
	for _, one := range strings.Split(s, ",") {
		if strings.TrimSpace(one) == "" {
			continue
		}
		f := strings.Fields(one)
		if len(f) != 2 {
			return fmt.Errorf("%q: expected VKEY URL, with commas between", one)
		}
		list = append(list, witnessEntry{f[0], f[1]})
	}
	*l = list
	return nil
}

// Type implements pflag.Value.
func (*witnessList) Type() string { return "list" }

// cosign is what the settings of witnesses mean.
func (c *config) cosign() cosign.Config {
	w := cosign.Config{Policy: cosign.Policy(c.Witnesses.Policy), Quorum: c.Witnesses.Quorum}
	if c.Witnesses.Faulty != -1 {
		w.Faulty = &c.Witnesses.Faulty
	}
	for _, one := range c.Witnesses.List {
		w.Witnesses = append(w.Witnesses, cosign.Witness{VKey: one.VKey, URL: one.URL})
	}
	return w
}
