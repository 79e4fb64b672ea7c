package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	stormFlag = flag.Duration("storm", 0, "length of TestStorm; 0: each kind of fault once")
	seedFlag  = flag.Uint64("seed", 1, "seed of TestStorm's schedule")
)

// Two machines, an arbiter, a witness and a balancer, each the real program in a
// network of its own, and everything goes wrong with them that can, while
// players play and the networks heal under them. In the end nothing that was
// acknowledged is lost, each key worked once, each player's account is
// linearizable, no round has two outcomes anywhere, the witness saw one history,
// and the verifier passes on both machines.
func TestStorm(t *testing.T) {
	const inside = "COUNTROOM_TEST_STORM"
	if dir := os.Getenv(inside); dir != "" {
		os.Unsetenv(inside)
		newStorm(t, dir, *seedFlag).rage(*stormFlag)
		return
	}
	for _, program := range []string{"nft", "ip", "unshare", "haproxy", "softhsm2-util"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("this test needs %s: make deps: %v", program, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts disks to fill them up, and only root can: run it as root")
	}
	dir := t.TempDir()
	for _, program := range []string{"countroom-witness", "countroom-verify"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, program), "../"+program).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", program, err, out)
		}
	}
	var out bytes.Buffer
	cmd := exec.Command("unshare", "--net", "--mount", os.Args[0], "-test.run", "^TestStorm$", "-test.v", "-test.timeout", (*stormFlag + 20*time.Minute).String(),
		"-storm", stormFlag.String(), "-seed", fmt.Sprint(*seedFlag))
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	if *stormFlag > 0 { // somebody watches
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	t.Logf("%s", out.String())
}

// storm is a pair in bad weather.
type storm struct {
	*trio
	dir   string
	seed  uint64
	rnd   *rand.Rand
	began time.Time

	members          []*member // a, b, w
	witness, haproxy *program
	mirror           *program // of the log, by way of the balancer
	mirrorOnce       func() ([]byte, error)
	hsm              map[*member]string // directories of tokens
	crowd            *crowd

	mu      sync.Mutex
	gaps    map[string][]time.Duration // until the next answer after a fault
	done    map[string]int             // faults by kind
	tails   tails
	refused int // disks that were put back
}

// program is a process that is started again whenever it ends, as a service is.
type program struct {
	t    *testing.T
	name string
	make func() *exec.Cmd
	log  *journal

	mu   sync.Mutex
	cmd  *exec.Cmd
	down bool          // it is not to run
	gone chan struct{} // closed when cmd has ended
	died []string      // how it ended by itself
	from int           // where its log begins
	idle sync.WaitGroup
}

// member is one of a, b and w.
type member struct {
	*server
	*program
	name, network, ip string
	disk              string
	clock             *skewed
}

const diskMost = 8 << 30

func newStorm(t *testing.T, dir string, seed uint64) *storm {
	s := &storm{
		dir: dir, seed: seed, rnd: rand.New(rand.NewPCG(seed, 9)), began: time.Now(), hsm: map[*member]string{},
		gaps: map[string][]time.Duration{}, done: map[string]int{},
	}
	s.sh(`mount -t tmpfs tmpfs /run
ip link set lo up
ip link add br0 type bridge
ip link set br0 up
ip address add 10.9.0.1/24 dev br0`)
	for n := 1; n <= 4; n++ {
		s.sh(fmt.Sprintf(`ip netns add n%[1]d
ip link add v%[1]d type veth peer name e0 netns n%[1]d
ip link set v%[1]d master br0 up
ip -n n%[1]d address add 10.9.0.1%[1]d/24 dev e0
ip -n n%[1]d link set e0 up
ip -n n%[1]d link set lo up`, n))
	}
	var servers []*server
	for i, name := range []string{"a", "b", "w"} {
		m := &member{name: name, network: fmt.Sprint("n", i+1), ip: fmt.Sprint("10.9.0.1", i+1), disk: filepath.Join(dir, "disk-"+name)}
		if err := os.Mkdir(m.disk, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", m.disk, "tmpfs", 0, fmt.Sprintf("size=%d", uint64(diskMost))); err != nil {
			t.Fatalf("mounting a tmpfs to fill it up: %v", err)
		}
		m.clock = newSkewed(t, filepath.Join(dir, "clock-"+name))
		m.server = &server{
			t: t, dir: filepath.Join(m.disk, "house"), scheme: "http", addr: m.ip + ":8080", client: http.DefaultClient,
			within: []string{"ip", "netns", "exec", m.network}, env: []string{clockVariable + "=" + m.clock.name},
			args: []string{"--allow-plaintext", "--reserve-mib", "64", "--epoch-age", "5s", "--epoch-draws", "500", "--epoch-reveal-delay", "1s"},
		}
		m.program = &program{t: t, name: name, make: m.process, log: &m.server.log, down: true}
		s.members = append(s.members, m)
		servers = append(servers, m.server)
	}
	s.trio = trioOf(t, servers[0], servers[1], servers[2])
	for _, m := range s.members {
		s.consensus[m.server] = m.ip + ":7100"
		t.Cleanup(m.end)
	}
	s.tokens()
	s.settle()
	return s
}

