package ledger

import (
	"bytes"
	"io"
	"testing"
)

// paper is a guard's file in memory.
type paper struct{ b []byte }

func (p *paper) ReadAt(b []byte, at int64) (int, error) {
	return bytes.NewReader(p.b).ReadAt(b, at)
}

func (p *paper) WriteAt(b []byte, at int64) (int, error) {
	if end := int(at) + len(b); end > len(p.b) {
		p.b = append(p.b, make([]byte, end-len(p.b))...)
	}
	return copy(p.b[at:], b), nil
}

func (*paper) Sync() error  { return nil }
func (*paper) Close() error { return nil }

var _ io.ReaderAt = (*paper)(nil)

// A guard's file is read or refused, whatever is in it. What is read was
// written, the newest of it that is whole, and nothing only where a slot was
// never used; and it goes on from there.
func FuzzGuardFile(f *testing.F) {
	var file paper
	g, err := NewGuard(&file, "o")
	if err != nil {
		f.Fatal(err)
	}
	blank := bytes.Clone(file.b)
	first, second := SignedHead{Term: 1, Size: 1, Root: [32]byte{1}}, SignedHead{Term: 2, Size: 1, Root: [32]byte{1}}
	if err := g.Allow(first, nil); err != nil {
		f.Fatal(err)
	}
	one := bytes.Clone(file.b)
	if err := g.Allow(second, nil); err != nil {
		f.Fatal(err)
	}
	two := bytes.Clone(file.b)
	whole := func(b []byte, slot int) bool {
		return bytes.Equal(b[slot*slotStride:][:slotBytes], two[slot*slotStride:][:slotBytes])
	}
	for _, b := range [][]byte{{}, blank, blank[:10], one, two, two[:slotStride], append(bytes.Clone(two), 1)} {
		f.Add(b)
	}
	for _, slots := range [][2]bool{{true, false}, {false, true}, {true, true}} {
		torn := bytes.Clone(two)
		for slot, hit := range slots {
			if hit {
				clear(torn[slot*slotStride+slotBytes-8:][:16])
			}
		}
		f.Add(torn)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file := &paper{bytes.Clone(b)}
		g, err := NewGuard(file, "o")
		if err != nil {
			return
		}
		switch last := g.Last(); {
		case len(b) < 2*slotStride:
			if last != (SignedHead{}) || !allZero(b) {
				t.Fatalf("%d bytes were read as %+v", len(b), last)
			}
		case last == second:
			if !whole(b, 1) {
				t.Fatal("a record that is not there was read")
			}
		case last == first:
			if !whole(b, 0) || whole(b, 1) {
				t.Fatal("not the newest record was read")
			}
		case last != (SignedHead{}):
			t.Fatalf("%+v was never written", last)
		case !allZero(b[:slotBytes]) && !allZero(b[slotStride:][:slotBytes]):
			t.Fatal("two damaged records were read as none")
		}
		next := g.Last()
		next.Term++
		if err := g.Allow(next, nil); err != nil {
			t.Fatalf("after %+v: %v", g.Last(), err)
		}
		again, err := NewGuard(file, "o")
		if err != nil || again.Last() != next {
			t.Fatalf("%+v was recorded, %+v read, %v", next, again.Last(), err)
		}
	})
}
