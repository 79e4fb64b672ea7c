package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fault is something that goes wrong and comes right again. A process that mayEnd
// does so by itself; in all others that is an error.
type fault struct {
	name   string
	mayEnd bool
	do     func(*storm)
}

// faults are all kinds. What begins with failover takes the writer away.
var faults = []fault{
	{"failover: the writer is killed", false, func(s *storm) {
		w, _ := s.role()
		at := s.now()
		w.kill()
		s.gap("failover: the writer is killed", at)
		w.up()
	}},
	{"the passive machine is killed, and again while it starts", false, func(s *storm) {
		_, p := s.role()
		p.kill()
		p.up()
		s.sleep(50, 500)
		p.kill()
		p.up()
	}},
	{"failover: the writer freezes", false, func(s *storm) {
		w, _ := s.role()
		at := s.now()
		w.freeze()
		s.gap("failover: the writer freezes", at)
		s.sleep(0, 1500)
		w.thaw()
	}},
	{"the arbiter is lost", false, func(s *storm) {
		at := s.now()
		s.members[2].kill()
		s.gap("the arbiter is lost", at)
		s.sleep(500, 2000)
		s.members[2].up()
	}},
	{"failover: the writer is cut off", false, func(s *storm) {
		w, _ := s.role()
		s.cut(w, "in out", s.others(w)...)
		at := s.now()
		s.gap("failover: the writer is cut off", at)
		s.sleep(0, 2000)
		s.heal(w)
	}},
	{"failover: the writer hears nobody", false, func(s *storm) {
		w, _ := s.role()
		s.cut(w, "in", s.others(w)...)
		at := s.now()
		s.gap("failover: the writer hears nobody", at)
		s.sleep(0, 1500)
		s.heal(w)
	}},
	{"failover: nobody hears the writer", false, func(s *storm) {
		w, _ := s.role()
		s.cut(w, "out", s.others(w)...)
		at := s.now()
		s.gap("failover: nobody hears the writer", at)
		s.sleep(0, 1500)
		s.heal(w)
	}},
	{"the machines are cut apart, the arbiter hears both", false, func(s *storm) {
		w, p := s.role()
		s.cut(w, "in out", p)
		at := s.now()
		s.gap("the machines are cut apart, the arbiter hears both", at)
		s.sleep(500, 1500)
		s.heal(w)
	}},
	{"the passive machine is cut off", false, func(s *storm) {
		_, p := s.role()
		s.cut(p, "in out", s.others(p)...)
		at := s.now()
		s.gap("the passive machine is cut off", at)
		s.sleep(500, 2500)
		s.heal(p)
	}},
	{"clients cannot reach the writer", false, func(s *storm) {
		w, _ := s.role()
		s.cutFrom(w, "in out", "10.9.0.1")
		at := s.now()
		s.gap("clients cannot reach the writer", at)
		s.sleep(0, 1000)
		s.heal(w)
	}},
	{"switchover under load", false, func(s *storm) {
		_, p := s.role()
		at := s.now()
		s.switchOver(p.server)
		s.pause("switchover under load", at)
	}},
	{"the writer's disk is nearly full", false, func(s *storm) {
		w, p := s.role()
		at := s.now()
		s.room(w, 32<<20)
		s.until("the other machine writes", func() bool { st, err := s.ask(p.server); return err == nil && st.Role.Term != 0 })
		s.pause("the writer's disk is nearly full", at)
		s.room(w, diskMost)
	}},
	{"the writer's disk is full", true, func(s *storm) {
		w, p := s.role()
		at := s.now()
		s.room(w, 0)
		s.until("the other machine writes", func() bool { st, err := s.ask(p.server); return err == nil && st.Role.Term != 0 })
		s.pause("the writer's disk is full", at)
		s.sleep(0, 500)
		s.room(w, diskMost)
	}},
	{"the passive machine's disk is full", true, func(s *storm) {
		_, p := s.role()
		at := s.now()
		s.room(p, 0)
		s.gap("the passive machine's disk is full", at)
		s.sleep(500, 1500)
		s.room(p, diskMost)
	}},
	{"the clocks jump", false, func(s *storm) {
		w, p := s.role()
		for range 4 {
			w.clock.off.Store(s.rnd.Int64N(int64(10*time.Second)) - int64(5*time.Second))
			p.clock.off.Store(s.rnd.Int64N(int64(10*time.Second)) - int64(5*time.Second))
			s.sleep(100, 300)
		}
		at := s.now()
		w.kill() // while the clocks are apart
		s.gap("the clocks jump", at)
		w.up()
		w.clock.off.Store(0)
		p.clock.off.Store(0)
	}},
	{"the HSM of the writer is lost", false, func(s *storm) {
		w, p := s.role()
		in := filepath.Join(s.hsm[w], "tokens")
		out := filepath.Join(s.hsm[w], "pulled")
		at := s.now()
		s.sh(fmt.Sprintf("mv %s %s; mkdir -m 700 %s", in, out, in))
		s.until("the other machine writes", func() bool { st, err := s.ask(p.server); return err == nil && st.Role.Term != 0 })
		s.pause("the HSM of the writer is lost", at)
		s.sh(fmt.Sprintf("rm -rf %s; mv %s %s", in, out, in))
	}},
	{"both machines are restarted", false, func(s *storm) {
		w, p := s.role()
		w.kill()
		p.kill()
		at := s.now()
		s.sleep(0, 300)
		p.up()
		w.up()
		s.gap("both machines are restarted", at)
	}},
	{"all three are restarted", false, func(s *storm) {
		for _, m := range s.members {
			m.kill()
		}
		at := s.now()
		for _, i := range s.rnd.Perm(3) {
			s.members[i].up()
		}
		s.gap("all three are restarted", at)
	}},
	{"the witness is lost", false, func(s *storm) {
		at := s.now()
		s.witness.kill()
		s.gap("the witness is lost", at)
		s.witness.up()
	}},
	{"the balancer is killed", false, func(s *storm) {
		s.haproxy.kill()
		s.haproxy.up()
		s.gap("the balancer is killed", s.now())
	}},
	{"the mirror is killed", false, func(s *storm) {
		s.mirror.kill()
		s.sleep(0, 300)
		s.mirror.up()
	}},
	{"an older disk is put back", false, func(s *storm) { s.putBack() }},
}

