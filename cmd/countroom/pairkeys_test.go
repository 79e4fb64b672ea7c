package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"countroom/hardware/pkcs11/softhsm"
)

// A pair exchanges its keys: a key in a file is carried to the other machine, one
// in a token has to be used there, and neither comes into force before the other
// machine has signed with it. So the machine that writes can be lost at once, and
// the other goes on with the new keys. While a machine is away no key is exchanged,
// and one that joins later has them all.
func TestAPairExchangesItsKeys(t *testing.T) {
	hsm := softhsm.New(t)
	hsm.Add("house")
	p := newUnhurriedTrio(t, "--epoch-age", "2s", "--epoch-reveal-delay", "1s")
	if writer, _ := p.writer(); writer != p.a {
		t.Fatal("b writes")
	}
	c := &ceremony{t: t, dir: t.TempDir(), data: p.a.dir}
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".pub", "officers", "keygen", name, "--key", "file:"+name+".pem")
		c.does("", "officers", "enrol", name+".pub", "--data", c.data)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	players := seat(p.a, 1)
	original, err := os.ReadFile(filepath.Join(p.a.dir, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}

	// The file is made beside the house of a: b never sees that directory.
	fresh := filepath.Join(t.TempDir(), "checkpoint-2.pem")
	c.does("checkpoint.proposal", "keys", "rotate", "--role", "checkpoint", "--to", "file:"+fresh, "--make", "--data", c.data)
	ring, err := os.ReadFile(filepath.Join(p.b.dir, "keys", "ring"))
	if err != nil || strings.Contains(string(ring), fresh) || !strings.HasPrefix(string(ring), "checkpoint file:"+p.b.dir) {
		t.Errorf("b's ring before anybody has approved: %q, %v", ring, err)
	}
	c.does("seeds.proposal", "keys", "rotate", "--role", "seeds", "--to", hsm.URI("house", "seeds"), "--make", "--data", c.data)

	// b is away: nothing is exchanged, neither begun nor approved.
	p.b.signal(syscall.SIGKILL)
	c.refused("machine b of the pair", "keys", "rotate", "--role", "exports", "--to", "file:exports-2.pem", "--make", "--data", c.data)
	for _, name := range []string{"anna", "berta"} {
		c.does(name+".approval", "officers", "approve", "checkpoint.proposal", "--officer", name, "--key", "file:"+name+".pem")
	}
	c.refused("machine b of the pair", "officers", "submit", "checkpoint.proposal", "anna.approval", "berta.approval", "--data", c.data)
	p.b.start()
	p.until("b follows", func() bool {
		now, back := p.status(p.a), p.status(p.b)
		return back.Applied >= now.Applied && len(back.Peers) == 2
	})
	c.approved("checkpoint.proposal")
	c.approved("seeds.proposal")
	players.spin(client, 0, "with both")

	// a is lost, and the file with it.
	p.a.signal(syscall.SIGKILL)
	if err := os.Remove(fresh); err != nil {
		t.Fatal(err)
	}
	p.until("b writes", func() bool { return p.status(p.b).Role.Term != 0 })
	players.s, c.data = p.b, p.b.dir
	c.approved("checkpoint.proposal") // again: what is done is answered, with a away
	time.Sleep(2 * time.Second)       // the age of an epoch: the next seeds are signed by the token
	for n := range 4 {
		players.spin(client, 0, fmt.Sprintf("on b %d", n))
		time.Sleep(700 * time.Millisecond)
	}
	if vkey, err := os.ReadFile(filepath.Join(p.b.dir, "log.vkey")); err != nil || string(vkey) == string(original) {
		t.Errorf("b's log.vkey is still that of the old key (%v)", err)
	}
	if out := c.does("", "keys", "attest", "--data", c.data); strings.Count(out, "signed ") != 5 {
		t.Errorf("attest on b:\n%s", out)
	}
	players.verify()

	// Another machine takes the place of a.
	d := newServer(t, p.b.args...)
	d.env = p.b.env
	p.consensus[d] = doors(t)
	via := "COUNTROOM_TEST_MAIN=1 " + os.Args[0] + " pair admit --replace a --data " + p.b.dir
	command(t, "pair", "join", "--data", d.dir, "--name", "d", "--address", p.consensus[d], "--via", via)
	t.Cleanup(func() { d.signal(syscall.SIGKILL) })
	d.start()
	// Until the change is over a majority of those before has to agree as well, and a
	// is gone: b must not be lost before it says so.
	p.until("d is a member", func() bool { return strings.Contains(p.b.log.String(), `"a member has joined" name=d`) })
	p.until("d follows", func() bool {
		now, back := p.status(p.b), p.status(d)
		return back.Applied >= now.Applied && len(back.Peers) == 2
	})
	p.b.signal(syscall.SIGKILL)
	p.until("d writes", func() bool { return p.status(d).Role.Term != 0 })
	players.s = d
	players.spin(client, 0, "on d")
	players.verify()
}
