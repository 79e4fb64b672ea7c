package house

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
)

// OweAlarm has the house write an alarm that no round led to: an honest house never has one of its own.
func (h *House) OweAlarm(ctx context.Context, a *monitor.Alarmed) error {
	return h.monitors.append(ctx, a.Game, a)
}

// FailSelfTest has the generator of draws fail its self-test, until undo.
func FailSelfTest(err error) (undo func()) {
	was := selfTest
	selfTest = func() error { return err }
	return func() { selfTest = was }
}

// MakeOlder puts the vault into the form that it had before each player had a key
// of his own.
func (h *House) MakeOlder(ctx context.Context) error {
	rows := map[string][]byte{vaultPeriod: nil}
	all := map[string][]byte{}
	if err := h.ledger.Vault("vault/", func(key string, value []byte) error { all[key] = bytes.Clone(value); return nil }); err != nil {
		return err
	}
	own := map[entry.Ref]personal{}
	for key, value := range all {
		if !strings.HasPrefix(key, "vault/player-id/") {
			continue
		}
		ref, err := h.vault.ref(key, value)
		if err != nil {
			return err
		}
		p, err := h.vault.personal(h.vault.subjectRow(ref), all[h.vault.subjectRow(ref)])
		if err != nil {
			return err
		}
		player := h.vault.playerRow(ref)
		id, err := p.open(player, all[player])
		if err != nil {
			return err
		}
		own[ref] = p
		rows[key], rows[player], rows[h.vault.subjectRow(ref)] = h.vault.seal(key, ref[:]), h.vault.seal(player, id), nil
	}
	err := h.ledger.Leaves(0, h.ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		var r players.StateChanged
		if entry.Decode(leaf, &r) != nil {
			return nil
		}
		key, older := h.vault.wordsRow(r.Player, r.Reason), h.vault.name("reason", string(r.Reason[:]))
		words, err := own[r.Player].open(key, all[key])
		rows[key], rows[older] = nil, h.vault.seal(older, words)
		return err
	})
	if err != nil {
		return err
	}
	_, err = h.ledger.Update(ctx, ledger.Command{Run: func(tx *ledger.Tx) error {
		for key, value := range rows {
			tx.PutVault(key, value)
		}
		return nil
	}})
	return err
}

// Words are what the operator said about a player, as they open.
func (h *House) Words(ref entry.Ref) (list []string, err error) {
	row := h.vault.subjectRow(ref)
	err = h.ledger.Peek(func(d ledger.Durable) error {
		own, err := h.vault.personal(row, vaultRow(d, row))
		if err != nil {
			return err
		}
		return h.ledger.Vault(h.vault.wordsOf(ref), func(key string, value []byte) error {
			words, err := own.open(key, value)
			if err == nil {
				list = append(list, string(words[32:]))
			}
			return err
		})
	})
	return list, err
}

// Reasons are the operator's words for each change of a player's state, in the order
// of the log: before they are moved under his key as well as after.
func (h *House) Reasons(ref entry.Ref) (list []string, err error) {
	var changes []players.StateChanged
	err = h.ledger.Leaves(0, h.ledger.Signed().Size, func(_ uint64, leaf []byte) error {
		var r players.StateChanged
		if entry.Decode(leaf, &r) == nil && r.Player == ref {
			changes = append(changes, r)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = h.ledger.Peek(func(d ledger.Durable) error {
		for _, r := range changes {
			key, older := h.vault.wordsRow(r.Player, r.Reason), h.vault.name("reason", string(r.Reason[:]))
			var words []byte
			if row := vaultRow(d, key); row == nil {
				words, err = h.vault.open(older, vaultRow(d, older))
			} else {
				var own personal
				if own, err = h.own(d, ref); err == nil {
					words, err = own.open(key, row)
				}
			}
			if err != nil {
				return err
			}
			salt, text := [32]byte(words), string(words[32:])
			if entry.Commitment(salt, text) != r.Reason {
				return fmt.Errorf("%q is not what the log commits to", text)
			}
			list = append(list, text)
		}
		return nil
	})
	return list, err
}

// Period is that of the vault, as the log has it.
func (h *House) Period(ctx context.Context) (n uint64) {
	if err := h.ledger.View(ctx, func(rows book.Reader) error { n = subjects.Now(rows).Period; return nil }); err != nil {
		panic(err)
	}
	return n
}

// BeginRewrap begins to wrap the vault anew, and leaves off after some rows.
func (h *House) BeginRewrap(ctx context.Context, some int) error {
	if err := h.vault.enter(h.Period(ctx) + 1); err != nil {
		return err
	}
	mark, err := h.vault.wrap(vaultRewrapping, []byte(h.cfg.Origin))
	if err != nil {
		return err
	}
	list := []exchange{{{vaultRewrapping, nil, mark}}}
	err = h.ledger.Vault("vault/subject/", func(key string, value []byte) error {
		plain, err := h.vault.unwrap(key, value)
		if err != nil || len(list) > some {
			return err
		}
		now, err := h.vault.wrap(key, plain)
		list = append(list, exchange{{key, bytes.Clone(value), now}})
		return err
	})
	if err != nil {
		return err
	}
	return h.exchange(ctx, list)
}

// OpenRows opens what a copy of the vault has of a player with the keys of now.
func (h *House) OpenRows(ctx context.Context, ref entry.Ref, rows map[string][]byte) error {
	key := h.vault.subjectRow(ref)
	own, err := h.vault.personal(key, rows[key])
	if err != nil {
		return err
	}
	for key, value := range rows {
		if strings.HasPrefix(key, h.vault.valuesOf(ref)) || key == h.vault.playerRow(ref) {
			if _, err := own.open(key, value); err != nil {
				return err
			}
		}
	}
	return nil
}
