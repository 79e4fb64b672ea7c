package verify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"countroom/ledger/entry"
	"countroom/ledger/tlog"
)

// Trust says whose cosignatures count, and how many a checkpoint must have. The
// zero value asks for none: a checkpoint is then the house's word alone.
type Trust struct {
	Witnesses []string // verifier keys (c2sp.org/tlog-cosignature)
	Quorum    int
}

// Cosigned is a witness's statement about a checkpoint.
type Cosigned struct {
	Witness string    `json:"witness"`
	At      time.Time `json:"at"`
}

// Cosignatures are those of one checkpoint.
type Cosignatures struct {
	Good   []Cosigned `json:"good"`        // of witnesses that count
	Others int        `json:"not_checked"` // lines that have the form of one, of whomever
}

func (t *Trust) cosigners() (all []*tlog.Cosigner, err error) {
	for _, vkey := range t.Witnesses {
		k, err := tlog.NewCosigner(vkey)
		if err != nil {
			return nil, unchecked("%w", err)
		}
		for _, other := range all {
			if slices.Equal(other.Public(), k.Public()) {
				return nil, unchecked("the witness key %s twice counts once", k.Name())
			}
		}
		all = append(all, k)
	}
	if t.Quorum < 0 || t.Quorum > len(all) {
		return nil, unchecked("a quorum of %d: expected at most the %d witnesses that count", t.Quorum, len(all))
	}
	return all, nil
}

// look checks the cosignatures of a checkpoint that the house signed. What is
// false about them is a *Finding; too few of them is an ErrUnchecked: the house
// may never have promised them, but nobody says that there is one history.
func (t *Trust) look(msg []byte, by []*tlog.Cosigner, size uint64) (c Cosignatures, err error) {
	c.Good = []Cosigned{}
	good, others, err := tlog.Cosigned(msg, by)
	switch {
	case errors.Is(err, tlog.ErrSignature):
		return c, &Finding{Index: size, Type: "checkpoint", Rule: "cosignature", Expected: "cosignatures by the witnesses that it names", Found: err.Error()}
	case err != nil:
		return c, unchecked("%w", err)
	}
	for _, s := range good {
		c.Good = append(c.Good, Cosigned{Witness: s.Name, At: s.At()})
	}
	c.Others = others
	if len(good) < t.Quorum {
		return c, unchecked("the checkpoint of size %d has %d of the %d cosignatures that are asked for: nobody but the house says that there is no other history", size, len(good), t.Quorum)
	}
	return c, nil
}

// clockSlack is how far the clocks of house and witness may be apart without a word.
const clockSlack = time.Minute

// early names the witnesses whose cosignature is older than an entry under it.
func (c *Cosignatures) early(at entry.Time) (warnings []string) {
	made := time.UnixMicro(int64(at))
	for _, s := range c.Good {
		if s.At.Add(clockSlack).Before(made) {
			warnings = append(warnings, fmt.Sprintf("%s cosigned at %s what the house says was made at %s: one of their clocks is wrong", s.Witness, s.At.Format(time.RFC3339), at))
		}
	}
	return warnings
}
