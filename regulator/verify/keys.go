package verify

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"countroom/games/books"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"

	"golang.org/x/mod/sumdb/note"
)

// KeyUse is a key of the house as the log tells of it.
type KeyUse struct {
	Role       string `json:"role"`
	Algorithm  string `json:"algorithm"`
	Assurance  string `json:"assurance"`
	Demo       bool   `json:"demo"` // in a file: for demonstration and tests
	Public     string `json:"public"`
	Introduced uint64 `json:"introduced"`        // entry
	Retired    uint64 `json:"retired,omitempty"` // entry
}

// listKeys puts the keys of the log into the report.
func (r *replay) listKeys() {
	for _, k := range keys.List(r.rows) {
		r.report.Keys = append(r.report.Keys, KeyUse{
			Role: k.Role, Algorithm: k.Algorithm, Assurance: k.Assurance, Demo: k.Demo(), Public: k.Public, Introduced: k.Introduced, Retired: k.Retired,
		})
	}
}

// Chain are the checkpoint keys of a log, as its own entries lead from one to the
// next by their signatures alone, and whatever else is wrong with the log: so it
// is known whose log it is, and what is wrong with it is evidence.
type Chain struct {
	Origin string

	keys []keys.Key
}

// Entry takes the next entry along.
func (c *Chain) Entry(index uint64, e entry.Record) {
	switch e := e.(type) {
	case *system.HouseCreated:
		for _, k := range e.Keys {
			if index == 0 && k.Role == system.RoleCheckpoint && len(c.keys) == 0 {
				c.keys = append(c.keys, keys.Key{Public: k.Public, Role: k.Role})
			}
		}
	case *keys.Introduced:
		if e.Role != system.RoleCheckpoint || slices.ContainsFunc(c.keys, func(k keys.Key) bool { return k.Public == e.Public }) {
			return
		}
		for _, k := range keys.InForce(c.keys, e.Role) {
			if by := e.CrossSigned(c.Origin, k.Public); by.Old && by.New {
				c.keys = append(c.keys, keys.Key{Introduced: index, Public: e.Public, Role: e.Role})
				return
			}
		}
	case *keys.Retired:
		if len(keys.InForce(c.keys, e.Role)) < 2 {
			return
		}
		for i := range c.keys {
			if k := &c.keys[i]; k.Public == e.Public && k.Retired == 0 {
				k.Retired = index
			}
		}
	}
}

// Leaf does the same with an entry that need not be readable. Most leaves are
// none of its business, which it sees at their end.
func (c *Chain) Leaf(index uint64, leaf []byte) {
	if !Leads(index, leaf) {
		return
	}
	if e, err := books.Decode(leaf); err == nil {
		c.Entry(index, e)
	}
}

// Leads reports whether a leaf is one that a Chain looks into.
func Leads(index uint64, leaf []byte) bool {
	typ, err := entry.TypeOf(leaf)
	return err == nil && (strings.HasPrefix(typ, "key.") || index == 0)
}

// Clone returns a chain that goes on by itself.
func (c *Chain) Clone() *Chain { return &Chain{c.Origin, slices.Clone(c.keys)} }

// Has reports whether a verifier key is in the chain.
func (c *Chain) Has(vkey string) bool {
	return slices.ContainsFunc(c.keys, func(k keys.Key) bool { return k.Public == vkey })
}

// Retired reports whether the log took a key out of use.
func (c *Chain) Retired(vkey string) bool {
	return slices.ContainsFunc(c.keys, func(k keys.Key) bool { return k.Public == vkey && k.Retired != 0 })
}

// InForce returns the verifier keys that sign a checkpoint of a size.
func (c *Chain) InForce(size uint64) (vkeys []string) {
	for _, v := range c.verifiers(func(k *keys.Key) bool { return k.InForce(size) }) {
		vkeys = append(vkeys, v.key)
	}
	return vkeys
}

type chainKey struct {
	note.Verifier
	key string
}

