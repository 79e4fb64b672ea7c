package worlds

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"countroom/cmd/appliance"
	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/officers"
	"countroom/ledger/store"
)

// Where the keys of the vault are.
const (
	vaultKeyName  = houseDir + "/keys/vault.key"
	periodKeyName = houseDir + "/keys/vault-period.key"
)

// vaultReader opens the rows of a vault with what is on the disk, and as
// docs/formats/vault.md says: with nothing that a house has in memory.
type vaultReader struct {
	vault  [32]byte
	oldest house.Ratchet
	rows   map[string][]byte
}

func readVault(d disk, s store.Reader) (v vaultReader, err error) {
	key, err := hex.DecodeString(strings.TrimSpace(string(content(d.small, vaultKeyName))))
	if err != nil || len(key) != len(v.vault) {
		return v, fmt.Errorf("%s: %d bytes, %w", vaultKeyName, len(key), err)
	}
	v.vault = [32]byte(key)
	if v.oldest, err = house.ParseRatchet(content(d.small, periodKeyName)); err != nil {
		return v, fmt.Errorf("%s: %w", periodKeyName, err)
	}
	v.rows = map[string][]byte{}
	return v, s.ScanVault(nil, func(r store.Row) error {
		v.rows[string(r.Key)] = bytes.Clone(r.Value)
		return nil
	})
}

func keyed(key [32]byte, text string) [32]byte {
	m := hmac.New(sha256.New, key[:])
	m.Write([]byte(text))
	return [32]byte(m.Sum(nil))
}

func (v *vaultReader) mac(kind, about string) string {
	sum := keyed(keyed(v.vault, "countroom/vault/names/v1"), kind+"\x00"+about)
	return hex.EncodeToString(sum[:16])
}

// sealed opens a row under a key.
func (v *vaultReader) sealed(key [32]byte, name string, row []byte) ([]byte, error) {
	block, err := aes.NewCipher(key[:])
	must(err)
	aead, err := cipher.NewGCM(block)
	must(err)
	if len(row) < aead.NonceSize() {
		return nil, fmt.Errorf("%s has %d bytes", name, len(row))
	}
	plain, err := aead.Open(nil, row[:aead.NonceSize()], row[aead.NonceSize():], []byte(name))
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return plain, err
}

