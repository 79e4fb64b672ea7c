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

// follow goes from one checkpoint key to the next, by their signatures alone and
// whatever else is wrong with the log: so it is known whose log it is, and what
// is wrong with it is evidence.
func (r *replay) follow(index uint64, e entry.Record) {
	switch e := e.(type) {
	case *system.HouseCreated:
		for _, k := range e.Keys {
			if index == 0 && k.Role == system.RoleCheckpoint {
				r.chain = append(r.chain, keys.Key{Public: k.Public, Role: k.Role})
			}
		}
	case *keys.Introduced:
		if e.Role != system.RoleCheckpoint || slices.ContainsFunc(r.chain, func(k keys.Key) bool { return k.Public == e.Public }) {
			return
		}
		for _, k := range keys.InForce(r.chain, e.Role) {
			if by := e.CrossSigned(r.v.Name(), k.Public); by.Old && by.New {
				r.chain = append(r.chain, keys.Key{Introduced: index, Public: e.Public, Role: e.Role})
				return
			}
		}
	case *keys.Retired:
		if len(keys.InForce(r.chain, e.Role)) < 2 {
			return
		}
		for i := range r.chain {
			if k := &r.chain[i]; k.Public == e.Public && k.Retired == 0 {
				k.Retired = index
			}
		}
	}
}

// followLeaf does the same with an entry that was not read, since one before it
// in its bundle could not be.
func (r *replay) followLeaf(index uint64, leaf []byte) {
	if typ, err := entry.TypeOf(leaf); err == nil && strings.HasPrefix(typ, "key.") {
		if e, err := books.Decode(leaf); err == nil {
			r.follow(index, e)
		}
	}
}

// checkpointKeys are the verifiers of those checkpoint keys of the log that want
// says.
func (r *replay) checkpointKeys(want func(*keys.Key) bool) (list []note.Verifier) {
	for i := range r.chain {
		if v, err := tlog.NewVerifier(r.chain[i].Public); err == nil && v.Name() == r.v.Name() && want(&r.chain[i]) {
			list = append(list, v)
		}
	}
	return list
}

// signed holds the keys that the log leads to against the signatures of its
// checkpoint: all keys in force at its size sign it. It reports false when none
// of them does, and nor does the key that the log is checked by.
func (r *replay) signed(msg []byte, head tlog.Checkpoint) bool {
	ours := len(r.checkpointKeys(func(k *keys.Key) bool { return k.Public == r.opts.VKey })) > 0
	led := false
	var missing []Finding
	for _, v := range r.checkpointKeys(func(k *keys.Key) bool { return k.InForce(head.Size) }) {
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
		if len(r.chain) > 0 {
			first = r.chain[0].Public
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
		list := r.checkpointKeys(func(key *keys.Key) bool { return key.InForce(k.head.Size) })
		if slices.ContainsFunc(list, func(v note.Verifier) bool { _, err := tlog.Open(*k.note, v); return err == nil }) {
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
// log. Each new key is signed by the one before it, and a checkpoint that a key
// of the ring signs has each entry. What does not lead on from a key of the ring
// is passed over: it is from before that key. Nothing is asked of the house.
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
			if !slices.ContainsFunc(next, func(k ringKey) bool { by := e.CrossSigned(ring.origin, k.Public); return by.Old && by.New }) {
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
