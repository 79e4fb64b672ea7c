package stock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"countroom/regulator/evidence"
	"countroom/regulator/mirror"
	"countroom/regulator/mirror/stock/stocktest"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"

	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/types"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

// world is a house with a mirror that feeds a stock Trillian.
type world struct {
	t      testing.TB
	house  *logtest.House
	who    []logtest.Player
	files  fstest.MapFS
	mirror *mirror.Mirror
	dir    string
	conn   grpc.ClientConnInterface
	change func(*Config)
}

func newWorld(t testing.TB, conn grpc.ClientConnInterface, seed uint64, rounds int) *world {
	t.Helper()
	w := &world{t: t, house: logtest.New(logtest.Config{Seed: seed}), files: fstest.MapFS{}, dir: t.TempDir(), conn: conn}
	w.who = []logtest.Player{w.house.Join(1_000_000), w.house.Join(1_000_000)}
	w.house.Play(w.who, rounds)
	maps.Copy(w.files, w.house.Publish())
	m, err := mirror.Open(t.Context(), mirror.Config{
		Dir: w.dir, Source: verify.Dir(w.files), From: "the house", VKeys: []string{w.house.VKey}, Leaves: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	w.mirror = m
	w.mirrored()
	return w
}

// in is the same world in another test.
func (w world) in(t testing.TB) *world {
	w.t = t
	return &w
}

func (w *world) mirrored() {
	w.t.Helper()
	if err := w.mirror.Round(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// play has the house and its mirror go on.
func (w *world) play(rounds int) {
	w.t.Helper()
	w.house.Play(w.who, rounds)
	maps.Copy(w.files, w.house.Publish())
	w.mirrored()
}

// feeder is what another process of the mirror would be.
func (w *world) feeder(tree int64) *Feeder {
	w.t.Helper()
	cfg := Config{
		Mirror: w.mirror, Dir: filepath.Join(w.dir, "trillian"), Address: "stock.example:8090", Conn: w.conn, Tree: tree,
		Patience: 10 * time.Minute, Stall: 10 * time.Minute, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	if w.change != nil {
		w.change(&cfg)
	}
	f, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// all feeds everything.
func (w *world) all(f *Feeder) {
	w.t.Helper()
	if err := f.Once(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if _, size := f.Tree(); size != w.house.Size() {
		w.t.Fatalf("size %d, want %d", size, w.house.Size())
	}
}

// refused has the feeder go on until it is refused, for a reason.
func refused(t *testing.T, err error, reason string) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != reason {
		t.Fatalf("%v, expected %s", err, reason)
	}
	return r
}

// alarmed also looks at the evidence.
func (w *world) alarmed(t *testing.T, f *Feeder, reason string) {
	t.Helper()
	r := refused(t, f.Once(t.Context()), reason)
	if !r.Alarm() || f.Alarm() == nil || !f.Counts().Alarm {
		t.Errorf("no alarm: %v", r)
	}
	if err := f.Round(t.Context()); !errors.Is(err, r) {
		t.Errorf("after the alarm: %v", err)
	}
	b, err := os.ReadFile(r.File)
	if err != nil {
		t.Fatal(err)
	}
	e, err := evidence.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	v, err := e.Check(evidence.SignedBy([]string{w.house.VKey}))
	if err != nil || v.Proven || !strings.Contains(v.Text, "stock.example:8090 tree ") || v.First.Size != w.mirror.Head().Size {
		t.Errorf("%+v, %v", v, err)
	}
}

// A stock Trillian, its own log server and signer over its own PostgreSQL, is fed by
// a mirror and is what the house signed; and where it is not, the mirror says so.
func TestAStockTrillian(t *testing.T) {
	s := stocktest.Start(t)
	conn, err := Dial(s.Address, insecure.NewCredentials())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rpc, admin := trillian.NewTrillianLogClient(conn), trillian.NewTrillianAdminClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.Said())
		}
	})
	w := newWorld(t, conn, 1, 300)
	f := w.feeder(0)
	w.all(f)
	tree, _ := f.Tree()

	t.Run("is followed by a stock client", func(t *testing.T) {
		c := client.New(tree, rpc, client.NewLogVerifier(rfc6962.DefaultHasher), types.LogRootV1{})
		root, err := c.UpdateRoot(ctx)
		if err != nil || root.TreeSize != w.house.Size() || string(root.RootHash) != string(w.mirror.Head().Root[:]) {
			t.Fatalf("%+v, %v", root, err)
		}
		for i := uint64(0); i < w.house.Size(); i += 97 {
			if err := c.WaitForInclusion(ctx, w.house.Leaf(i)); err != nil {
				t.Fatal(err)
			}
		}
	})

	t.Run("goes on with the house", func(t *testing.T) {
		w := w.in(t)
		for range 3 {
			w.play(40)
			w.all(f)
		}
		if n := f.Counts(); n.Size != w.house.Size() || n.Fed != w.house.Size() || n.Leaves < w.house.Size() || n.Roots < 3 || n.Done == 0 || n.Alarm || len(n.Refusals) != 0 {
			t.Errorf("%+v", n)
		}
	})

	t.Run("goes on after a mirror that was killed", func(t *testing.T) {
		w := w.in(t)
		s.StopSigner()
		w.play(40)
		if err := f.Round(ctx); err != nil { // taken, and not integrated
			t.Fatal(err)
		}
		s.StartSigner()
		again := w.feeder(0)
		w.all(again)
		if id, _ := again.Tree(); id != tree {
			t.Errorf("tree %d, and it was %d", id, tree)
		}
		// What it made and could not write down any more is found by its name.
		st, err := readState(w.feeder(0).cfg.Dir)
		if err != nil {
			t.Fatal(err)
		}
		before := st
		before.Tree = 0
		if err := before.write(again.cfg.Dir); err != nil {
			t.Fatal(err)
		}
		f = w.feeder(0)
		w.all(f)
		if id, _ := f.Tree(); id != tree {
			t.Errorf("tree %d, and it was %d", id, tree)
		}
	})

	t.Run("has a signer that stands still", func(t *testing.T) {
		w := w.in(t)
		s.StopSigner()
		defer s.StartSigner()
		w.play(10)
		now := time.Now()
		w.change = func(c *Config) {
			c.Stall = time.Minute
			c.Clock = func() time.Time { now = now.Add(20 * time.Second); return now }
		}
		if r := refused(t, w.feeder(0).Once(ctx), Stalled); r.Alarm() {
			t.Error("that is no alarm")
		}
	})
	w.all(f)

	// A copy of the world with a tree of its own, fed in full.
	fed := func(t *testing.T) (*world, *Feeder, int64) {
		t.Helper()
		w := newWorld(t, conn, 2, 300)
		f := w.feeder(0)
		w.all(f)
		id, _ := f.Tree()
		return w, f, id
	}

	t.Run("with a leaf changed in its database", func(t *testing.T) {
		w, _, id := fed(t)
		s.Exec(fmt.Sprintf(`UPDATE LeafData SET LeafValue = LeafValue || ' '::bytea WHERE TreeId = %d AND LeafIdentityHash =
			(SELECT LeafIdentityHash FROM SequencedLeafData WHERE TreeId = %d AND SequenceNumber = 123)`, id, id))
		w.alarmed(t, w.feeder(0), Leaf)
	})

	t.Run("with a leaf gone from its database", func(t *testing.T) {
		w, _, id := fed(t)
		s.Exec(fmt.Sprintf(`DELETE FROM SequencedLeafData WHERE TreeId = %d AND SequenceNumber = 77`, id))
		w.alarmed(t, w.feeder(0), Leaf)
	})

	t.Run("with another root in its database", func(t *testing.T) {
		w, f, id := fed(t)
		s.StopSigner() // which would find out by itself
		defer s.StartSigner()
		s.Exec(fmt.Sprintf(`UPDATE TreeHead SET RootHash = sha256(RootHash) WHERE TreeId = %d`, id))
		w.alarmed(t, f, Root)
		w.alarmed(t, w.feeder(0), Root)
	})

	t.Run("rolled back", func(t *testing.T) {
		w, _, id := fed(t)
		s.StopSigner()
		defer s.StartSigner()
		s.Exec(fmt.Sprintf(`DELETE FROM TreeHead WHERE TreeId = %d AND TreeSize = (SELECT max(TreeSize) FROM TreeHead WHERE TreeId = %d)`, id, id))
		w.alarmed(t, w.feeder(0), Shrunk)
	})

	t.Run("of another history", func(t *testing.T) {
		made, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
			TreeType: trillian.TreeType_PREORDERED_LOG, TreeState: trillian.TreeState_ACTIVE, MaxRootDuration: durationpb.New(0),
		}}, admin, rpc)
		if err != nil {
			t.Fatal(err)
		}
		other := newWorld(t, conn, 3, 300)
		other.all(other.feeder(made.TreeId))
		w := newWorld(t, conn, 4, 300)
		w.alarmed(t, w.feeder(made.TreeId), Root)
		// Also where the other history is the longer one.
		other.play(100)
		other.all(other.feeder(made.TreeId))
		w = newWorld(t, conn, 5, 300)
		w.alarmed(t, w.feeder(made.TreeId), Proof)
	})

	t.Run("that has more than the mirror", func(t *testing.T) {
		w, f, id := fed(t)
		w.play(50)
		w.all(f)
		less := newWorld(t, conn, 2, 300) // the same house, seen earlier
		if r := refused(t, less.feeder(id).Once(ctx), Ahead); r.Alarm() {
			t.Error("that is no alarm")
		}
		less.play(50)
		less.all(less.feeder(id))
	})

	t.Run("with a tree that cannot be fed", func(t *testing.T) {
		made, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
			TreeType: trillian.TreeType_LOG, TreeState: trillian.TreeState_ACTIVE, MaxRootDuration: durationpb.New(0),
		}}, admin, rpc)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, conn, 2, 300)
		for _, id := range []int64{made.TreeId, 12345} {
			if r := refused(t, w.feeder(id).Once(ctx), Tree); r.Alarm() {
				t.Error("that is no alarm")
			}
		}
	})
}

// What is remembered is read back, and nothing else is taken for it.
func TestWhatIsRemembered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trillian")
	if s, err := readState(dir); err != nil || s != (state{}) {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
	want := state{Name: "countroom-0badf00d", Tree: 7, Size: 3, Root: strings.Repeat("ab", 32)}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	if s, err := readState(dir); err != nil || s != want {
		t.Errorf("%+v, %v", s, err)
	}
	for _, text := range []string{"", "{}{}", `{"size":1}`, `{"root":"ab"}`, `{"size":1,"root":"zz"}`, `{"tree":-1}`, `{"other":1}`} {
		if err := os.WriteFile(filepath.Join(dir, stateName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := readState(dir); err == nil {
			t.Errorf("%q was read: %+v", text, s)
		}
	}
}

func FuzzState(f *testing.F) {
	for _, s := range []state{{}, {Name: "x", Tree: 1}, {Tree: 1 << 62, Size: 1, Root: strings.Repeat("00", 32)}} {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, stateName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := readState(dir); err == nil && (s.Size > 0) != (len(s.hash()) == 32) {
			t.Fatalf("%+v", s)
		}
	})
}