// besides are what may go wrong at the same time as something else.
var besides = []struct {
	name       string
	begin, end func(*storm)
}{
	{"the arbiter is lost", func(s *storm) { s.members[2].kill() }, func(s *storm) { s.members[2].up() }},
	{"the arbiter freezes", func(s *storm) { s.members[2].freeze() }, func(s *storm) { s.members[2].thaw() }},
	{"the witness is lost", func(s *storm) { s.witness.kill() }, func(s *storm) { s.witness.up() }},
	{"the mirror freezes", func(s *storm) { s.mirror.freeze() }, func(s *storm) { s.mirror.thaw() }},
}

// sleep waits, by the storm's random numbers.
func (s *storm) sleep(least, most int) {
	time.Sleep(time.Duration(least+s.rnd.IntN(most-least)) * time.Millisecond)
}

func (s *storm) others(m *member) (list []*member) {
	for _, o := range s.members {
		if o != m {
			list = append(list, o)
		}
	}
	return list
}

// cut drops what a member gets from others, what it sends them, or both.
func (s *storm) cut(m *member, ways string, from ...*member) {
	var ips []string
	for _, o := range from {
		ips = append(ips, o.ip)
	}
	s.cutFrom(m, ways, ips...)
}

func (s *storm) cutFrom(m *member, ways string, ips ...string) {
	rules := "table ip apart {\n"
	if strings.Contains(ways, "in") {
		rules += "chain in { type filter hook input priority 0; ip saddr { " + strings.Join(ips, ", ") + " } drop; }\n"
	}
	if strings.Contains(ways, "out") {
		rules += "chain out { type filter hook output priority 0; ip daddr { " + strings.Join(ips, ", ") + " } drop; }\n"
	}
	s.sh(fmt.Sprintf("ip netns exec %s nft -f - <<'N'\n%s}\nN", m.network, rules))
}

func (s *storm) heal(m *member) {
	s.sh(fmt.Sprintf("ip netns exec %s nft flush ruleset", m.network))
}

// room leaves a member so much of its disk, or all of it.
func (s *storm) room(m *member, left uint64) {
	size := uint64(diskMost)
	if left < diskMost {
		var st unix.Statfs_t
		if err := unix.Statfs(m.disk, &st); err != nil {
			s.t.Fatal(err)
		}
		size = (st.Blocks-st.Bfree+64)*uint64(st.Bsize) + left // it writes meanwhile
	}
	if err := unix.Mount("tmpfs", m.disk, "tmpfs", unix.MS_REMOUNT, fmt.Sprintf("size=%d", size)); err != nil {
		s.t.Fatalf("giving %s %d bytes: %v", m.disk, size, err)
	}
}

// putBack gives a machine an older state of its disk, as from a snapshot. It must
// not be let in with that, and the state is left for evidence.
func (s *storm) putBack() {
	w, p := s.role()
	m := p
	if s.rnd.IntN(2) == 0 {
		m = w
	}
	snap, aside := filepath.Join(m.disk, "snap"), filepath.Join(m.disk, "aside")
	m.freeze()
	s.sh(fmt.Sprintf("cp -a --sparse=always %s %s", m.dir, snap))
	m.thaw()
	s.calm(200)
	m.kill()
	s.sh(fmt.Sprintf("mv %s %s; mv %s %s", m.dir, aside, snap, m.dir))
	before := s.sh(fmt.Sprintf("cd %s/pair/consensus/log; sha256sum *", m.dir))
	from := len(m.server.log.String())
	m.up()
	const want = "under a new name"
	s.until(m.name+" refuses an older disk", func() bool { return strings.Contains(m.server.log.String()[from:], want) && m.ended() })
	m.kill()
	m.deaths()
	if _, err := os.Stat(filepath.Join(m.dir, "store")); err != nil {
		s.t.Errorf("an older disk that was refused is not left as it was: %v", err)
	}
	if after := s.sh(fmt.Sprintf("cd %s/pair/consensus/log; sha256sum *", m.dir)); after != before {
		s.say("the log of the refused disk went on before the refusal")
	}
	said := m.server.log.String()[from:]
	said = said[strings.Index(said, want)-min(300, strings.Index(said, want)):]
	s.say("refused: %.500s", said)
	s.tails.take(s.t, m.dir, m.name)
	s.refused++
	s.sh(fmt.Sprintf("rm -rf %s; mv %s %s", m.dir, aside, m.dir))
	m.up()
}
