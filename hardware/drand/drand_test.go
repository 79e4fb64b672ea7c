package drand

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"countroom/rngcert/beacon/beacontest"
)

var public = beacontest.New("drand", 3, 1_700_000_000)

// server answers as a server of the chain, changed.
func server(t *testing.T, change func(path string, answer []byte) (int, []byte)) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, fmt.Sprintf("/%x/", public.Hash()))
		var round uint64
		answer := public.Info()
		if path != "info" {
			if _, err := fmt.Sscanf(path, "public/%d", &round); err != nil {
				t.Errorf("asked for %s", r.URL)
			}
			answer = public.Round(round)
		}
		status, body := change(path, answer)
		w.WriteHeader(status)
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func honest(_ string, answer []byte) (int, []byte) { return 200, answer }

// A server that fails or lies is passed over for one that has what holds.
func TestTheFirstGoodAnswerIsTaken(t *testing.T) {
	other := beacontest.New("other", 3, 1_700_000_000)
	for name, bad := range map[string]string{
		"down":          server(t, func(string, []byte) (int, []byte) { return 503, nil }),
		"not there":     "http://127.0.0.1:1",
		"no URL":        "http://\x7f",
		"not JSON":      server(t, func(string, []byte) (int, []byte) { return 200, []byte("<html>") }),
		"endless":       server(t, func(string, []byte) (int, []byte) { return 200, make([]byte, answerMost+1) }),
		"another chain": server(t, func(string, []byte) (int, []byte) { return 200, other.Info() }),
		"another round": server(t, func(path string, a []byte) (int, []byte) {
			return 200, map[bool][]byte{true: a, false: public.Round(8)}[path == "info"]
		}),
		"another's round": server(t, func(path string, a []byte) (int, []byte) {
			return 200, map[bool][]byte{true: a, false: other.Round(7)}[path == "info"]
		}),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New([]string{bad, server(t, honest) + "/"}, public.Hash(), &public.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			c.http.Timeout = 0 // none of them is slow but by the machine
			if sig, err := c.Round(t.Context(), 7); err != nil || sig != public.Sign(7) {
				t.Errorf("with a good server: %v", err)
			}
			if c, err = New([]string{bad}, public.Hash(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Round(t.Context(), 7); err == nil {
				t.Error("it is taken for the beacon")
			}
		})
	}
	if _, err := New(nil, public.Hash(), nil); err == nil {
		t.Error("a client without servers")
	}
}

// The chain is asked for once, and its key is the configured one.
func TestTheChainIsPinned(t *testing.T) {
	asked := 0
	url := server(t, func(path string, a []byte) (int, []byte) {
		if path == "info" {
			asked++
		}
		return 200, a
	})
	c, err := New([]string{url}, public.Hash(), nil)
	if err != nil {
		t.Fatal(err)
	}
	c.http.Timeout = 0
	for round := range uint64(3) {
		if _, err := c.Round(t.Context(), round+1); err != nil {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("asked for the chain %d times", asked)
	}
	wrong := public.PublicKey
	wrong[5] ^= 1
	if c, err = New([]string{url}, public.Hash(), &wrong); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Chain(t.Context()); err == nil {
		t.Error("another key than the configured one is taken")
	}
}
