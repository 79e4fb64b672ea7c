package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"countroom/api/relay"

	"github.com/anishathalye/porcupine"
)

// crowd is everybody who plays in a storm: each player at three places at once,
// at the balancer and at either machine. They note when they asked for what, and
// what they were answered when.
type crowd struct {
	s        *storm
	tokens   []string // of the players' sessions
	doors    []string // the balancer's address, then the machines'
	stop     chan struct{}
	playing  sync.WaitGroup
	operator string

	mu     sync.Mutex
	fault  string // that happens now
	acts   []*act
	errors map[string]int // what came instead of an answer, by door and, at the balancer, by fault
	wrong  []string       // answers that there must not be
}

// act is something that a client wanted, with its answer.
type act struct {
	player, client, door int
	kind, key            string
	amount               int64 // of a deposit
	begun, ended         time.Duration
	tries                int
	repeat               bool   // the key was used by another act
	fault                string // that began last
	passive              bool   // read as of what a machine knew that could not ask the writer

	index        uint64
	balance      int64
	leaf, answer []byte
}

var doorNames = []string{"balancer", "a", "b"}

func newCrowd(s *storm, players int) *crowd {
	t := seat(s.at(), players)
	return &crowd{
		s: s, tokens: t.tokens, doors: []string{s.balancerAt, s.a.addr, s.b.addr}, stop: make(chan struct{}),
		operator: s.a.token("operator"), errors: map[string]int{},
	}
}

func (c *crowd) play() {
	for p := range c.tokens {
		for door := range c.doors {
			c.playing.Go(func() { c.live(p, door) })
		}
	}
}

// leave lets everybody finish what they are at.
func (c *crowd) leave() {
	close(c.stop)
	c.playing.Wait()
}

// live is one client of a player.
func (c *crowd) live(player, door int) {
	id := player*len(c.doors) + door
	rnd := rand.New(rand.NewPCG(c.s.seed, uint64(1000+id)))
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var done []*act
	for n := 0; ; n++ {
		select {
		case <-c.stop:
			return
		case <-time.After(time.Duration(rnd.IntN(20)) * time.Millisecond):
		}
		a := &act{player: player, client: id, door: door, kind: "spin", key: fmt.Sprintf("k-%d-%d", id, n)}
		switch k := rnd.IntN(100); {
		case k < 15:
			a.kind, a.amount = "deposit", 1+int64(rnd.IntN(50))
		case k < 30:
			a.kind = "read"
		case k < 38 && len(done) > 0: // once more, long after
			old := done[rnd.IntN(len(done))]
			a.kind, a.key, a.amount, a.repeat = old.kind, old.key, old.amount, true
			old.repeat = true
		case k < 43: // two at once under one key, at two doors
			twin := *a
			twin.client, twin.door = 1000+id, rnd.IntN(len(c.doors))
			a.repeat, twin.repeat = true, true
			var w sync.WaitGroup
			other := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{}}
			w.Go(func() { c.get(other, &twin) })
			c.get(client, a)
			w.Wait()
			other.CloseIdleConnections()
			continue
		}
		if c.get(client, a) && a.kind != "read" && !a.repeat {
			done = append(done, a)
		}
	}
}

// get asks until there is an answer. At the end of a storm all must get one.
func (c *crowd) get(client *http.Client, a *act) bool {
	a.begun = c.s.now()
	for c.s.now()-a.begun < 2*time.Minute {
		a.tries++
		status, answer, passive := c.ask(client, a)
		now := c.s.now()
		ok := status == http.StatusCreated && a.kind != "read" || status == http.StatusOK && a.kind == "read"
		c.mu.Lock()
		if ok {
			a.ended, a.answer, a.fault, a.passive = now, answer, c.fault, passive
			if err := a.understand(); err != nil {
				c.wrong = append(c.wrong, fmt.Sprintf("%s %s at %s: %v: %s", a.kind, a.key, doorNames[a.door], err, answer))
			}
			c.acts = append(c.acts, a)
			c.mu.Unlock()
			return true
		}
		var problem struct{ Type, Outcome string }
		_ = json.Unmarshal(answer, &problem)
		where := doorNames[a.door]
		if a.door == 0 {
			where += " (" + c.fault + ")"
		}
		c.errors[fmt.Sprintf("%s: %d %s", where, status, strings.TrimPrefix(problem.Type, "/problems/"))]++
		if status != 0 && status != http.StatusServiceUnavailable && !(a.door == 0 && status == http.StatusGatewayTimeout) && !(a.door == 0 && status == http.StatusBadGateway) {
			c.wrong = append(c.wrong, fmt.Sprintf("%s %s at %s: %d %s", a.kind, a.key, doorNames[a.door], status, answer))
		}
		c.mu.Unlock()
		time.Sleep(20 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf("%s %s at %s: no answer in two minutes", a.kind, a.key, doorNames[a.door]))
	return false
}

func (c *crowd) ask(client *http.Client, a *act) (status int, answer []byte, passive bool) {
	method, path, token, body := http.MethodPost, "/v1/spins", c.tokens[a.player], `{"stake":20}`
	switch a.kind {
	case "deposit":
		path, token, body = fmt.Sprintf("/v1/players/player-%d/deposits", a.player), c.operator, fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, a.amount)
	case "read":
		method, path, token, body = http.MethodGet, fmt.Sprintf("/v1/players/player-%d", a.player), c.operator, ""
	}
	r, err := http.NewRequest(method, "http://"+c.doors[a.door]+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	if method == http.MethodPost {
		r.Header.Set("Idempotency-Key", a.key)
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, false
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil, false
	}
	return resp.StatusCode, answer, resp.Header.Get(relay.Passive) != ""
}

// understand takes the answer apart.
func (a *act) understand() (err error) {
	if a.kind == "read" {
		var view struct{ Balance struct{ Amount int64 } }
		err = json.Unmarshal(a.answer, &view)
		a.balance = view.Balance.Amount
		return err
	}
	if a.index, a.leaf, err = read(a.answer); err != nil {
		return err
	}
	var leaf struct {
		Payout, Stake struct{ Amount int64 }
		Postings      []struct {
			Account string
			Balance int64
		}
	}
	if err = json.Unmarshal(a.leaf, &leaf); err != nil {
		return err
	}
	if a.kind == "spin" {
		a.amount = leaf.Payout.Amount - leaf.Stake.Amount
	}
	for _, p := range leaf.Postings {
		if strings.HasPrefix(p.Account, "player/") {
			a.balance = p.Balance
			return nil
		}
	}
	return fmt.Errorf("no posting to a player's account")
}

// answered returns how long after a moment the balancer gave the first answer to
// a command that was sent after it; false when there is none yet.
func (c *crowd) answered(after time.Duration) (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := time.Duration(0)
	for _, a := range slices.Backward(c.acts) {
		if a.ended < after {
			break
		}
		if a.door == 0 && a.kind != "read" && a.begun >= after && !a.repeat && (first == 0 || a.ended < first) {
			first = a.ended
		}
	}
	return first - after, first != 0
}

// pause is the longest time without an answer to a command at the balancer since
// a moment.
func (c *crowd) pause(since time.Duration) (longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.s.now()
	for _, a := range slices.Backward(c.acts) {
		if a.door != 0 || a.kind == "read" {
			continue
		}
		longest = max(longest, next-max(a.ended, since))
		if next = a.ended; next < since {
			break
		}
	}
	return longest
}

func (c *crowd) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acts)
}

