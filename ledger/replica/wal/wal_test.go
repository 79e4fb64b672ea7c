package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"countroom/ledger/replica/core"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

const testSegment = 4 << 10

func options(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "node/log", Origin: "house.example", Node: 7, SegmentBytes: testSegment}
}

func start() core.Start {
	return core.Start{Conf: core.Conf{State: &raftpb.ConfState{Voters: []uint64{7, 8, 9}}, Members: []byte("A B W")}}
}

func newLog(t testing.TB) (*Log, *vfs.MemFS) {
	t.Helper()
	fs := vfs.NewCrashableMem()
	check(t, errors.Join(fs.MkdirAll("node", 0o700), syncDir(fs, "/")))
	l, err := Create(options(fs), start())
	if err != nil {
		t.Fatal(err)
	}
	return l, fs
}

func reopen(t testing.TB, l *Log, fs vfs.FS) *Log {
	t.Helper()
	if l != nil {
		check(t, l.Close())
	}
	l, err := Open(options(fs))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func data(index, term uint64) []byte {
	return bytes.Repeat([]byte(fmt.Sprintf("%d/%d ", index, term)), 10+int(index%13))
}

func entries(term, from, to uint64) (es []*raftpb.Entry) {
	for i := from; i <= to; i++ {
		es = append(es, &raftpb.Entry{Index: new(i), Term: new(term), Type: raftpb.EntryNormal.Enum(), Data: data(i, term)})
	}
	return es
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

// want wants the log to hold exactly the entries from first on with these terms.
func want(t testing.TB, l *Log, first uint64, terms ...uint64) {
	t.Helper()
	f, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if f != first || last != first+uint64(len(terms))-1 {
		t.Fatalf("the log has entries %d to %d, want %d to %d", f, last, first, first+uint64(len(terms))-1)
	}
	if len(terms) == 0 {
		return
	}
	es, err := l.Entries(first, last+1, 1<<40)
	check(t, err)
	for i, e := range es {
		if e.GetIndex() != first+uint64(i) || e.GetTerm() != terms[i] || !bytes.Equal(e.Data, data(e.GetIndex(), terms[i])) {
			t.Fatalf("entry %d is %v, want term %d", first+uint64(i), e, terms[i])
		}
		if term, err := l.Term(e.GetIndex()); err != nil || term != terms[i] {
			t.Fatalf("Term(%d) is %d, %v, want %d", e.GetIndex(), term, err, terms[i])
		}
	}
}

func repeat(term uint64, n int) (ts []uint64) {
	for range n {
		ts = append(ts, term)
	}
	return ts
}

// What was saved is there after a restart, over many segments, and a range is read from the middle.
func TestSavedAndReadBack(t *testing.T) {
	l, fs := newLog(t)
	for i := uint64(1); i <= 300; i++ {
		check(t, l.Save(hard(1, 7, i-1), entries(1, i, i), true))
	}
	want(t, l, 1, repeat(1, 300)...)
	l = reopen(t, l, fs)
	want(t, l, 1, repeat(1, 300)...)
	if h := l.Hard(); h != (core.Hard{Term: 1, Vote: 7, Commit: 299}) {
		t.Fatalf("the hard state is %+v", h)
	}
	es, err := l.Entries(100, 200, 1000)
	check(t, err)
	if n := len(es); n == 0 || n > 20 || es[0].GetIndex() != 100 {
		t.Fatalf("Entries(100, 200, 1000) gave %d entries", n)
	}
	if _, err := l.Entries(300, 302, 1); !errors.Is(err, raft.ErrUnavailable) {
		t.Fatalf("beyond the end: %v", err)
	}
	if names, _ := fs.List("node/log"); len(names) < 8 {
		t.Fatalf("only %d segments", len(names))
	}
}

// A new leader's entries take the place of those that were never committed, also across segments, and what goes is shown
// before it goes.
func TestOverwritten(t *testing.T) {
	l, fs := newLog(t)
	check(t, l.Save(hard(1, 7, 0), entries(1, 1, 100), true))
	var gone []*raftpb.Entry
	l.OnOverwritten(func(es []*raftpb.Entry) error { gone = append(gone, es...); return nil })
	check(t, l.Save(hard(2, 8, 20), entries(2, 41, 50), true))
	if len(gone) != 60 || gone[0].GetIndex() != 41 || gone[0].GetTerm() != 1 || !bytes.Equal(gone[59].Data, data(100, 1)) {
		t.Fatalf("%d entries were shown", len(gone))
	}
	terms := append(repeat(1, 40), repeat(2, 10)...)
	want(t, l, 1, terms...)
	l = reopen(t, l, fs)
	want(t, l, 1, terms...)
	check(t, l.Save(nil, entries(3, 45, 46), true))
	want(t, l, 1, append(terms[:44:44], 3, 3)...)
	l = reopen(t, l, fs)
	want(t, l, 1, append(terms[:44:44], 3, 3)...)
}

func TestDropped(t *testing.T) {
	l, fs := newLog(t)
	check(t, l.Save(hard(1, 7, 90), entries(1, 1, 100), true))
	check(t, l.SaveConf(core.Conf{Index: 5, State: &raftpb.ConfState{Voters: []uint64{7, 8}}, Members: []byte("A B")}))
	before := l.Bytes()
	check(t, l.DropTo(80, 0))
	first, _ := l.FirstIndex()
	if first < 40 || first > 81 || l.Bytes() >= before {
		t.Fatalf("the log begins with entry %d", first)
	}
	if term, err := l.Term(first - 1); err != nil || term != 1 {
		t.Fatalf("the term before the first entry is %d, %v", term, err)
	}
	if _, err := l.Entries(first-1, first+1, 100); !errors.Is(err, raft.ErrCompacted) {
		t.Fatal(err)
	}
	want(t, l, first, repeat(1, int(101-first))...)
	l = reopen(t, l, fs)
	want(t, l, first, repeat(1, int(101-first))...)
	if err := l.Applied(first - 2); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a state that lacks what is dropped: %v", err)
	}
	if err := l.Applied(101); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a state ahead of the log: %v", err)
	}
	check(t, l.Applied(95))
	if h := l.Hard(); h.Commit != 95 {
		t.Fatalf("what is applied is committed, also where the commit index was lost: %+v", h)
	}
	if c := l.Conf(95); string(c.Members) != "A B" && first > 5 {
		// The newest configuration is in the head of each later segment.
		t.Fatalf("the configuration is %q", c.Members)
	}
}