// verifiers are those of the chain's keys that want says.
func (c *Chain) verifiers(want func(*keys.Key) bool) (list []chainKey) {
	for i := range c.keys {
		k := &c.keys[i]
		if v, err := tlog.NewVerifier(k.Public); err == nil && v.Name() == c.Origin && want(k) {
			list = append(list, chainKey{v, k.Public})
		}
	}
	return list
}

// signed holds the keys that the log leads to against the signatures of its
// checkpoint: all keys in force at its size sign it. It reports false when none
// of them does, and nor does the key that the log is checked by.
func (r *replay) signed(msg []byte, head tlog.Checkpoint) bool {
	ours := len(r.chain.verifiers(func(k *keys.Key) bool { return k.Public == r.opts.VKey })) > 0
	led := false
	var missing []Finding
	for _, v := range r.chain.verifiers(func(k *keys.Key) bool { return k.InForce(head.Size) }) {
		if _, err := tlog.Open(msg, v); err == nil {
			led = true
		} else {
			missing = append(missing, Finding{
				Index: head.Size, Type: "checkpoint", Rule: "checkpoint-signature",
				Expected: fmt.Sprintf("a signature of %s+%08x, which is in force at size %d", v.Name(), v.KeyHash(), head.Size), Found: err.Error(),
			})
		}
	}
	switch {
	case r.stranger != nil && !(ours && led):
		return false
	case r.unread: // perhaps it brought another key
	case !ours:
		first := "none"
		if len(r.chain.keys) > 0 {
			first = r.chain.keys[0].Public
		}
		r.report.find(Finding{Index: 0, Type: "house.created", Rule: "checkpoint-key", Expected: r.opts.VKey + ", in entry 0 or introduced later", Found: first})
	default:
		for _, f := range missing {
			r.report.find(f)
		}
	}
	r.stranger = nil
	return true
}

// unsigned is the report of a log that nobody vouches for: anybody could have
// made it, so nothing in it is evidence but that.
func (r *replay) unsigned() *Report {
	fresh := newReport()
	fresh.Origin = r.v.Name()
	fresh.find(Finding{
		Type: "checkpoint", Rule: "checkpoint-signature",
		Expected: fmt.Sprintf("a signature of %s+%08x, or of a key that the log leads to from there", r.v.Name(), r.v.KeyHash()), Found: r.stranger.Error(),
	})
	fresh.Unchecked = append(fresh.Unchecked, "the entries: no signed checkpoint says which they are")
	*r.report = *fresh
	return r.report
}

// vouch looks for the signatures of what was kept under other keys than the one
// at hand. What no key of the log vouches for is no evidence.
func (r *replay) vouch() (err error) {
	if r.compare == nil {
		return nil
	}
	for _, k := range r.kept {
		if k.note == nil {
			continue
		}
		list := r.chain.verifiers(func(key *keys.Key) bool { return key.InForce(k.head.Size) })
		if slices.ContainsFunc(list, func(v chainKey) bool { _, err := tlog.Open(*k.note, v); return err == nil }) {
			continue
		}
		r.compare.mismatches = slices.DeleteFunc(r.compare.mismatches, func(m mismatch) bool { return m.note == k.note })
		if err == nil {
			err = unchecked("%s proves nothing: no key that the log has in force at size %d signed it", k.name, k.head.Size)
		}
	}
	return err
}

// Keyring are the checkpoint keys of a log that are known to be its: one to
// begin with, and those that a history leads to from there.
type Keyring struct {
	origin string
	keys   []ringKey
}

type ringKey struct {
	keys.Key
	v note.Verifier
}

// NewKeyring returns the ring of one verifier key.
func NewKeyring(vkey string) (*Keyring, error) {
	v, err := tlog.NewVerifier(vkey)
	if err != nil {
		return nil, unchecked("%w", err)
	}
	return &Keyring{v.Name(), []ringKey{{keys.Key{Public: vkey, Role: system.RoleCheckpoint}, v}}}, nil
}