// tokens gives each machine an HSM of its own with the same key to sign
// checkpoints.
func (s *storm) tokens() {
	module := "/usr/lib/softhsm/libsofthsm2.so"
	pin := filepath.Join(s.dir, "pin")
	if err := os.WriteFile(pin, []byte("271828\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	uri := "pkcs11:token=house;object=checkpoint?module-path=" + module + "&pin-source=" + pin
	for _, m := range s.members[:2] {
		dir := filepath.Join(s.dir, "hsm-"+m.name)
		s.hsm[m] = dir
		conf := filepath.Join(dir, "softhsm2.conf")
		if err := os.MkdirAll(filepath.Join(dir, "tokens"), 0o700); err != nil {
			s.t.Fatal(err)
		}
		text := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", filepath.Join(dir, "tokens"))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			s.t.Fatal(err)
		}
		m.env = append(m.env, "SOFTHSM2_CONF="+conf)
		m.args = append(m.args, "--keys-checkpoint", uri)
	}
	a, b := s.hsm[s.members[0]], s.hsm[s.members[1]]
	s.sh(fmt.Sprintf(`export SOFTHSM2_CONF=%s/softhsm2.conf
softhsm2-util --init-token --free --label house --so-pin 31415926 --pin 271828
COUNTROOM_TEST_MAIN=1 %s keys init --role checkpoint --key '%s'
cp -a %s/tokens/. %s/tokens/`, a, os.Args[0], uri, a, b))
}

func (s *storm) sh(script string) string {
	out, err := exec.Command("/bin/sh", "-euc", script).CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("%v\n%s\n%s", err, script, out))
	}
	return string(out)
}