// A log that begins anew after a state from elsewhere, and a crash in the middle of it.
func TestReset(t *testing.T) {
	l, fs := newLog(t)
	check(t, l.Save(hard(1, 7, 50), entries(1, 1, 60), true))
	next := core.Start{Index: 500, Term: 4, Hard: core.Hard{Term: 4, Vote: 0, Commit: 500}, Conf: core.Conf{Index: 400, State: &raftpb.ConfState{Voters: []uint64{7, 9}}}}
	check(t, l.Reset(next))
	want(t, l, 501)
	check(t, l.Save(hard(4, 0, 501), entries(4, 501, 530), true))
	l = reopen(t, l, fs)
	want(t, l, 501, repeat(4, 30)...)
	check(t, l.Close())

	// The old segments are still there beside the new.
	l, fs = newLog(t)
	check(t, l.Save(hard(1, 7, 50), entries(1, 1, 60), true))
	all := vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	left := fs.CrashClone(all)
	opt := options(left)
	names, _ := left.List("node/log")
	_, err := newSegment(opt, head(opt, uint64(len(names)+1), next), 0)
	check(t, err)
	l = reopen(t, nil, left)
	want(t, l, 501)
	if names, _ := left.List("node/log"); len(names) != 1 {
		t.Fatalf("left over: %q", names)
	}
}