// Follow takes the history of a log's checkpoint keys: a saved answer with the
// key.introduced and key.retired entries and their receipts, in the order of the
// log. Each new key is signed by one that the history has not retired yet, and a
// checkpoint that a key of the ring signs has each entry. What does not lead on
// from a key of the ring is passed over: it is from before that key. Nothing is
// asked of the house.
func (ring *Keyring) Follow(history []byte) error {
	pairs, err := answers(history)
	if err != nil {
		return unchecked("history: %w", err)
	}
	next := slices.Clone(ring.keys)
	var used []answer
	for _, p := range pairs {
		record, err := books.Decode(p.leaf)
		if err != nil {
			return unchecked("history: entry %d: %w", p.receipt.Index, err)
		}
		switch e := record.(type) {
		case *keys.Introduced:
			if e.Role != system.RoleCheckpoint {
				return unchecked("history: entry %d introduces a key for %s: expected one for %s", p.receipt.Index, e.Role, system.RoleCheckpoint)
			}
			if i := slices.IndexFunc(next, func(k ringKey) bool { return k.Public == e.Public }); i >= 0 {
				next[i].Introduced = p.receipt.Index
				used = append(used, p)
				continue
			}
			if !slices.ContainsFunc(next, func(k ringKey) bool {
				if k.Retired != 0 {
					return false
				}
				by := e.CrossSigned(ring.origin, k.Public)
				return by.Old && by.New
			}) {
				continue
			}
			if err := keys.Check(e.Role, ring.origin, e.Public); err != nil {
				return unchecked("history: entry %d: %w", p.receipt.Index, err)
			}
			v, err := tlog.NewVerifier(e.Public)
			if err != nil {
				return unchecked("history: entry %d: %w", p.receipt.Index, err)
			}
			next = append(next, ringKey{keys.Key{Public: e.Public, Role: e.Role, Introduced: p.receipt.Index}, v})
			used = append(used, p)
		case *keys.Retired:
			if i := slices.IndexFunc(next, func(k ringKey) bool { return k.Public == e.Public }); i >= 0 {
				next[i].Retired = p.receipt.Index
				used = append(used, p)
			}
		default:
			return unchecked("history: entry %d is %s: expected key.introduced and key.retired", p.receipt.Index, record.Type())
		}
	}
	whole := &Keyring{ring.origin, next}
	for _, p := range used {
		if _, err := p.prove(whole); err != nil {
			return unchecked("history: %w", err)
		}
	}
	ring.keys = next
	return nil
}

// Signed wants a signature of a key of the ring that was in force under a checkpoint.
func (ring *Keyring) Signed(note []byte, head tlog.Checkpoint) error {
	return ring.signed(note, head, head.Size)
}

// signed looks for a signature of the ring under a checkpoint.
func (ring *Keyring) signed(msg []byte, head tlog.Checkpoint, index uint64) error {
	evidence := func(expected, found string) error {
		return &Finding{Index: index, Type: "receipt", Rule: "checkpoint-signature", Expected: expected, Found: found}
	}
	named := false
	var bad, retired error
	for _, k := range ring.keys {
		_, err := tlog.Open(msg, k.v)
		switch mentions, line := tlog.SignedUnder(msg, k.v); {
		case err == nil && k.InForce(head.Size):
			return nil
		case err == nil:
			retired = evidence("a signature of a key in force at size "+strconv.FormatUint(head.Size, 10), fmt.Sprintf("one of %s+%08x, which entry %d retired", k.v.Name(), k.v.KeyHash(), k.Retired))
		case !errors.Is(err, tlog.ErrSignature):
			return unchecked("receipt: %w", err)
		case line:
			bad = evidence(fmt.Sprintf("a signature of %s+%08x", k.v.Name(), k.v.KeyHash()), err.Error())
		default:
			named = named || mentions
		}
	}
	last := ring.keys[len(ring.keys)-1].v
	switch {
	case bad != nil:
		return bad
	case retired != nil:
		return retired
	case named:
		return unchecked("the receipt is signed by a key of %s that %08x does not vouch for: if the house exchanged its key since, give the history that leads from one to the other (what \"countroom keys list --history\" prints) as --history FILE, or get the new verifier key", last.Name(), last.KeyHash())
	}
	return evidence(fmt.Sprintf("a signature of %s+%08x", last.Name(), last.KeyHash()), "none of this name")
}
