package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// contents are the digests of all files of a directory, but for locks and what
// only a running process has.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir+"/")] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A machine whose part of the pair is damaged, another's or from another time does
// not start, or is sent away by the others; it says what to do, what it has is
// left as it was, and the others go on.
func TestAPairRefusesDamage(t *testing.T) {
	t.Parallel()
	p := newUnhurriedTrio(t)
	p.balance()
	players := seat(p.at(), 2)
	players.play()
	players.more(60)
	if err := p.b.signal(syscall.SIGKILL); err == nil {
		t.Fatal("it ended well by SIGKILL")
	}
	players.more(20)
	whole := p.b.dir
	log := filepath.Join("pair", "consensus", "log")
	segment := func(dir string) string {
		names, err := filepath.Glob(filepath.Join(dir, log, "*.log"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%v: no log", err)
		}
		slices.Sort(names)
		return names[0]
	}
	written := func(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }
	change := func(name string, f func([]byte) []byte) {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, f(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(at func(b []byte) int) func(string) {
		return func(dir string) {
			change(segment(dir), func(b []byte) []byte {
				i := at(b)
				for b[i] == 0 { // or it may be one that fills a record up, and means nothing
					i++
				}
				b[i] ^= 4
				return b
			})
		}
	}
	// Another house, whose machine came here by mistake.
	other := newServer(t, "--reserve-mib", "64")
	command(t, "pair", "init", "--data", other.dir, "--name", "b", "--address", doors(t))
	for _, wrong := range []struct {
		what   string
		damage func(dir string)
		says   []string
		runs   bool // the process goes on trying
	}{
		{"a bit of the log's head", flip(func([]byte) int { return 40 }), []string{"damaged", "under a new name"}, false},
		{"a bit at a third of the log", flip(func(b []byte) int { return written(b) / 3 }), []string{"damaged", "under a new name"}, false},
		{"a bit at two thirds of the log", flip(func(b []byte) int { return written(b) * 2 / 3 }), []string{"damaged", "under a new name"}, false},
		{"a log that is cut in half", func(dir string) {
			change(segment(dir), func(b []byte) []byte { return b[:written(b)/2] })
		}, []string{"damaged", "under a new name"}, false},
		{"a log that is gone", func(dir string) { os.RemoveAll(filepath.Join(dir, log)) }, []string{"holds no log", "under a new name"}, false},
		{"a place in the pair that is half written", func(dir string) {
			change(filepath.Join(dir, "pair", "seat.json"), func(b []byte) []byte { return b[:len(b)/2] })
		}, []string{"seat.json"}, false},
		{"a certificate of another house", func(dir string) {
			for _, name := range []string{"node.pem", "node.key", "authority.pem", "authority.key"} {
				b, err := os.ReadFile(filepath.Join(other.dir, "pair", name))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "pair", name), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}, []string{"certificate"}, true},
		{"a place in another house's pair", func(dir string) {
			change(filepath.Join(dir, "pair", "seat.json"), func(b []byte) []byte {
				origin, err := os.ReadFile(filepath.Join(dir, "origin"))
				if err != nil {
					t.Fatal(err)
				}
				return bytes.ReplaceAll(b, bytes.TrimSpace(origin), []byte("countroom.invalid/other"))
			})
		}, []string{"log of the house"}, false},
	} {
		dir := filepath.Join(t.TempDir(), "house")
		if out, err := exec.Command("cp", "-a", "--sparse=always", whole, dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		wrong.damage(dir)
		before := contents(t, dir)
		s := newServer(t, "--reserve-mib", "64")
		s.dir = dir
		s.launch()
		ended := make(chan error, 1)
		go func() { ended <- s.cmd.Wait() }()
		said := func() bool {
			return !slices.ContainsFunc(wrong.says, func(w string) bool { return !strings.Contains(s.log.String(), w) })
		}
		if wrong.runs {
			p.until(wrong.what+" is said", said)
			s.cmd.Process.Kill()
			<-ended
		} else {
			select {
			case err := <-ended:
				if err == nil || !said() {
					t.Errorf("%s: %v\n%s\nwant %q", wrong.what, err, s.log.String(), wrong.says)
				}
			case <-time.After(patience):
				s.cmd.Process.Kill()
				<-ended
				t.Errorf("%s: it goes on\n%s", wrong.what, s.log.String())
			}
		}
		for name, sum := range contents(t, dir) {
			mine := strings.HasPrefix(name, "pair/consensus/log/") || name == "pair/seat.json" || name == "guard" || strings.HasPrefix(name, "keys/")
			if mine && !wrong.runs && before[name] != sum {
				t.Errorf("%s: %s was changed", wrong.what, name)
			}
			delete(before, name)
		}
		for name := range before {
			if strings.HasPrefix(name, "pair/") {
				t.Errorf("%s: %s is gone", wrong.what, name)
			}
		}
	}
	// As it was, it is let in.
	p.b.start()
	p.until("b follows", func() bool {
		now := p.status(p.a).Applied // first: play goes on meanwhile
		return p.status(p.b).Applied >= now
	})
	players.more(20)
	players.leave()
	p.sameHead()
	players.s = p.b
	players.hold()
	players.verify()
}
