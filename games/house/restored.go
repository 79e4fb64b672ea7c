package house

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/system"
)

// Restored is what a log that was restored from a back-up says of that in its
// first entries afterwards (system.HouseRestored).
type Restored struct {
	Backup [32]byte // digest of the back-up
	Size   uint64   // of the restored log
	Root   [32]byte
	Signed uint64 // largest size that is known to have been signed
	Words  string // of the operator: why
}

// vaultRestored is the row of the vault by which a restore tells the next start
// what to say. It goes in the commit of the entries that say it.
const vaultRestored = "vault/restored"

// NoteRestored returns the row of the vault that a restore has to add. The
// vault of the restored log is read through get; an error says that the key is
// not that vault's.
func NoteRestored(key [32]byte, get func(key []byte) ([]byte, error), r Restored) (row string, value []byte, err error) {
	v := newVault(key, Ratchet{})
	check, err := get([]byte(vaultCheck))
	if err != nil {
		return "", nil, err
	}
	if err := v.check(check); err != nil {
		return "", nil, err
	}
	plain, err := json.Marshal(r)
	if err != nil {
		return "", nil, err
	}
	return vaultRestored, v.seal(vaultRestored, plain), nil
}

// OpensVault tells whether a key of periods belongs to a vault, whose rows are read
// through get, or whether the vault's period is over. Without a key (nil) the vault
// must be of a house from before there were periods.
func OpensVault(oldest *Ratchet, get func(key []byte) ([]byte, error)) (over bool, err error) {
	for _, key := range []string{vaultPeriod, vaultRewrapping} {
		row, err := get([]byte(key))
		if err != nil {
			return false, err
		}
		if row == nil {
			continue
		}
		if oldest == nil {
			return false, errors.New("keys/vault-period.key is missing: restore the key file that belongs to this log, as it is now, or copy it from the other machine of the pair")
		}
		switch _, err := newVault([32]byte{}, *oldest).unwrap(key, row); {
		case errors.Is(err, ErrPeriodOver):
			over = true
		case err != nil:
			return false, fmt.Errorf("%w: %w", errPeriodKey, err)
		}
	}
	return over, nil
}

// check tells whether the vault's key is the one that the row vaultCheck was
// sealed with.
func (v *vault) check(row []byte) error {
	if row == nil {
		return errors.New("the vault of this log is missing")
	}
	if _, err := v.open(vaultCheck, row); err != nil {
		return fmt.Errorf("the vault key is not this house's: restore the key file that belongs to this log: %w", err)
	}
	return nil
}

// restored returns what a restore left to be said, nil when nothing.
func (h *House) restored(ctx context.Context) (*Restored, error) {
	var row *ledger.VaultRow
	err := h.ledger.View(ctx, func(rows book.Reader) error {
		row = book.Get[ledger.VaultRow](rows, vaultRestored)
		return nil
	})
	if err != nil || row == nil {
		return nil, err
	}
	plain, err := h.vault.open(vaultRestored, row.Value)
	if err != nil {
		return nil, err
	}
	r := new(Restored)
	if err := json.Unmarshal(plain, r); err != nil {
		return nil, fmt.Errorf("%s: %w", vaultRestored, err)
	}
	return r, nil
}

// noteRestored says it, right after the entry by which the process becomes
// active.
func (h *House) noteRestored(tx *ledger.Tx, r *Restored) error {
	commitment, key, sealed := h.reason(r.Words)
	_, err := tx.Append(&system.HouseRestored{
		Header: byHouse(), Backup: r.Backup, Reason: commitment, Root: r.Root, Signed: r.Signed, Size: r.Size,
	})
	tx.PutVault(key, sealed)
	tx.PutVault(vaultRestored, nil)
	return err
}
