package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/officers"
	"countroom/ledger/system"
	"countroom/regulator/verify"
	"countroom/rngcert/decision"
)

// runIn runs the command in a directory and returns what it printed.
func runIn(t *testing.T, dir string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "COUNTROOM_") }), "COUNTROOM_TEST_MAIN=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// ceremony is a desk with the officers' keys and the files that they pass on.
type ceremony struct {
	t    *testing.T
	dir  string
	data string
}

// does runs a command that must succeed, and keeps what it printed in a file.
func (c *ceremony) does(file string, args ...string) string {
	c.t.Helper()
	out, errs, err := runIn(c.t, c.dir, args...)
	if err != nil {
		c.t.Fatalf("countroom %q: %v\n%s", args, err, errs)
	}
	if file != "" {
		if err := os.WriteFile(filepath.Join(c.dir, file), []byte(out), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return out
}

func (c *ceremony) refused(why string, args ...string) {
	c.t.Helper()
	out, errs, err := runIn(c.t, c.dir, args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(errs, why) {
		c.t.Errorf("countroom %q: %v, %q, want a refusal about %q\n%s", args, err, errs, why, out)
	}
}

// approved has two officers approve of a proposal and submits it.
func (c *ceremony) approved(proposal string) {
	c.t.Helper()
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".approval", "officers", "approve", proposal, "--officer", name, "--key", "file:"+name+".pem")
	}
	c.does("answer.json", "officers", "submit", proposal, "anna.approval", "berta.approval", "--data", c.data)
}

// The whole ceremony, as people would do it: two officers are enrolled, a third
// with their approval; the checkpoint key is exchanged while the house runs, is
// killed and started again in the middle, and the key of the first day checks it
// all.
func TestOfficersExchangeTheCheckpointKey(t *testing.T) {
	s := newServer(t)
	s.start()
	c := &ceremony{t: t, dir: t.TempDir(), data: s.dir}
	original, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	if out := c.does("", "keys", "list", "--data", c.data); strings.Count(out, "DEMONSTRATION") != 3 {
		t.Errorf("keys list:\n%s", out)
	}
	for _, name := range []string{"anna", "berta", "clara"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
	}
	c.does("", "officers", "enrol", "anna.pub", "--data", c.data)
	c.does("", "officers", "enrol", "berta.pub", "--data", c.data)
	c.does("clara.proposal", "officers", "enrol", "clara.pub", "--data", c.data)
	c.approved("clara.proposal")
	if out := c.does("", "officers", "list", "--data", c.data); strings.Count(out, "serving") != 3 {
		t.Errorf("officers list:\n%s", out)
	}

	fresh := "file:" + filepath.Join(s.dir, "keys", "checkpoint-2.pem")
	c.does("rotate.proposal", "keys", "rotate", "--role", "checkpoint", "--to", fresh, "--make", "--data", c.data)
	c.does("one.approval", "officers", "approve", "rotate.proposal", "--officer", "anna", "--key", "file:anna.pem")
	c.refused("two different officers", "officers", "submit", "rotate.proposal", "one.approval", "one.approval", "--data", c.data)
	c.refused("another statement", "officers", "submit", "clara.proposal", "one.approval", "one.approval", "--data", c.data)
	c.does("forged.approval", "officers", "approve", "rotate.proposal", "--officer", "berta", "--key", "file:anna.pem")
	c.refused("the signature of berta", "officers", "submit", "rotate.proposal", "one.approval", "forged.approval", "--data", c.data)
	c.approved("rotate.proposal")
	c.approved("rotate.proposal") // again: the same answer

	lines := func() int {
		resp, err := s.client.Get("http://" + s.addr + "/log/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return strings.Count(b.String(), "— ")
	}
	if now, err := os.ReadFile(filepath.Join(s.dir, "log.vkey")); err != nil || bytes.Equal(now, original) {
		t.Errorf("log.vkey is still that of the old key (%v)", err)
	}
	if n := lines(); n != 2 {
		t.Errorf("between introduction and retirement the checkpoint has %d signatures", n)
	}
	s.cmd.Process.Signal(syscall.SIGKILL)
	s.cmd.Wait()
	s.start()
	if n := lines(); n != 2 {
		t.Errorf("after a restart the checkpoint has %d signatures", n)
	}
	c.does("retire.proposal", "keys", "retire", "--role", "checkpoint", "--reason", "the yearly exchange", "--public", strings.TrimSpace(string(original)), "--data", c.data)
	c.approved("retire.proposal")
	if n := lines(); n != 1 {
		t.Errorf("after the retirement the checkpoint has %d signatures", n)
	}
	s.cmd.Process.Signal(syscall.SIGKILL)
	s.cmd.Wait()
	s.start()

	out := c.does("", "keys", "attest", "--data", c.data)
	if strings.Count(out, "signed ") != 3 || strings.Contains(out, "until entry") {
		t.Errorf("attest:\n%s", out)
	}
	history := []byte(c.does("", "keys", "list", "--history", "--data", c.data))
	newest, err := os.ReadFile(filepath.Join(s.dir, "log.vkey"))
	if err != nil || bytes.Equal(newest, original) {
		t.Fatalf("log.vkey is still %s (%v)", newest, err)
	}
	token, err := os.ReadFile(filepath.Join(s.dir, "credentials", "regulator.key"))
	if err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(filepath.Join(c.dir, "answer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, vkey := range map[string][]byte{"the first": original, "the newest": newest} {
		vkey := strings.TrimSpace(string(vkey))
		src, err := verify.HTTP("http://"+s.addr, strings.TrimSpace(string(token)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := verify.Log(t.Context(), src, verify.Options{VKey: vkey, Known: []verify.Known{{Name: "answer.json", Data: saved}}})
		if err != nil || !r.OK() || len(r.Keys) != 4 {
			t.Errorf("by %s key: %v, %+v", name, err, r)
		}
		ring, err := verify.NewKeyring(vkey)
		if err == nil {
			err = ring.Follow(history)
		}
		if err == nil {
			_, err = ring.Receipt(saved)
		}
		if err != nil {
			t.Errorf("a receipt by %s key and the history: %v", name, err)
		}
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// somePapers are one of each file of a ceremony.
func somePapers(f *testing.F) (papers [][]byte) {
	words := house.Words{Salt: [32]byte{1}, Text: "the yearly exchange"}
	for _, r := range []officers.Approved{
		&officers.Enrolled{Algorithm: officers.Ed25519, Officer: "anna", Public: make([]byte, 32)},
		&keys.Retired{Public: "key", Reason: entry.Commitment(words.Salt, words.Text), Role: system.RoleSeeds},
		&decision.Ended{Decision: decision.Decision{Draws: 7, Epoch: 3, Reason: entry.Commitment(words.Salt, words.Text)}},
	} {
		p, err := draft("casino.example/log", r, words)
		if err != nil {
			f.Fatal(err)
		}
		b, err := json.MarshalIndent(p, "", "  ")
		if err != nil {
			f.Fatal(err)
		}
		papers = append(papers, b)
	}
	for _, v := range []any{approval{"key.retired", "anna", "casino.example/log", "00", "seeds key"}, publicKey{officers.Ed25519, "anna", strings.Repeat("00", 32)}} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		papers = append(papers, b)
	}
	return papers
}

// Whatever is in a paper, what was read of it is what will be submitted.
func FuzzPapers(f *testing.F) {
	for _, b := range somePapers(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, r, words, err := parseProposal(b); err == nil {
			again, err := draft(p.Origin, r, words)
			if err != nil {
				t.Fatal(err)
			}
			if len(again.Draft) == 0 || r.Subject() == "" && r.Type() == "" {
				t.Error("a draft of nothing")
			}
		}
		if a, err := parseApproval(b); err == nil && officers.CheckName(a.Officer) != nil {
			t.Errorf("an approval by %q", a.Officer)
		}
		if r, err := parsePublicKey(b); err == nil && officers.CheckKey(r.Algorithm, r.Public) != nil {
			t.Errorf("a key that is none: %+v", r)
		}
	})
}
