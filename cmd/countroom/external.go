package main

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"countroom/games/house"
	"countroom/hardware/drand"
	"countroom/regulator/noncer"
	"countroom/rngcert/beacon"
	"countroom/rngcert/epoch"
)

// external is what the outside adds to seeds, as the file says it.
type external struct {
	Policy      string        `yaml:"policy"`
	BeaconURLs  string        `yaml:"beacon_urls"`
	BeaconChain string        `yaml:"beacon_chain"`
	BeaconKey   string        `yaml:"beacon_key"`
	Witnesses   string        `yaml:"witnesses"`
	OnFailure   string        `yaml:"on_failure"`
	Patience    time.Duration `yaml:"patience"`
}

// What happens when the outside does not deliver.
const (
	onFailureStop      = "stop"
	onFailureDowngrade = "downgrade"
)

// house makes the house's view of it, with clients of beacon and witnesses.
func (x *external) house() (h house.External, err error) {
	h = house.External{Policy: x.Policy, Patience: x.Patience, Downgrade: x.OnFailure == onFailureDowngrade}
	if x.OnFailure != onFailureStop && !h.Downgrade {
		return h, fmt.Errorf("on_failure: %q: expected stop or downgrade", x.OnFailure)
	}
	if x.Patience < time.Second || x.Patience > time.Hour {
		return h, fmt.Errorf("patience: %v: expected 1s to 1h", x.Patience)
	}
	switch x.Policy {
	case epoch.PolicyNone:
	case epoch.PolicyBeacon:
		h.Beacon, err = x.beacon()
	case epoch.PolicyWitness:
		h.Witnesses, err = x.witnesses()
	default:
		err = fmt.Errorf("policy: %q: expected none, witness or beacon", x.Policy)
	}
	return h, err
}

func (x *external) beacon() (house.Beacon, error) {
	var hash [32]byte
	if err := unhex(hash[:], x.BeaconChain); err != nil {
		return nil, fmt.Errorf("beacon_chain: %w", err)
	}
	var public *[beacon.PublicKeySize]byte
	if x.BeaconKey != "" {
		public = new([beacon.PublicKeySize]byte)
		if err := unhex(public[:], x.BeaconKey); err != nil {
			return nil, fmt.Errorf("beacon_key: %w", err)
		}
	}
	urls := strings.Fields(x.BeaconURLs)
	for _, u := range urls {
		if err := isURL(u); err != nil {
			return nil, fmt.Errorf("beacon_urls: %w", err)
		}
	}
	c, err := drand.New(urls, hash, public)
	if err != nil {
		return nil, fmt.Errorf("beacon_urls: %w", err)
	}
	return c, nil
}

// witnesses reads a list of NAME=KEY@URL.
func (x *external) witnesses() (list []house.Witness, err error) {
	client := &http.Client{Timeout: drand.Timeout}
	for _, text := range strings.Fields(x.Witnesses) {
		name, rest, _ := strings.Cut(text, "=")
		key, address, ok := strings.Cut(rest, "@")
		w := &noncer.Client{Witness: name, URL: address, HTTP: client}
		if err = unhex(w.Public[:], key); err == nil {
			err = isURL(address)
		}
		if !ok || name == "" || len(name) > 64 {
			err = errors.New("expected NAME=KEY@URL")
		}
		if err != nil {
			return nil, fmt.Errorf("witnesses: %q: %w", text, err)
		}
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b house.Witness) int { return cmp.Compare(a.Name(), b.Name()) })
	return list, nil
}

func unhex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("expected %d hex digits, got %d", 2*len(dst), len(s))
	}
	_, err := hex.Decode(dst, []byte(s))
	return err
}

func isURL(s string) error {
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q: expected http://… or https://…", s)
	}
	return nil
}
