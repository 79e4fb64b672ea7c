package appliance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"countroom/games/house"
	"countroom/ledger/entry"
	"countroom/ledger/replica"
	"countroom/ledger/replica/core"
	"countroom/ledger/system"

	"github.com/sigstore/sigstore/pkg/signature"
)

// half is one machine of a pair in this process.
type half struct {
	*Pair
	dir    string
	silent atomic.Bool // its signer
	fatal  chan error

	log  journal
	mu   sync.Mutex
	open *Appliance
}

// journal is what a machine says, shown when a test fails.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) says(what string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Contains(j.b.Bytes(), []byte(what))
}

func (j *journal) tell(t *testing.T) {
	if j.mu.Lock(); t.Failed() {
		t.Logf("%s", j.b.String())
	}
	j.mu.Unlock()
}

func (h *half) house() *house.House {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open.House
}

// mute is a signer that can be silenced.
type mute struct {
	signature.Signer
	silent *atomic.Bool
}

func (m mute) SignMessage(r io.Reader, o ...signature.SignOption) ([]byte, error) {
	if m.silent.Load() {
		return nil, errors.New("the token is gone")
	}
	return m.Signer.SignMessage(r, o...)
}

func (h *half) start(t *testing.T) {
	t.Helper()
	seat, err := LoadSeat(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	h.fatal = make(chan error, 8)
	h.Pair, err = OpenPair(context.Background(), Config{
		Dir: h.dir, Release: "test", Reserve: 1 << 20, Log: slog.New(slog.NewTextHandler(&h.log, nil)), Fatal: func(err error) { h.fatal <- err },
		Machine: Machine{WrapSigner: func(s signature.Signer) signature.Signer { return mute{s, &h.silent} }, Consensus: unhurried},
	}, PairConfig{Seat: seat, Hold: 5 * time.Second, Opened: func(a *Appliance) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open = a
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Serve(http.NotFoundHandler(), func(http.ResponseWriter, *http.Request, error) {}); err != nil {
		t.Fatal(err)
	}
}

// unhurried lets a group keep who leads while the machine is busy with something else.
func unhurried(rc *replica.Config) { rc.Tick = 4 * core.TickMillis * time.Millisecond }

// arbiter opens an arbiter in its place.
func arbiter(t *testing.T, dir string) *replica.Node {
	t.Helper()
	seat, err := LoadSeat(dir)
	if err != nil {
		t.Fatal(err)
	}
	rc := seat.Config(dir)
	unhurried(&rc)
	n, err := replica.Open(rc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (h *half) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		t.Errorf("%s: %v", h.dir, err)
	}
}

var doorsTaken atomic.Uint32

// freeDoors finds an address whose next port is free, too. It is below those that
// systems give to connections that are made, or one of them could have it by the time
// that a machine listens there.
func freeDoors(t *testing.T) string {
	t.Helper()
next:
	for range 1000 {
		at := 10_000 + (os.Getpid()*37+int(doorsTaken.Add(2)))%22_000
		for port := at; port < at+2; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return fmt.Sprintf("127.0.0.1:%d", at)
	}
	t.Fatal("no two ports in a row are free")
	return ""
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// joins has a member join by way of the machine that writes.
func joins(t *testing.T, writer *half, dir string, m replica.Member) (admission []byte) {
	t.Helper()
	j, err := NewJoiner(dir, m)
	if err != nil {
		t.Fatal(err)
	}
	request, err := j.Request()
	if err == nil {
		admission, err = writer.Admit(request, "")
	}
	if err == nil {
		err = j.Accept(admission)
	}
	if err != nil {
		t.Fatal(err)
	}
	return admission
}

// newHalves opens a pair with its arbiter; a writes.
func newHalves(t *testing.T) (a, b *half) {
	t.Helper()
	dir := t.TempDir()
	a, b = &half{dir: filepath.Join(dir, "a")}, &half{dir: filepath.Join(dir, "b")}
	if err := InitPair(a.dir, "pair.example/log", "a", freeDoors(t)); err != nil {
		t.Fatal(err)
	}
	a.start(t)
	t.Cleanup(func() { a.log.tell(t); a.stop(t) })
	await(t, "a writes", func() bool { return a.Place().Here })
	joins(t, a, b.dir, replica.Member{Name: "b", Address: freeDoors(t)})
	b.start(t)
	t.Cleanup(func() { b.log.tell(t); b.stop(t) })
	joins(t, a, filepath.Join(dir, "w"), replica.Member{Name: "w", Address: freeDoors(t), Arbiter: true})
	w := arbiter(t, filepath.Join(dir, "w"))
	await(t, "all are members", func() bool { return len(b.Node().Members()) == 3 && len(w.Members()) == 3 && b.Place().Peer != "" })
	await(t, "w has a vote", func() bool { return a.log.says(`"a member has joined" name=w`) }) // before, nobody may be lost
	return a, b
}

func active(t *testing.T, h *half) (list []*system.PairActive) {
	t.Helper()
	err := h.now().Ledger.Leaves(0, h.now().Ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		if typ, err := entry.TypeOf(leaf); err != nil || typ != "house.active.v2" {
			return err
		}
		r := new(system.PairActive)
		list = append(list, r)
		return entry.Decode(leaf, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A machine hands over as planned, and back; a session and its keys outlive it.
func TestAPairChangesPlaces(t *testing.T) {
	a, b := newHalves(t)
	ctx := t.Context()
	req := house.Request{Key: "new", Method: "POST", Path: "/v1/players", Principal: "operator"}
	first, err := a.house().CreatePlayer(ctx, req, "anna", "EUR")
	if err != nil {
		t.Fatal(err)
	}
	for i, turn := range []struct{ from, to *half }{{a, b}, {b, a}, {a, b}} {
		asked := turn.from
		if i == 1 {
			asked = turn.to // the passive machine may be asked, too
		}
		if err := asked.Switch(ctx); err != nil {
			t.Fatal(err)
		}
		await(t, "the other machine writes", func() bool { return turn.to.Place().Here })
		again, err := turn.to.house().CreatePlayer(ctx, req, "anna", "EUR")
		if err != nil || !again.Replayed || !bytes.Equal(again.Leaf, first.Leaf) {
			t.Fatalf("turn %d: the retry was answered by %s, %v", i, again.Leaf, err)
		}
		await(t, "the machine that handed over follows", func() bool { return turn.from.Place().Peer != "" })
	}
	list := active(t, b)
	var told []string
	for _, r := range list {
		told = append(told, r.Node+" "+r.Reason)
	}
	if got := strings.Join(told, ", "); got != "a created, b switchover, a switchover, b switchover" {
		t.Errorf("the log says: %s", got)
	}
	if m := list[3].Members; len(m) != 3 || m[2] != (system.Member{Name: "w", Role: system.RoleArbiter}) {
		t.Errorf("members %v", m)
	}
	// The passive machine learns each checkpoint without another batch.
	await(t, "a has the newest checkpoint", func() bool { return a.now().Ledger.Signed().Size == b.now().Ledger.Signed().Size })
}

// A machine whose signer falls silent hands over by itself, and what was waiting
// for the signature is found by its key.
func TestAMachineThatCannotSignGivesWay(t *testing.T) {
	a, b := newHalves(t)
	a.silent.Store(true)
	req := house.Request{Key: "new", Method: "POST", Path: "/v1/players", Principal: "operator"}
	_, unsigned := a.house().CreatePlayer(t.Context(), req, "anna", "EUR")
	await(t, "the other machine writes", func() bool { return b.Place().Here })
	if unsigned == nil {
		t.Fatal("answered without a signature")
	}
	if _, err := b.house().CreatePlayer(t.Context(), req, "anna", "EUR"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.house().Player(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	// Who gives way late, when the other writes already, does not ask for it back.
	if err := a.handOver(t.Context()); !errors.Is(err, replica.ErrNotActive) || a.Place().Here || !b.Place().Here {
		t.Errorf("a gives way once more: %v, and b writes: %v", err, b.Place().Here)
	}
}

// A new arbiter takes the place of the one that there was, while the house plays.
func TestTheArbiterIsReplaced(t *testing.T) {
	a, b := newHalves(t)
	dir := filepath.Join(t.TempDir(), "v")
	j, err := NewJoiner(dir, replica.Member{Name: "v", Address: freeDoors(t), Arbiter: true})
	if err != nil {
		t.Fatal(err)
	}
	request, err := j.Request()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Admit(request, "w"); err == nil {
		t.Error("the machine that does not write admitted a member")
	}
	admission, err := a.Admit(request, "w")
	if err == nil {
		err = j.Accept(admission)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"keys", "credentials", "pair/authority.key"} {
		if _, err := os.Stat(filepath.Join(dir, secret)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the arbiter has %s: %v", secret, err)
		}
	}
	arbiter(t, dir)
	await(t, "v has the place", func() bool {
		m := a.Members()
		return len(m) == 3 && m[2] == system.Member{Name: "v", Role: system.RoleArbiter}
	})
	if _, err := a.house().CreatePlayer(t.Context(), house.Request{Key: "new", Method: "POST", Principal: "operator"}, "anna", "EUR"); err != nil {
		t.Fatal(err)
	}
}

// A machine that hears the arbiter and not the other machine, and was not elected,
// lets clients go to the one that was.
func TestWhoIsWorthWaitingAt(t *testing.T) {
	for _, c := range []struct {
		what             string
		here             bool
		lost             time.Duration
		machine, arbiter bool
		worth            bool
	}{
		{"an election among all", false, time.Second, true, true, true},
		{"a long one", false, 4 * time.Second, true, false, true},
		{"too long", false, 6 * time.Second, true, true, false},
		{"the other machine was lost", false, time.Second, false, true, true},
		{"the other machine writes elsewhere", false, 2 * time.Second, false, true, false},
		{"nobody is heard", false, 100 * time.Millisecond, false, false, false},
		{"taking over takes long", true, 4 * time.Second, false, true, true},
	} {
		if got := writerMayCome(c.here, c.lost, 5*time.Second, func(arbiter bool) bool { return arbiter && c.arbiter || !arbiter && c.machine }); got != c.worth {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

// What travels when a machine joins shows no key, and nobody else can open it.
func TestKeysTravelSealed(t *testing.T) {
	dir := t.TempDir()
	a := &half{dir: filepath.Join(dir, "a")}
	if err := InitPair(a.dir, "pair.example/log", "a", freeDoors(t)); err != nil {
		t.Fatal(err)
	}
	a.start(t)
	defer a.stop(t)
	await(t, "a writes", func() bool { return a.Place().Here })
	joiner, err := NewJoiner(filepath.Join(dir, "b"), replica.Member{Name: "b", Address: freeDoors(t)})
	if err != nil {
		t.Fatal(err)
	}
	request, err := joiner.Request()
	if err != nil {
		t.Fatal(err)
	}
	admission, err := a.Admit(request, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewJoiner(filepath.Join(dir, "c"), replica.Member{Name: "b", Address: freeDoors(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Accept(admission); err == nil {
		t.Error("a stranger opened the keys")
	}
	if err := joiner.Accept(admission); err != nil {
		t.Fatal(err)
	}
	var open Admission
	if err := json.Unmarshal(admission, &open); err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, sub := range []string{"keys", "credentials", "pair"} {
		err := filepath.WalkDir(filepath.Join(a.dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pem") && !strings.HasSuffix(path, ".key") {
				return err
			}
			mine, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, a.dir)
			theirs, err := os.ReadFile(filepath.Join(dir, "b", name))
			if strings.HasSuffix(name, "node.key") || strings.HasSuffix(name, "node.pem") {
				if bytes.Equal(mine, theirs) {
					t.Errorf("%s is the same on both machines", name)
				}
				return err
			}
			if err != nil || !bytes.Equal(mine, theirs) {
				t.Errorf("%s did not come along: %v", name, err)
			}
			moved++
			if info, err := os.Stat(filepath.Join(dir, "b", name)); err == nil && info.Mode().Perm() != 0o600 && !strings.HasSuffix(name, "authority.pem") {
				t.Errorf("%s has the mode %v", name, info.Mode())
			}
			if !strings.HasSuffix(name, "authority.pem") && bytes.Contains(admission, bytes.TrimSpace(mine)) {
				t.Errorf("%s can be read on the way", name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if moved < 9 {
		t.Errorf("only %d files", moved)
	}
}

// A member's place is taken once, and only by what it was given for.
func TestAPlaceIsTakenOnce(t *testing.T) {
	dir := t.TempDir()
	at := freeDoors(t)
	if _, err := LoadSeat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without a place: %v", err)
	}
	if err := InitPair(dir, "pair.example/log", "a", at); err != nil {
		t.Fatal(err)
	}
	if err := InitPair(dir, "pair.example/log", "a", at); err == nil {
		t.Error("a second init")
	}
	if _, err := NewJoiner(dir, replica.Member{Name: "b", Address: at}); err == nil {
		t.Error("a join into a house")
	}
	for _, address := range []string{"", "host", ":7400", "host:0", "host:65535", "host:port"} {
		if err := InitPair(t.TempDir(), "", "a", address); err == nil {
			t.Errorf("address %q", address)
		}
	}
	s, err := LoadSeat(dir)
	if err != nil || s.Name != "a" || s.Origin != "pair.example/log" || len(s.Members) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pair", "seat.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSeat(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a place: %v", err)
	}
}

// A request to join comes from outside, and so does its answer.
func FuzzAdmission(f *testing.F) {
	dir := f.TempDir()
	if err := InitPair(dir, "pair.example/log", "a", "127.0.0.1:7400"); err != nil {
		f.Fatal(err)
	}
	m := replica.Member{Name: "w", Address: "127.0.0.1:7500", Arbiter: true}
	j, err := NewJoiner(filepath.Join(f.TempDir(), "w"), m)
	if err != nil {
		f.Fatal(err)
	}
	request, err := j.Request()
	if err != nil {
		f.Fatal(err)
	}
	members := []replica.Member{{Name: "a", Address: "127.0.0.1:7400"}}
	_, admission, err := admit(dir, members, "pair.example/log", request)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add(admission)
	f.Add([]byte(`{"member":{"name":"b","address":"h:1"},"request":"","seal":"AA=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, answer, err := admit(dir, members, "pair.example/log", data); err == nil {
			var a Admission
			if err := json.Unmarshal(answer, &a); err != nil || r.Member.Name == "a" || !r.Member.Arbiter && len(a.Sealed) == 0 {
				t.Fatalf("%s was answered with %s", data, answer)
			}
		}
		taker := &Joiner{dir: filepath.Join(t.TempDir(), "w"), request: JoinRequest{Member: m}}
		if err := makePairDir(taker.dir); err != nil {
			t.Fatal(err)
		}
		_ = taker.Accept(data)
	})
}

// A machine of a pair that is not running is not opened as a house of its own: what it
// appended would be a second history beside the pair's.
func TestAMachineOfAPairWritesNothingByItself(t *testing.T) {
	a, b := newHalves(t)
	await(t, "b has the log", func() bool { return b.now().Ledger.Size() > 0 && b.now().Ledger.Size() == a.now().Ledger.Size() })
	b.stop(t)
	size := func() uint64 {
		only, err := Open(t.Context(), Config{Dir: b.dir, LedgerOnly: true, Log: slog.New(slog.NewTextHandler(&b.log, nil))}) // as for a back-up
		if err != nil {
			t.Fatal(err)
		}
		defer only.Close(t.Context())
		return only.Ledger.Size()
	}
	before := size()
	alone, err := Open(t.Context(), Config{Dir: b.dir, Log: slog.New(slog.NewTextHandler(&b.log, nil))})
	if err == nil {
		alone.Close(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "of a pair") {
		t.Errorf("a machine of a pair was opened by itself: %v", err)
	}
	if after := size(); after != before {
		t.Errorf("it had %d entries and has %d", before, after)
	}
	b.start(t)
	await(t, "b follows", func() bool { return b.Place().Peer != "" })
}

// A machine that was to take over while its signer was silent, with nobody to give way to, takes over when the signer
// speaks again.
func TestATakeoverIsTriedAgain(t *testing.T) {
	a, b := newHalves(t)
	b.silent.Store(true)
	a.stop(t)
	defer a.start(t) // for the end of the test
	await(t, "b was to take over", func() bool { return b.Node().Role().Term != 0 && b.log.says("gives way") })
	b.silent.Store(false)
	await(t, "b writes", func() bool { return b.Place().Here })
}