// However the power is cut, what was synced is there, and of what was not a prefix.
func TestTornEnds(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		l, fs := newLog(t)
		var synced, tried []uint64 // terms
		term := uint64(1)
		for range rnd.IntN(60) {
			next := uint64(len(tried)) + 1
			if rnd.IntN(8) == 0 && len(tried) > 0 {
				term++
				next = 1 + uint64(rnd.IntN(len(tried)))
			}
			n := uint64(rnd.IntN(12))
			tried = append(tried[:next-1:next-1], repeat(term, int(n)+1)...)
			sync := rnd.IntN(4) != 0
			check(t, l.Save(hard(term, 7, 0), entries(term, next, next+n), sync))
			if sync {
				synced = slices.Clone(tried)
			}
		}
		left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rnd})
		l = reopen(t, nil, left)
		last, _ := l.LastIndex()
		var got []uint64
		if last > 0 {
			es, err := l.Entries(1, last+1, 1<<40)
			check(t, err)
			for _, e := range es {
				got = append(got, e.GetTerm())
				if !bytes.Equal(e.Data, data(e.GetIndex(), e.GetTerm())) {
					t.Fatalf("seed %d: entry %d is %q", seed, e.GetIndex(), e.Data)
				}
			}
		}
		// What was tried after the last sync may have replaced some of what was synced; what both have is there.
		for i := range min(len(synced), len(tried)) {
			if synced[i] != tried[i] {
				break
			}
			if i >= len(got) || got[i] != synced[i] {
				t.Fatalf("seed %d: entry %d was synced, the log has terms %v", seed, i+1, got)
			}
		}
		for _, term := range got {
			if term > l.Hard().Term+1 {
				t.Fatalf("seed %d: an entry of term %d, the node knows %d", seed, term, l.Hard().Term)
			}
		}
		check(t, l.Save(hard(99, 7, 0), entries(99, last+1, last+3), true))
		l = reopen(t, l, left)
		want(t, l, 1, append(got, 99, 99, 99)...)
	}
}

// Each bit of a log is turned in turn, and its end is cut off at each length: it is refused, or nothing is missing but
// what the very last write held, and no byte is changed when it is refused.
func TestEveryBit(t *testing.T) {
	l, fs := newLog(t)
	const n = 24
	for i := uint64(1); i <= n; i++ {
		check(t, l.Save(hard(1, 7, i-1), entries(1, i, i), true))
	}
	lastWrite := l.segs[len(l.segs)-1].end - uint32(headerBytes+24) - uint32(headerBytes+padded(entryBytes+len(data(n, 1))))
	check(t, l.Close())
	names, _ := fs.List("node/log")
	slices.Sort(names)
	count := map[string]int{}
	try := func(name string, content []byte, lastOnly bool) {
		left := vfs.NewMem()
		check(t, left.MkdirAll("node/log", 0o700))
		for _, other := range names {
			b := content
			if other != name {
				b = raw(t, fs, other)
			}
			put(t, left, other, b)
		}
		l, err := Open(options(left))
		if err != nil {
			count["refused"]++
			if got := raw(t, left, name); !bytes.Equal(got, content) {
				t.Fatalf("%s was refused and changed: %v", name, err)
			}
			return
		}
		defer l.Close()
		last, _ := l.LastIndex()
		if last == n {
			es, err := l.Entries(1, n+1, 1<<40)
			check(t, err)
			for i, e := range es {
				if !bytes.Equal(e.Data, data(uint64(i+1), 1)) {
					t.Fatalf("%s: entry %d is %q", name, i+1, e.Data)
				}
			}
			count["whole"]++
			return
		}
		if !lastOnly || last != n-1 {
			t.Fatalf("%s: the log ends at entry %d without an error", name, last)
		}
		count["without the last write"]++
	}
	for _, name := range names {
		content := raw(t, fs, name)
		end := len(bytes.TrimRight(content, "\x00"))
		for off := range end {
			for bit := range 8 {
				if off > 200 && (off*8+bit)%7 != 0 {
					continue // the data of entries is all alike
				}
				b := bytes.Clone(content)
				b[off] ^= 1 << bit
				try(name, b, name == names[len(names)-1] && off >= int(lastWrite))
			}
		}
		for cut := 0; cut < len(content); cut += 64 {
			try(name, bytes.Clone(content[:cut]), false)
		}
		try(name, nil, false)
	}
	for i := range names[:len(names)-1] {
		left := vfs.NewMem()
		check(t, left.MkdirAll("node/log", 0o700))
		for j, name := range names {
			if j != i {
				put(t, left, name, raw(t, fs, name))
			}
		}
		if l, err := Open(options(left)); err == nil && i > 0 {
			t.Fatalf("without %s: %v", names[i], l)
		}
	}
	t.Log(count)
	if count["refused"] < 100 || count["without the last write"] == 0 {
		t.Error("that was no damage")
	}
}

