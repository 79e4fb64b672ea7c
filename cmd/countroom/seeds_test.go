package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"countroom/regulator/verify"
)

// The ceremony about seeds, as people would do it. A seed may be known to somebody:
// play is halted, two officers end its epoch, and play goes on. Then the machine dies,
// and the key that sealed the seeds is lost with a disk: the house starts with a new
// one, serves all but play, and plays on when two officers have abandoned what cannot
// be opened any more. The verifier says how many rounds nobody can prove.
func TestOfficersEndAndAbandonSeeds(t *testing.T) {
	s := newServer(t)
	s.start()
	c := &ceremony{t: t, dir: t.TempDir(), data: s.dir}
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
		c.does("", "officers", "enrol", name+".pub", "--data", c.data)
	}
	operator := s.token("operator")
	keys := 0
	post := func(path, token, body string, want int, says string) map[string]any {
		t.Helper()
		keys++
		status, answer := s.post(s.client, path, token, fmt.Sprint("key ", keys), body)
		if status != want || !strings.Contains(string(answer), says) {
			t.Fatalf("%s: %d %s, want %d %s", path, status, answer, want, says)
		}
		var v map[string]any
		if err := json.Unmarshal(answer, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	ready := func(want int, says string) {
		t.Helper()
		resp, err := s.client.Get("http://" + s.addr + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		if resp.StatusCode != want || !strings.Contains(b.String(), says) {
			t.Errorf("/readyz: %d %s, want %d %s", resp.StatusCode, b.String(), want, says)
		}
	}
	post("/v1/players", operator, `{"id":"alice","currency":"EUR"}`, 201, "")
	post("/v1/players/alice/deposits", operator, `{"amount":5000,"currency":"EUR"}`, 201, "")
	session := post("/v1/sessions", operator, `{"player":"alice","game":"lamplight-quay"}`, 201, "")["token"].(string)
	spin := func(want int, says string) {
		t.Helper()
		post("/v1/spins", session, `{"stake":20}`, want, says)
	}
	spin(201, `"epoch":1`)

	// The next seed is committed to while the one before is in use.
	listed := func(want string) {
		t.Helper()
		out := ""
		said := func() string { return fmt.Sprintf("seeds list:\n%swant\n%s", out, want) }
		eventually(t, "the seeds are as they are to be", said, func() bool {
			out = c.does("", "seeds", "list", "--data", c.data)
			return out == want
		})
	}
	listed("epoch 1  active, 1 draws, opens\nepoch 2  ahead, 0 draws, opens\n")
	c.refused("expected its number", "seeds", "halt", "one", "--reason", "a suspicion", "--data", c.data)
	c.refused("--reason: expected a text", "seeds", "halt", "1", "--data", c.data)
	c.refused("epoch-halt", "seeds", "halt", "99", "--reason", "a suspicion", "--data", c.data)
	c.refused("epoch 1 is not halted", "seeds", "end", "1", "--reason", "a suspicion", "--data", c.data)
	c.refused("epoch 99: expected one", "seeds", "abandon", "99", "--reason", "a suspicion", "--data", c.data)
	c.does("", "seeds", "halt", "1", "--reason", "a memory dump was sent to a stranger", "--data", c.data)
	ready(503, "/problems/seed-halted")
	spin(503, "/problems/seed-halted")
	post("/v1/players/alice/deposits", operator, `{"amount":5,"currency":"EUR"}`, 201, "")
	c.does("end.proposal", "seeds", "end", "1", "--reason", "its secret may be known", "--data", c.data)
	c.does("one.approval", "officers", "approve", "end.proposal", "--officer", "anna", "--key", "file:anna.pem")
	c.refused("two different officers", "officers", "submit", "end.proposal", "one.approval", "one.approval", "--data", c.data)
	spin(503, "/problems/seed-halted")
	c.approved("end.proposal")
	spin(201, `"epoch":2`)
	ready(200, "")
	listed("epoch 1  closed, 1 draws, opens\nepoch 2  active, 1 draws, opens\nepoch 3  ahead, 0 draws, opens\n")

	s.cmd.Process.Signal(syscall.SIGKILL)
	s.cmd.Wait()
	seal := filepath.Join(s.dir, "keys", "seal.key")
	if err := os.Remove(seal); err != nil {
		t.Fatal(err)
	}
	c.does("", "keys", "init", "--role", "seal", "--key", "file:"+seal)
	s.launch()
	eventually(t, "the server answers", s.log.String, func() bool {
		resp, err := s.client.Get("http://" + s.addr + "/livez")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
	ready(503, "/problems/seed-sealed")
	spin(503, "/problems/seed-sealed")
	post("/v1/players/alice/deposits", operator, `{"amount":5,"currency":"EUR"}`, 201, "")
	if out := c.does("", "seeds", "list", "--data", c.data); strings.Count(out, "DOES NOT OPEN") != 3 {
		t.Errorf("seeds list:\n%s", out)
	}
	for _, n := range []string{"3", "2", "1"} {
		c.does("", "seeds", "halt", n, "--reason", "the disk with the seal key is broken", "--data", c.data)
		c.does("abandon.proposal", "seeds", "abandon", n, "--reason", "nothing opens it any more", "--data", c.data)
		c.approved("abandon.proposal")
	}
	eventually(t, "the next seed is committed to", s.log.String, func() bool {
		keys++
		status, _ := s.post(s.client, "/v1/spins", session, fmt.Sprint("at last ", keys), `{"stake":20}`)
		return status == 201
	})
	spin(201, `"epoch":4`)
	ready(200, "")
	resp, err := s.client.Get("http://" + s.addr + "/v1/epochs/2")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var told struct {
		Status    string
		Abandoned *struct{ Receipt string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&told); err != nil || resp.StatusCode != http.StatusOK || told.Status != "abandoned" || told.Abandoned == nil || told.Abandoned.Receipt == "" {
		t.Errorf("epoch 2: %s, %+v, %v", resp.Status, told, err)
	}

	vkey, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	src, err := verify.HTTP("http://"+s.addr, s.token("regulator"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Log(t.Context(), src, verify.Options{VKey: strings.TrimSpace(string(vkey))})
	if !errors.Is(err, verify.ErrUnprovable) || !r.OK() || r.Rounds.Unprovable != 2 || r.Epochs.Abandoned != 3 || len(r.Abandoned) != 3 {
		t.Errorf("%v, %+v, %+v, %+v", err, r.Rounds, r.Abandoned, r.Findings)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}