// settle founds the pair with its witness and its balancer.
func (s *storm) settle() {
	a := s.members[0]
	first := func() {
		a.up()
		s.until("a is ready", func() bool { return s.answers(a) })
		// The witness has to know the log, and the house the witness.
		key := filepath.Join(a.dir, "log.vkey")
		s.witness = &program{t: s.t, name: "witness", log: new(journal), down: true, make: func() *exec.Cmd {
			cmd := exec.Command("ip", "netns", "exec", "n4", filepath.Join(s.dir, "countroom-witness"), "--data", filepath.Join(s.dir, "witness"),
				"--name", "witness.example/w1", "--log", filepath.Join(s.dir, "log.vkey"), "--listen", "10.9.0.14:8090")
			cmd.Stderr = s.witness.log
			return cmd
		}}
		s.t.Cleanup(s.witness.end)
		s.sh(fmt.Sprintf("cp %s %s/log.vkey", key, s.dir))
		s.witness.up()
		vkey := filepath.Join(s.dir, "witness", "witness.vkey")
		s.until("the witness has a key", func() bool { _, err := os.Stat(vkey); return err == nil })
		b, err := os.ReadFile(vkey)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, m := range s.members[:2] {
			m.args = append(m.args, "--witnesses-policy", "background", "--witnesses-list", strings.TrimSpace(string(b))+" http://10.9.0.14:8090")
		}
		a.kill()
		a.up()
		s.until("a is ready again", func() bool { return s.answers(a) })
	}
	s.found(first, func() {
		s.members[1].up()
		s.until("b is ready", func() bool { return s.answers(s.members[1]) })
	}, func() {
		s.members[2].up()
		s.until("w is ready", func() bool { return s.answers(s.members[2]) })
	})
	s.balancerAt = "10.9.0.1:8000"
	s.haproxy = &program{t: s.t, name: "balancer", log: new(journal), down: true, make: func() *exec.Cmd {
		cmd := exec.Command("haproxy", "-f", "../../deploy/haproxy/haproxy.cfg", "-db")
		cmd.Env = append(os.Environ(), "COUNTROOM_BIND="+s.balancerAt, "COUNTROOM_A="+s.a.addr, "COUNTROOM_B="+s.b.addr)
		cmd.Stderr = s.haproxy.log
		return cmd
	}}
	s.t.Cleanup(s.haproxy.end)
	s.haproxy.up()
	s.until("the balancer answers", func() bool {
		resp, err := http.Get("http://" + s.balancerAt + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// reflect starts a mirror of the published log, which asks now one machine and
// now the other.
func (s *storm) reflect() {
	line := []string{"mirror", "--from", "http://" + s.balancerAt, "--data", filepath.Join(s.dir, "mirror"), "--vkey", filepath.Join(s.dir, "log.vkey"),
		"--token", filepath.Join(s.a.dir, "credentials", "auditor.key")}
	s.mirrorOnce = func() ([]byte, error) {
		cmd := exec.Command(os.Args[0], append(line, "--once")...)
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
		return cmd.CombinedOutput()
	}
	s.mirror = &program{t: s.t, name: "mirror", log: new(journal), down: true, make: func() *exec.Cmd {
		cmd := exec.Command(os.Args[0], append(line, "--interval", "200ms")...)
		cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
		cmd.Stderr = s.mirror.log
		return cmd
	}}
	s.t.Cleanup(s.mirror.end)
	s.mirror.up()
}

func (s *storm) answers(m *member) bool {
	resp, err := http.Get("http://" + m.addr + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (s *storm) now() time.Duration { return time.Since(s.began) }

func (s *storm) say(format string, args ...any) {
	line := fmt.Sprintf("%8.3f  ", s.now().Seconds()) + fmt.Sprintf(format, args...)
	fmt.Println(line)
}

// up lets a program run until it is told otherwise.
func (p *program) up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
	if p.cmd == nil {
		p.start()
	}
}

// start starts it; under mu.
func (p *program) start() {
	p.from = len(p.log.String())
	cmd := p.make()
	gone := make(chan struct{})
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	p.cmd, p.gone = cmd, gone
	p.idle.Go(func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.cmd = nil
		close(gone)
		down := p.down
		if !down {
			said := p.log.String()[p.from:]
			lines := strings.Split(strings.TrimSpace(said), "\n")
			p.died = append(p.died, fmt.Sprintf("%v: %s", err, strings.Join(lines[max(0, len(lines)-3):], "\n\t")))
		}
		p.mu.Unlock()
		if !down {
			time.Sleep(200 * time.Millisecond)
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.down && p.cmd == nil {
				p.start()
			}
		}
	})
}

// kill ends it with SIGKILL, and it stays down until it is told otherwise.
func (p *program) kill() { p.stop(syscall.SIGKILL) }

func (p *program) stop(sig syscall.Signal) {
	p.mu.Lock()
	p.down = true
	cmd, gone := p.cmd, p.gone
	p.mu.Unlock()
	if cmd != nil {
		cmd.Process.Signal(sig)
		<-gone
	}
}

func (p *program) end() {
	p.kill()
	p.idle.Wait()
}

func (p *program) freeze() { p.signalled(syscall.SIGSTOP) }
func (p *program) thaw()   { p.signalled(syscall.SIGCONT) }

func (p *program) signalled(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		p.cmd.Process.Signal(sig)
	}
}

// ended reports whether it has ended by itself since deaths was asked.
func (p *program) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.died) > 0
}

// deaths returns how it ended by itself since it was asked last.
func (p *program) deaths() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.died
	p.died = nil
	return d
}

// role finds who writes.
func (s *storm) role() (writer, other *member) {
	w, _ := s.trio.writerNow()
	if w == s.b {
		return s.members[1], s.members[0]
	}
	return s.members[0], s.members[1]
}

// writerNow waits until a machine writes, though others may be away.
func (p *trio) writerNow() (writer, other *server) {
	p.t.Helper()
	p.until("a machine writes", func() bool {
		for i, s := range p.machines {
			if status, err := p.ask(s); err == nil && status.Role.Term != 0 {
				writer, other = s, p.machines[1-i]
				return true
			}
		}
		return false
	})
	return writer, other
}

// rage lets all kinds of faults happen, each once or for so long, and judges.
func (s *storm) rage(long time.Duration) {
	fmt.Printf("storm of seed %d\n", s.seed)
	players := 4
	if long > 0 {
		players = 8
	}
	s.crowd = newCrowd(s, players)
	s.crowd.play()
	s.reflect()
	s.calm(20)
	start := s.now()
	kinds := slices.Clone(faults)
	for n := 0; ; n++ {
		if long == 0 && n == len(kinds) || long > 0 && s.now()-start >= long {
			break
		}
		if n%len(kinds) == 0 && long > 0 {
			s.rnd.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		}
		f := kinds[n%len(kinds)]
		s.happen(f)
		if s.t.Failed() {
			break
		}
	}
	length := s.now() - start
	s.crowd.leave()
	s.judge()
	s.report(length)
}

