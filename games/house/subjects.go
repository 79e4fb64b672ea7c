package house

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/wallet"
)

// Refusals about what is known of players.
var (
	ErrAttributes = fmt.Errorf("a player has at most %d attributes", subjects.Most)
	ErrNotClosed  = errors.New("only a player whose account is closed can be erased")
	ErrNotEmpty   = errors.New("only a player whose account holds nothing can be erased")
)

// Attribute is what the house is told of a player under a name.
type Attribute struct{ Name, Value string }

// own opens the key of a player.
func (h *House) own(rows book.Reader, ref entry.Ref) (personal, error) {
	key := h.vault.subjectRow(ref)
	row := vaultRow(rows, key)
	switch {
	case row != nil:
		return h.vault.personal(key, row)
	case vaultRow(rows, vaultPeriod) == nil:
		return personal{}, ErrMoving
	}
	return personal{}, fmt.Errorf("%s: %w: it is not there", key, errVault)
}

// RecordSubject writes down attributes of a player: commitments in the log, values
// under his key in the vault.
func (h *House) RecordSubject(ctx context.Context, req Request, id string, list []Attribute) (ledger.Receipt, error) {
	ref, err := h.player(ctx, id)
	var own personal
	if err == nil {
		err = h.ledger.View(ctx, func(rows book.Reader) (err error) {
			if _, err = players.Present(rows, ref); err == nil {
				own, err = h.own(rows, ref)
			}
			return err
		})
	}
	if err != nil {
		return h.Refuse(ctx, req, nil, err)
	}
	for _, a := range list { // what no verifier would read
		if err := cmp.Or(subjects.CheckAttribute(a.Name), subjects.CheckValue(a.Value)); err != nil {
			return h.Refuse(ctx, req, nil, fmt.Errorf("%.64q: %w", a.Name, err))
		}
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Attribute) int { return cmp.Compare(a.Name, b.Name) })
	r := &subjects.Recorded{Player: ref}
	values := map[string][]byte{}
	for _, a := range list {
		salt := random[[32]byte]()
		commitment := subjects.Commit(a.Name, salt, a.Value)
		r.Attributes = append(r.Attributes, subjects.Value{Commitment: commitment, Name: a.Name})
		key := h.vault.valueRow(ref, commitment)
		values[key] = own.seal(key, append(salt[:], a.Value...))
	}
	return h.update(ctx, ledger.Command{Reads: []string{players.PlayerKey(ref), subjects.Key(ref)}, Request: req.entry(operatorScope), Run: func(tx *ledger.Tx) error {
		if _, err := players.Present(tx, ref); err != nil {
			return err
		}
		known := subjects.Find(tx, ref).Attributes
		more := len(known)
		for _, a := range list {
			if !slices.ContainsFunc(known, func(k subjects.Attribute) bool { return k.Name == a.Name }) {
				more++
			}
		}
		if more > subjects.Most {
			return ErrAttributes
		}
		for key, value := range values {
			tx.PutVault(key, value)
		}
		r.Header = byOperator()
		_, err := tx.Answer(r)
		return err
	}})
}

// What has become of a value that the log has a commitment to.
const (
	ValuePresent = "present" // it is in the vault, and is what was committed to
	ValueErased  = "erased"  // by two officers
	ValueMissing = "missing" // neither: somebody took it away, or it was lost
)

// Kept is a commitment of the log and what has become of its value.
type Kept struct {
	Player     entry.Ref
	Index      uint64 // of the entry that recorded it
	Attribute  string
	Commitment [32]byte
	State      string
	Erased     uint64   // index of the entry by which it was erased
	Salt       [32]byte // while it is present
	Value      string
	Why        error // it is missing
}

// look opens a value.
func (h *House) look(rows book.Reader, k *Kept) {
	if k.Erased = subjects.Find(rows, k.Player).Erased; k.Erased != 0 {
		k.State = ValueErased
		return
	}
	k.State = ValueMissing
	own, err := h.own(rows, k.Player)
	if err != nil {
		k.Why = err
		return
	}
	key := h.vault.valueRow(k.Player, k.Commitment)
	row := vaultRow(rows, key)
	if row == nil {
		k.Why = fmt.Errorf("%s: %w: it is not there", key, errVault)
		return
	}
	plain, err := own.open(key, row)
	if err == nil && len(plain) < len(k.Salt) {
		err = fmt.Errorf("%s: %w", key, errVault)
	}
	if err != nil {
		k.Why = err
		return
	}
	salt, value := [32]byte(plain), string(plain[len(k.Salt):])
	if subjects.Commit(k.Attribute, salt, value) != k.Commitment {
		k.Why = fmt.Errorf("%s: it is not what entry %d commits to", key, k.Index)
		return
	}
	k.State, k.Salt, k.Value = ValuePresent, salt, value
}

// SubjectView is what the house knows of a player.
type SubjectView struct {
	ID          string // "" of one who was erased
	Ref         entry.Ref
	Erased      uint64 // index of the entry that erased him, 0 if none did
	Commitments uint64 // with those whose place another took
	Attributes  []Kept // the latest of each
}

// Subject returns what the house knows of a player.
func (h *House) Subject(ctx context.Context, id string) (SubjectView, error) {
	ref, err := h.player(ctx, id)
	if err != nil {
		return SubjectView{}, err
	}
	v, err := h.SubjectOf(ctx, ref)
	v.ID = id
	return v, err
}