func raw(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	b, err := readAll(options(fs), name)
	check(t, err)
	return b
}

func put(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create("node/log/"+name, vfs.WriteCategoryUnspecified)
	check(t, err)
	_, err = f.Write(bytes.Clone(b))
	check(t, errors.Join(err, f.Close()))
}

func TestNotThisLog(t *testing.T) {
	l, fs := newLog(t)
	check(t, l.Close())
	for _, wrong := range []struct {
		change func(*Options)
		say    string
	}{
		{func(o *Options) { o.Origin = "other.example" }, `log of the house "house.example"`},
		{func(o *Options) { o.Node = 8 }, "each node has its own"},
	} {
		opt := options(fs)
		wrong.change(&opt)
		if _, err := Open(opt); err == nil || !strings.Contains(err.Error(), wrong.say) {
			t.Errorf("got %v, want %q", err, wrong.say)
		}
	}
	if _, err := Create(options(fs), start()); err == nil {
		t.Error("a log was made over another")
	}
	// A version from the future, whole.
	content := raw(t, fs, "0000000000000001.log")
	_, _, payload, err := parseRecord(content, 1, 0)
	check(t, err)
	payload = bytes.Clone(payload)
	payload[len(magic)]++
	put(t, fs, "0000000000000001.log", append(appendRecord(nil, 1, 0, 0, kindSegment, payload), make([]byte, 100)...))
	if _, err := Open(options(fs)); err == nil || !strings.Contains(err.Error(), "format version 2") {
		t.Errorf("a version from the future: %v", err)
	}
}

func FuzzSegment(f *testing.F) {
	l, fs := newLog(f)
	check(f, l.Save(hard(1, 7, 2), entries(1, 1, 3), true))
	check(f, l.SaveConf(start().Conf))
	check(f, l.Close())
	f.Add(raw(f, fs, "0000000000000001.log")[:900], uint8(0))
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, resum uint8) {
		content := append(bytes.Clone(b), make([]byte, max(0, testSegment-len(b)))...)
		if resum&1 != 0 { // with a checksum that holds, wherever the length says so
			if kind, _, payload, err := fixed(content); err == nil && kind != 0 {
				_, _ = parseSegmentHead(payload)
				_, _ = parseEntry(payload)
				_, _ = ParseConf(payload)
			}
		}
		fs := vfs.NewMem()
		check(t, fs.MkdirAll("node/log", 0o700))
		put(t, fs, "0000000000000001.log", content)
		if l, err := Open(options(fs)); err == nil {
			first, _ := l.FirstIndex()
			last, _ := l.LastIndex()
			if first <= last {
				if _, err := l.Entries(first, last+1, 1<<40); err != nil {
					t.Fatal(err)
				}
			}
			check(t, l.Close())
		}
	})
}

func fixed(content []byte) (byte, uint32, []byte, error) {
	n := int(le32(content))
	if n > len(content)-headerBytes {
		return 0, 0, nil, errRecord
	}
	content[5], content[6], content[7] = 0, 0, 0
	putLE32(content[12:], checksum(1, 0, content[:headerBytes], content[headerBytes:headerBytes+n]))
	return parseRecord(content, 1, 0)
}

func FuzzConf(f *testing.F) {
	f.Add(AppendConf(nil, start().Conf))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseConf(b); err == nil {
			if again, err := ParseConf(AppendConf(nil, c)); err != nil || again.Index != c.Index || !bytes.Equal(again.Members, c.Members) {
				t.Fatalf("%+v became %+v, %v", c, again, err)
			}
		}
	})
}