// happen lets one fault begin and end, and wants service again.
func (s *storm) happen(f fault) {
	s.done[f.name]++
	s.crowd.mu.Lock()
	s.crowd.fault = f.name
	s.crowd.mu.Unlock()
	var beside sync.WaitGroup
	if *stormFlag > 0 && s.rnd.IntN(3) == 0 {
		b := besides[s.rnd.IntN(len(besides))]
		wait, long := time.Duration(s.rnd.IntN(1000))*time.Millisecond, time.Duration(200+s.rnd.IntN(1500))*time.Millisecond
		s.done["besides: "+b.name]++
		beside.Go(func() {
			time.Sleep(wait)
			b.begin(s)
			time.Sleep(long)
			b.end(s)
		})
	}
	f.do(s)
	beside.Wait()
	s.calm(20)
	if d := s.mirror.deaths(); len(d) > 0 {
		s.t.Errorf("%s: the mirror ended by itself: %s", f.name, d)
	}
	for _, m := range s.members {
		for _, d := range m.deaths() {
			if !f.mayEnd {
				s.t.Errorf("%s: %s ended by itself: %s", f.name, m.name, d)
			} else {
				s.say("%s ended by itself: %.300s", m.name, d)
			}
		}
	}
}

// calm ends when everybody is there again and follows, and clients get answers.
func (s *storm) calm(answers int) {
	s.until("all is well again", func() bool {
		w, err := s.ask(s.w)
		if err != nil || w.Failed != "" {
			return false
		}
		leads := 0
		var applied [2]uint64
		for i, m := range s.machines {
			st, err := s.ask(m)
			if err != nil || st.Unfit != "" || len(st.Peers) != 2 {
				return false
			}
			if st.Role.Term != 0 {
				leads++
			} else if st.Role.Leader == "" {
				return false
			}
			applied[i] = st.Applied
			for _, p := range st.Peers {
				if time.Since(p.Heard) > 500*time.Millisecond {
					return false
				}
			}
		}
		return leads == 1 && max(applied[0], applied[1])-min(applied[0], applied[1]) < 100
	})
	had := s.crowd.count()
	s.until("clients get answers", func() bool { return s.crowd.count() >= had+answers })
}

// gap waits for the first answer by way of the balancer to something that was
// asked after a moment.
func (s *storm) gap(kind string, after time.Duration) {
	s.until("the balancer answers what was asked after: "+kind, func() bool {
		d, ok := s.crowd.answered(after)
		if ok {
			s.noted(kind, d)
		}
		return ok
	})
}

func (s *storm) noted(kind string, d time.Duration) {
	s.mu.Lock()
	s.gaps[kind] = append(s.gaps[kind], d)
	s.mu.Unlock()
	s.say("%s: an answer after %v", kind, d.Round(time.Millisecond))
}

// pause is for what does not take the writer away at once: how long at most
// nobody got an answer from a moment until something asked now is answered.
func (s *storm) pause(kind string, from time.Duration) {
	now := s.now()
	s.until("the balancer answers what was asked after: "+kind, func() bool {
		_, ok := s.crowd.answered(now)
		return ok
	})
	s.noted(kind, s.crowd.pause(from))
}

// report prints what was done, and every figure.
func (s *storm) report(length time.Duration) {
	fmt.Printf("\nstorm of seed %d, %v\n", s.seed, length.Round(time.Second))
	var names []string
	for name := range s.done {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		line := fmt.Sprintf("  %-58s %4d", name, s.done[name])
		if g := s.gaps[name]; len(g) > 0 {
			line += fmt.Sprintf("   next answer p50 %v p99 %v", quantile(g, 0.5), quantile(g, 0.99))
		}
		fmt.Println(line)
	}
	var lost []time.Duration
	for name, g := range s.gaps {
		if strings.HasPrefix(name, "failover") {
			lost = append(lost, g...)
		}
	}
	if len(lost) > 0 {
		fmt.Printf("failovers (the writer killed, frozen or cut off): %d, until the next answer p50 %v p99 %v\n", len(lost), quantile(lost, 0.5), quantile(lost, 0.99))
	}
	c := s.crowd
	kinds := map[string]int{}
	var tries, slowest = 0, time.Duration(0)
	for _, a := range c.acts {
		kinds[a.kind]++
		tries += a.tries
		if a.door == 0 {
			slowest = max(slowest, a.ended-a.begun)
		}
	}
	fmt.Printf("clients: %d answers %v, %d requests, the longest wait at the balancer %v\n", len(c.acts), kinds, tries, slowest.Round(time.Millisecond))
	names = names[:0]
	for e := range c.errors {
		names = append(names, e)
	}
	sort.Strings(names)
	for _, e := range names {
		fmt.Printf("  errors seen at %-90s %d\n", e, c.errors[e])
	}
	fmt.Printf("rounds in published logs, logs of the consensus and evidence (%[3]d): %[1]d, of which committed nowhere: %[2]d; overwritten before anybody had committed them: %[5]d; restored disks refused: %[4]d\n", len(s.tails.seen), len(s.tails.seen)-len(s.tails.committed), s.tails.files, s.refused, s.tails.overwritten)
}

func quantile(d []time.Duration, q float64) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(time.Millisecond)
}
