package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

// table is players at their games, who never give up and forget nothing.
type table struct {
	s       *server
	tokens  []string // of the players' sessions
	stop    chan struct{}
	sat     int // how often they played
	playing sync.WaitGroup

	mu     sync.Mutex
	rounds []round // acknowledged
}

// round is an answer that a player got.
type round struct {
	player int
	key    string
	index  uint64
	leaf   []byte
	answer []byte
}

// seat opens an account and a session for each player.
func seat(s *server, players int) *table {
	t := &table{s: s, tokens: make([]string, players)}
	operator, client := s.token("operator"), &http.Client{Timeout: 30 * time.Second}
	for p := range players {
		id := fmt.Sprintf("player-%d", p)
		s.until(client, "/v1/players", operator, "create-"+id, fmt.Sprintf(`{"id":%q,"currency":"EUR"}`, id))
		s.until(client, "/v1/players/"+id+"/deposits", operator, "deposit-"+id, `{"amount":100000000,"currency":"EUR"}`)
		var opened struct{ Token string }
		if err := json.Unmarshal(s.until(client, "/v1/sessions", operator, "session-"+id, fmt.Sprintf(`{"player":%q,"game":"lamplight-quay"}`, id)), &opened); err != nil {
			panic(err)
		}
		t.tokens[p] = opened.Token
	}
	return t
}

// play lets everybody spin until they leave.
func (t *table) play() {
	t.stop, t.sat = make(chan struct{}), t.sat+1
	for p := range t.tokens {
		t.playing.Go(func() {
			client := &http.Client{Timeout: 30 * time.Second}
			for n := 0; ; n++ {
				select {
				case <-t.stop:
					return
				default:
					t.spin(client, p, fmt.Sprintf("spin-%d-%d-%d", p, t.sat, n))
				}
			}
		})
	}
}

func (t *table) leave() {
	close(t.stop)
	t.playing.Wait()
}

func (t *table) spin(client *http.Client, player int, key string) {
	answer := t.s.until(client, "/v1/spins", t.tokens[player], key, `{"stake":20}`)
	index, leaf, err := read(answer)
	if err != nil {
		panic(fmt.Sprintf("%s: %v: %s", key, err, answer))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds = append(t.rounds, round{player, key, index, leaf, answer})
}

// read takes a command's answer apart.
func read(answer []byte) (index uint64, leaf []byte, err error) {
	var a struct {
		Leaf    json.RawMessage
		Receipt string
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return 0, nil, err
	}
	r, err := tlog.ParseReceipt([]byte(a.Receipt))
	return r.Index, a.Leaf, err
}

// acknowledged are the rounds that were answered so far.
func (t *table) acknowledged() []round {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rounds[:len(t.rounds):len(t.rounds)]
}

// more waits for so many rounds more than there are.
func (t *table) more(n int) {
	t.s.t.Helper()
	want := len(t.acknowledged()) + n
	eventually(t.s.t, fmt.Sprintf("%d rounds are played", want), t.s.log.String, func() bool { return len(t.acknowledged()) >= want })
}

// each waits until every player has played so many rounds more.
func (t *table) each(n int) {
	t.s.t.Helper()
	played := func() []int {
		rounds := make([]int, len(t.tokens))
		for _, r := range t.acknowledged() {
			rounds[r.player]++
		}
		return rounds
	}
	before := played()
	eventually(t.s.t, fmt.Sprintf("everybody has played %d rounds more", n), t.s.log.String, func() bool {
		now := played()
		for p := range now {
			if now[p] < before[p]+n {
				return false
			}
		}
		return true
	})
}

// hold wants every acknowledged round at its place in the published log.
func (t *table) hold() {
	t.s.t.Helper()
	rounds, auditor := t.acknowledged(), t.s.token("auditor")
	status, note := t.s.get("/log/checkpoint", auditor)
	_, body, _ := bytes.Cut(note, []byte("\n"))
	var size uint64
	if _, err := fmt.Sscan(string(body), &size); err != nil || status != http.StatusOK {
		t.s.t.Fatalf("/log/checkpoint: %d %q, %v", status, note, err)
	}
	bundles := map[uint64][][]byte{}
	for i := range rounds {
		r := &rounds[i]
		if r.index >= size {
			t.s.t.Fatalf("%s is entry %d of a log of %d", r.key, r.index, size)
		}
		n := r.index / tlog.TileWidth
		if bundles[n] == nil {
			path := "/log/" + tlog.EntriesPath(n, int(min(size-n*tlog.TileWidth, tlog.TileWidth)))
			status, b := t.s.get(path, auditor)
			leaves, err := tlog.ParseBundle(b)
			if err != nil || status != http.StatusOK {
				t.s.t.Fatalf("%s: %d, %v", path, status, err)
			}
			bundles[n] = leaves
		}
		if leaf := bundles[n][r.index%tlog.TileWidth]; !bytes.Equal(leaf, r.leaf) {
			t.s.t.Fatalf("%s: entry %d is\n%s\nacknowledged was\n%s", r.key, r.index, leaf, r.leaf)
		}
	}
}

// repeat asks for each step-th round again, by its key.
func (t *table) repeat(step int) {
	t.s.t.Helper()
	client := &http.Client{Timeout: 30 * time.Second}
	rounds := t.acknowledged()
	for i := 0; i < len(rounds); i += step {
		r := &rounds[i]
		answer := t.s.until(client, "/v1/spins", t.tokens[r.player], r.key, `{"stake":20}`)
		if index, leaf, err := read(answer); err != nil || index != r.index || !bytes.Equal(leaf, r.leaf) {
			t.s.t.Fatalf("%s asked again: entry %d, %v\n%s\nacknowledged was entry %d\n%s", r.key, index, err, leaf, r.index, r.leaf)
		}
	}
}

// verify holds the published log against its rules and all that was kept.
func (t *table) verify() *verify.Report {
	t.s.t.Helper()
	src, err := verify.HTTP("http://"+t.s.addr, t.s.token("regulator"))
	if err != nil {
		t.s.t.Fatal(err)
	}
	vkey, err := os.ReadFile(filepath.Join(t.s.dir, "log.vkey"))
	if err != nil {
		t.s.t.Fatal(err)
	}
	rounds := t.acknowledged()
	var known []verify.Known
	for i := range rounds {
		known = append(known, verify.Known{Name: rounds[i].key, Data: rounds[i].answer})
	}
	report, err := verify.Log(context.Background(), src, verify.Options{VKey: strings.TrimSpace(string(vkey)), Known: known})
	if err != nil {
		t.s.t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.s.t.Errorf("finding: %+v", f)
	}
	if got := report.Types["round.settled"]; got != uint64(len(rounds)) {
		t.s.t.Errorf("%d rounds in the log, %d acknowledged to players who never gave up", got, len(rounds))
	}
	return report
}

func (s *server) get(path, token string) (status int, body []byte) {
	s.t.Helper()
	req, err := http.NewRequest("GET", s.scheme+"://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		s.t.Fatalf("GET %s: %v\n%s", path, err, s.log.String())
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatalf("GET %s: %v\n%s", path, err, s.log.String())
	}
	return resp.StatusCode, body
}