// account is a player's account in the model: what its newest entry left.
type account struct {
	index   uint64
	balance int64
}

// model is what one player's clients must see, whatever the storm does: one
// account, on which each key works once.
var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, o := range history {
			p := o.Input.(*act).player
			by[p] = append(by[p], o)
		}
		var parts [][]porcupine.Operation
		for _, part := range by {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return account{balance: 100_000_000} },
	Step: func(state, input, _ any) (bool, any) {
		was, a := state.(account), input.(*act)
		switch {
		case a.kind == "read":
			return a.balance == was.balance, was
		case a.index > was.index:
			return a.balance == was.balance+a.amount, account{a.index, a.balance}
		}
		return a.repeat, was // the key's entry is there already
	},
	DescribeOperation: func(input, _ any) string {
		a := input.(*act)
		return fmt.Sprintf("%s %s at %s: entry %d leaves %d", a.kind, a.key, doorNames[a.door], a.index, a.balance)
	},
}

func historyOf(acts []*act, takes func(*act) bool) (h []porcupine.Operation) {
	for _, a := range acts {
		if takes(a) {
			h = append(h, porcupine.Operation{ClientId: a.client, Input: a, Call: int64(a.begun), Return: int64(a.ended)})
		}
	}
	return h
}

// sameAnswers wants one entry for each key, whoever asked for it how often.
func sameAnswers(acts []*act) (wrong []string) {
	first := map[string]*act{}
	for _, a := range acts {
		if a.kind == "read" {
			continue
		}
		was := first[a.key]
		if was == nil {
			first[a.key] = a
		} else if was.index != a.index || !bytes.Equal(was.leaf, a.leaf) {
			wrong = append(wrong, fmt.Sprintf("key %s was answered with entry %d and with entry %d", a.key, was.index, a.index))
		}
	}
	return wrong
}

// stale finds the reads that show an account as it was before something that had
// been answered, to a command or to a read, when they were asked for. It is for
// the message: porcupine says only that there is one.
func stale(acts []*act) (found []string) {
	by := map[int][]*act{} // entries of a player, in their order
	for _, a := range acts {
		if a.kind != "read" && !a.repeat {
			by[a.player] = append(by[a.player], a)
		}
	}
	for player, list := range by {
		slices.SortFunc(list, func(a, b *act) int { return cmp.Compare(a.index, b.index) })
		at := map[*act]int{}
		for i, a := range list {
			at[a] = i
		}
		var past []*act
		for _, a := range slices.SortedFunc(slices.Values(acts), func(a, b *act) int { return cmp.Compare(a.ended, b.ended) }) {
			if a.player != player || a.passive || a.kind != "read" && a.repeat {
				continue
			}
			least, by := 0, (*act)(nil)
			for _, b := range past {
				if b.ended < a.begun && at[b] > least {
					least, by = at[b], b
				}
			}
			if a.kind == "read" {
				i := slices.IndexFunc(list[least:], func(c *act) bool { return c.balance == a.balance })
				if i < 0 && least > 0 {
					found = append(found, fmt.Sprintf("%s at %s (%s), asked at %v, %v: %d, after %s at %s, %v to %v: %d", a.kind, doorNames[a.door], a.fault, a.begun, a.ended, a.balance,
						by.kind, doorNames[by.door], by.begun, by.ended, by.balance))
					continue
				}
				at[a] = least + max(i, 0)
			}
			past = append(past, a)
		}
	}
	return found
}