// wrapped opens a row under the key of the period that it says.
func (v *vaultReader) wrapped(name string) ([]byte, error) {
	row := v.rows[name]
	if len(row) < 4 {
		return nil, fmt.Errorf("%s has %d bytes", name, len(row))
	}
	r, err := v.oldest.At(uint64(binary.BigEndian.Uint32(row)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v.sealed(keyed(r.Key, "countroom/vault/wrapping/v1"), name, row[4:])
}

// person opens what there is of a player: his own key, and by it his id, which must
// lead to him.
func (v *vaultReader) person(ref entry.Ref) (own [32]byte, id string, err error) {
	key, err := v.wrapped("vault/subject/" + v.mac("subject", ref.String()))
	if err != nil || len(key) != len(own) {
		return own, "", fmt.Errorf("his key has %d bytes: %w", len(key), err)
	}
	own = [32]byte(key)
	name := "vault/player/" + v.mac("player", ref.String())
	plain, err := v.sealed(own, name, v.rows[name])
	if err != nil {
		return own, "", err
	}
	back, err := v.wrapped("vault/player-id/" + v.mac("player-id", string(plain)))
	if err == nil && string(back) != string(ref[:]) {
		err = fmt.Errorf("his id %q leads to %x", plain, back)
	}
	return own, string(plain), err
}

// salted opens a row of a player that the log has a commitment to.
func (v *vaultReader) salted(own [32]byte, row string) (salt [32]byte, text string, err error) {
	plain, err := v.sealed(own, row, v.rows[row])
	if err == nil && len(plain) < len(salt) {
		err = fmt.Errorf("%s: %d bytes", row, len(plain))
	}
	if err != nil {
		return salt, "", err
	}
	return [32]byte(plain), string(plain[len(salt):]), nil
}

// everybodyIsKnown wants each player of the log, and all that was recorded and said
// of him, to open with the keys that are on the disk, and nothing to be left of those
// whom two officers erased.
func everybodyIsKnown(l *finalLog, e *evidence, v *vaultReader) *violation {
	gone := map[entry.Ref]int{}
	for i, r := range l.records {
		if r, ok := r.(*subjects.Erased); ok {
			gone[r.Player] = i
		}
	}
	named := map[entry.Ref]string{}
	for _, cmd := range e.commands {
		if cmd.kind == "create" && cmd.accepted != nil {
			named[cmd.accepted.record.(*players.Created).Player] = cmd.client.player
		}
	}
	keys := map[entry.Ref][32]byte{}
	for i, r := range l.records {
		var ref entry.Ref
		var err error
		switch r := r.(type) {
		case *players.Created:
			ref = r.Player
			if at, erased := gone[ref]; erased {
				who := v.mac("subject", ref.String())
				for name := range v.rows {
					if strings.Contains(name, who) || name == "vault/player/"+v.mac("player", ref.String()) || name == "vault/player-id/"+v.mac("player-id", boardsPlayer) {
						return broken(lawVault, "player %s was erased by entry %d, and the vault has %s", ref, at, name)
					}
				}
				continue
			}
			var id string
			keys[ref], id, err = v.person(ref)
			if want := named[ref]; err == nil && want != "" && id != want {
				err = fmt.Errorf("his id is %q, %q was created", id, want)
			}
		case *subjects.Recorded:
			ref = r.Player
			for _, a := range r.Attributes {
				if _, erased := gone[ref]; erased || err != nil {
					continue
				}
				var salt [32]byte
				var value string
				salt, value, err = v.salted(keys[ref], "vault/value/"+v.mac("subject", ref.String())+"/"+v.mac("value", string(a.Commitment[:])))
				if err == nil && subjects.Commit(a.Name, salt, value) != a.Commitment {
					err = fmt.Errorf("his %s is not the %q that was committed to", a.Name, value)
				}
			}
		case *players.StateChanged:
			ref = r.Player
			if _, erased := gone[ref]; erased {
				continue
			}
			var salt [32]byte
			var words string
			salt, words, err = v.salted(keys[ref], "vault/words/"+v.mac("subject", ref.String())+"/"+v.mac("reason", string(r.Reason[:])))
			if err == nil && entry.Commitment(salt, words) != r.Reason {
				err = fmt.Errorf("%q was not said about him", words)
			}
		}
		if err != nil {
			return broken(lawVault, "entry %d is about player %s, and that does not open with the keys that are on the disk: %v", i, ref, err)
		}
	}
	return nil
}

// forgets is what the board does in a world in which periods end: it has a player of
// its own recorded, and then erased.
var forgets = []struct {
	what string
	do   func(h *house.House, req func(string) house.Request) (ledger.Receipt, error)
}{
	{"creates a player", func(h *house.House, req func(string) house.Request) (ledger.Receipt, error) {
		return h.CreatePlayer(context.Background(), req("/v1/players"), boardsPlayer, "EUR")
	}},
	{"records what is known of him", func(h *house.House, req func(string) house.Request) (ledger.Receipt, error) {
		return h.RecordSubject(context.Background(), req("/v1/players/"+boardsPlayer+"/subject"), boardsPlayer, []house.Attribute{{Name: "email", Value: "gone@example.org"}, {Name: "kyc", Value: "passed"}})
	}},
	{"closes his account", func(h *house.House, req func(string) house.Request) (ledger.Receipt, error) {
		return h.SetPlayerState(context.Background(), req("/v1/players/"+boardsPlayer+"/state"), boardsPlayer, players.Closed, "he wants to be forgotten")
	}},
	{"erases him", func(h *house.House, _ func(string) house.Request) (ledger.Receipt, error) {
		v, err := h.Subject(context.Background(), boardsPlayer)
		if errors.Is(err, players.ErrUnknownPlayer) {
			return ledger.Receipt{}, nil // the answer to the time before was lost
		}
		var r *subjects.Erased
		if err == nil {
			r, err = h.Erasure(context.Background(), v.Ref)
		}
		if err != nil {
			return ledger.Receipt{}, err
		}
		for _, name := range officerNames {
			r.Approvals = append(r.Approvals, officers.Approval{Officer: name, Signature: ed25519.Sign(officerKey(name), officers.Message(origin, r.Type(), r.Subject()))})
		}
		return h.Approve(context.Background(), r, house.Words{})
	}},
}

const boardsPlayer = "gone"

// forget is the next step of it.
func (b *board) forget() *motion {
	step := forgets[b.forgotten]
	req := func(path string) house.Request {
		return house.Request{Key: fmt.Sprint("forget ", b.forgotten), Method: "POST", Path: path, Principal: "operator", Body: []byte(step.what)}
	}
	return &motion{what: step.what, must: true, then: func() { b.forgotten++ }, do: func(a *appliance.Appliance) (ledger.Receipt, error) {
		return step.do(a.House, req)
	}}
}

// rash is a house that writes down the key of the next period, and gives up all before
// it, when it begins to wrap its players for that: not when all of them are.
type rash struct {
	*watchedStore
}

func (s rash) Commit(ctx context.Context, b *store.Batch) error {
	for _, row := range b.Vault {
		if string(row.Key) != "vault/rewrapping" || len(row.Value) < 4 {
			continue
		}
		oldest, err := house.ParseRatchet(content(s.p.disk.small, periodKeyName))
		must(err)
		next, err := oldest.At(uint64(binary.BigEndian.Uint32(row.Value)))
		must(err)
		if err := (files{s.p}).ReplacePrivate(periodKeyName, next.Text()); err != nil {
			return err
		}
	}
	return s.watchedStore.Commit(ctx, b)
}

// What a house cannot be made to do to its vault is done to one that a world left.
func TestFalseVaultsAreNoticed(t *testing.T) {
	o := run(t, erasedSeed, sabotage{})
	if o.violation != nil {
		t.Fatal(o.violation)
	}
	at := slices.IndexFunc(o.log.records, func(r entry.Record) bool { _, ok := r.(*subjects.Erased); return ok })
	if at < 0 {
		t.Fatal("nobody is erased in this world")
	}
	erased := o.log.records[at].(*subjects.Erased).Player
	one := func(v *vaultReader, kind string) string {
		for name := range v.rows {
			if strings.HasPrefix(name, "vault/"+kind+"/") {
				return name
			}
		}
		t.Fatalf("the vault has no row of kind %s", kind)
		return ""
	}
	if o.vault.oldest.Period == 0 {
		t.Error("no key was given up in this world")
	}
	for name, spoil := range map[string]func(v *vaultReader){
		"a key that was given up too early": func(v *vaultReader) {
			var err error
			v.oldest, err = v.oldest.At(v.oldest.Period + 2)
			must(err)
		},
		"a player's key is gone":                      func(v *vaultReader) { delete(v.rows, one(v, "subject")) },
		"an id leads to nobody":                       func(v *vaultReader) { delete(v.rows, one(v, "player-id")) },
		"a player has no id":                          func(v *vaultReader) { delete(v.rows, one(v, "player")) },
		"a value is gone":                             func(v *vaultReader) { delete(v.rows, one(v, "value")) },
		"a value was changed":                         func(v *vaultReader) { v.rows[one(v, "value")][20] ^= 1 },
		"words are gone":                              func(v *vaultReader) { delete(v.rows, one(v, "words")) },
		"who was erased has a key":                    func(v *vaultReader) { v.rows["vault/subject/"+v.mac("subject", erased.String())] = []byte("kept") },
		"who was erased has an id":                    func(v *vaultReader) { v.rows["vault/player-id/"+v.mac("player-id", boardsPlayer)] = []byte("kept") },
		"what was recorded of who was erased is kept": func(v *vaultReader) { v.rows["vault/value/"+v.mac("subject", erased.String())+"/00"] = []byte("kept") },
	} {
		v := o.vault
		v.rows = map[string][]byte{}
		for name, row := range o.vault.rows {
			v.rows[name] = bytes.Clone(row)
		}
		if got := everybodyIsKnown(o.log, o.evidence, &v); got != nil {
			t.Errorf("%s: before it is: %v", name, got)
		}
		spoil(&v)
		if got := everybodyIsKnown(o.log, o.evidence, &v); got == nil || got.law != lawVault {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// erasedSeed is of the first world in which periods end and somebody is erased.
const erasedSeed = 5