// SubjectOf returns it of a reference, which may be of a player who was erased.
func (h *House) SubjectOf(ctx context.Context, ref entry.Ref) (v SubjectView, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		if _, err := players.Find(rows, ref); err != nil {
			return err
		}
		s := subjects.Find(rows, ref)
		v = SubjectView{Ref: ref, Erased: s.Erased, Commitments: s.Commitments}
		for _, a := range s.Attributes {
			k := Kept{Player: ref, Index: a.Index, Attribute: a.Name, Commitment: a.Commitment}
			h.look(rows, &k)
			v.Attributes = append(v.Attributes, k)
		}
		return nil
	})
	return v, err
}

// Kept yields each commitment to something about a player, or about anybody where
// there is no reference, in the order of the log, and what has become of it.
func (h *House) Kept(ctx context.Context, ref entry.Ref, yield func(Kept) error) error {
	const step = 512
	var all []uint64
	for below := uint64(1 << 63); ; {
		found, err := h.ledger.Find(personOf, ref, below, step)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			break
		}
		all = append(all, found...)
		below = found[len(found)-1]
	}
	slices.Reverse(all)
	for some := range slices.Chunk(all, step) {
		var list []Kept
		err := h.ledger.Peek(func(d ledger.Durable) error {
			for _, index := range some {
				leaf, err := d.Leaf(index)
				if err != nil {
					return err
				}
				record, err := Books().Decode(leaf)
				if err != nil {
					return fmt.Errorf("entry %d: %w", index, err)
				}
				r, ok := record.(*subjects.Recorded)
				if !ok {
					continue
				}
				for _, a := range r.Attributes {
					k := Kept{Player: r.Player, Index: index, Attribute: a.Name, Commitment: a.Commitment}
					h.look(d, &k)
					list = append(list, k)
				}
			}
			return nil
		})
		// What was seen is shown only when the head that it was seen at is signed.
		if err == nil {
			err = h.ledger.View(ctx, func(book.Reader) error { return nil })
		}
		if err != nil {
			return err
		}
		for _, k := range list {
			if err := yield(k); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// Erasure is the entry that would erase a player, for officers to approve of. Where
// it would be refused today there is none.
func (h *House) Erasure(ctx context.Context, ref entry.Ref) (r *subjects.Erased, err error) {
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		p, err := players.Find(rows, ref)
		if err != nil {
			return err
		}
		s := subjects.Find(rows, ref)
		left := wallet.Balance(rows, wallet.Cash(ref), p.Currency)
		switch {
		case p.State == players.Erased:
			return fmt.Errorf("%w: by entry %d", players.ErrErased, s.Erased)
		case p.State != players.Closed:
			return fmt.Errorf("%w: it is %s", ErrNotClosed, p.State)
		case left != 0:
			return fmt.Errorf("%w: it has %s", ErrNotEmpty, money.Money{Amount: left, Currency: p.Currency}.Decimal())
		}
		r = &subjects.Erased{Commitments: s.Commitments, Player: ref}
		return nil
	})
	return r, err
}

// erase deletes all that the vault has about a player, in the commit of the entry
// that says so.
func (h *House) erase(ctx context.Context, r *subjects.Erased) (ledger.Receipt, error) {
	var id string
	gone := []string{h.vault.subjectRow(r.Player), h.vault.playerRow(r.Player)}
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		p, err := players.Find(rows, r.Player)
		if err != nil || p.State == players.Erased {
			return err // an approval that was handed in before is answered as it was
		}
		if p.State != players.Closed { // nothing may come after what is looked for here
			return ErrNotClosed
		}
		if vaultRow(rows, vaultPeriod) == nil {
			return ErrMoving
		}
		own, err := h.own(rows, r.Player)
		if err == nil {
			var plain []byte
			if plain, err = own.open(gone[1], vaultRow(rows, gone[1])); err == nil {
				id = string(plain)
				key := h.vault.idRow(id)
				row := vaultRow(rows, key)
				if owner, err := h.vault.ref(key, row); row != nil && (err != nil || owner == r.Player) { // not if another has it since
					gone = append(gone, key)
				}
			}
		}
		if err != nil { // what does not open can be deleted all the same
			h.cfg.Log.Warn("a player is erased whose id is not known any more", "player", r.Player, "error", err)
		}
		return nil
	})
	for _, prefix := range []string{h.vault.valuesOf(r.Player), h.vault.wordsOf(r.Player)} {
		if err == nil {
			err = h.ledger.Vault(prefix, func(key string, _ []byte) error { gone = append(gone, key); return nil })
		}
	}
	if err != nil {
		return ledger.Receipt{}, err
	}
	reads := []string{players.PlayerKey(r.Player), subjects.Key(r.Player), subjects.StateKey}
	receipt, err := h.approved(ctx, r, reads, func(tx *ledger.Tx) {
		for _, key := range gone {
			tx.PutVault(key, nil)
		}
	})
	h.erased.Add(1) // before it is dropped: who has just read it drops it again
	h.ids.drop(id)
	return receipt, err
}

// ParseRef reads a player's reference.
func ParseRef(s string) (ref entry.Ref, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(ref) {
		return ref, fmt.Errorf("%q: expected a player's reference, 32 hex digits", s)
	}
	return entry.Ref(b), nil
}
