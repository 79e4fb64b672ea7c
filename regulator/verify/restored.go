package verify

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"countroom/ledger/system"
)

// restore is what a house.restored says of the log before it.
type restore struct{ size, entry uint64 }

// restored holds what a house.restored says against the log, and tells of it: a
// house that went back to a back-up may have signed more than is there.
func (r *replay) restored(index uint64, e *system.HouseRestored, broken func(rule, expected, found string)) {
	switch active := r.active; {
	case active == nil || active.size+1 != index:
		broken("restored-first", "a house.active as the entry before it", "none")
		return
	case e.Root != active.root:
		broken("restored-root", hex.EncodeToString(active.root[:])+" of size "+strconv.FormatUint(active.size, 10), hex.EncodeToString(e.Root[:]))
	}
	r.restores = append(r.restores, restore{index - 1, index})
	lost := "nothing signed later is known in the log"
	if e.Signed > e.Size {
		lost = fmt.Sprintf("the house knew that it had signed size %d, and went back", e.Signed)
	}
	r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("entry %d: the log was restored from a back-up of size %d (digest %x): %s", index, e.Size, e.Backup, lost))
}

// mismatch is a finding about something that somebody kept.
type mismatch struct {
	kept
	Finding
}

// lost says that what is missing is the kept receipt's entry itself.
func (c *mismatch) lost(size uint64) bool {
	return c.leaf && (c.Rule == "receipt-leaf" || c.index >= size)
}

// settle reports the mismatches. Those that a restore gives the reason for
// are named as that, each receipt once: they are evidence all the same.
func (c *compare) settle(size uint64, restores []restore) {
	told := map[kept]bool{}
	for i := range c.mismatches {
		x := &c.mismatches[i]
		if !x.lost(size) {
			continue
		}
		if back := latest(restores, x.index); back != nil {
			told[x.kept] = true
			c.report.find(Finding{
				Index: x.index, Type: "receipt", Rule: "rolled-back",
				Expected: fmt.Sprintf("entry %d, as the house signed (%s)", x.index, x.name),
				Found:    fmt.Sprintf("the log was restored from a back-up at size %d by entry %d; this receipt's entry was signed and is not in it any more", back.size, back.entry),
			})
		}
	}
	for i := range c.mismatches {
		x := &c.mismatches[i]
		if told[x.kept] {
			continue
		}
		if back := latest(restores, x.head.Size-1); back != nil && x.Rule != "receipt-leaf" {
			x.Rule = "rolled-back"
			x.Found += fmt.Sprintf("; the log was restored from a back-up at size %d by entry %d, and what was signed after that is not in it any more", back.size, back.entry)
		}
		c.report.find(x.Finding)
	}
}

// latest returns the latest restore that an entry of an older history at an
// index cannot have survived, or nil.
func latest(restores []restore, index uint64) *restore {
	for i := len(restores) - 1; i >= 0; i-- {
		if restores[i].size <= index {
			return &restores[i]
		}
	}
	return nil
}
