package appliance

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"countroom/games/house"
	"countroom/hardware/signer"
	"countroom/ledger"
	"countroom/ledger/backup"
	"countroom/ledger/entry"
	ledgerkeys "countroom/ledger/keys"
	"countroom/ledger/store"
	"countroom/ledger/store/pebble"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"

	"golang.org/x/mod/sumdb/note"
)

// ErrRollback says that the house signed more than a back-up has.
var ErrRollback = errors.New("restoring this back-up rolls the log back")

// Restoration is what a house is restored from.
type Restoration struct {
	// Dir becomes the data directory. It may hold what is not in a back-up (keys,
	// credentials, origin, log.vkey, guard, a socket) and nothing else.
	Dir string
	// Keys is a directory to copy the keys in files from; "": they are in Dir/keys.
	Keys string
	// KeyURIs say where the keys are that are not in Dir/keys.
	KeyURIs KeyURIs
	// Backups are a whole back-up and those that continue it, in order.
	Backups []io.Reader
	// Known are answers and checkpoints of the house that somebody kept.
	Known []verify.Known
	// Rollback are the operator's words for restoring a back-up although the house
	// is known to have signed more; "": it is not restored.
	Rollback string
	Log      *slog.Logger
}

// RestoredHouse is what a restoration came to.
type RestoredHouse struct {
	backup.Summary
	Head   tlog.Checkpoint
	Last   entry.Time // of the last entry
	Signed uint64     // largest size that is known to have been signed
	// Over says that the vault is of a period that is over: what it has about players
	// does not open any more.
	Over bool

	head store.Head
	vkey string // that the house signs with from now on
}

// files are the names of the keys that are files in keys/.
func (u KeyURIs) files() (names []string) {
	for _, k := range []struct{ uri, file string }{{u.Checkpoint, "checkpoint.pem"}, {u.Seeds, "seeds.pem"}, {u.Exports, "exports.pem"}, {u.Seal, "seal.key"}} {
		if k.uri == "" {
			names = append(names, k.file)
		}
	}
	return append(names, "token.key", "vault.key")
}

// Restore makes a data directory of back-ups and keys. Everything is built and
// checked in a directory beside the final place and moved there at the end, the
// store last: without a store nothing starts on the guard's record.
func Restore(ctx context.Context, r Restoration) (done RestoredHouse, err error) {
	if r.Log == nil {
		r.Log = slog.Default()
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return done, err
	}
	present, err := vacant(r.Dir)
	if err != nil {
		return done, err
	}
	scratch, err := os.MkdirTemp(r.Dir, scratchPrefix)
	if err != nil {
		return done, err
	}
	defer os.RemoveAll(scratch)

	keyDir := filepath.Join(r.Dir, "keys")
	var packed []byte // the ring of keys that are copied
	if r.Keys != "" {
		if slices.Contains(present, "keys") {
			return done, fmt.Errorf("%s is there already: expected no other directory of keys", keyDir)
		}
		if keyDir, packed, err = copyKeys(r.Keys, scratch, r.KeyURIs.files()); err != nil {
			return done, err
		}
	}
	k, err := openKeys(ctx, disk{}, r.KeyURIs.in(filepath.Dir(keyDir)), keyDir, true)
	if err != nil {
		return done, fmt.Errorf("the house's keys are not in its back-up: %w", err)
	}
	defer func() { err = errors.Join(err, k.close(ctx)) }()
	in, origin, at, guarded, err := r.open(ctx, &k, filepath.Dir(keyDir), slices.Contains(present, "guard"))
	if err != nil {
		return done, err
	}
	if slices.Contains(present, "origin") {
		if _, err := openOrigin(disk{}, r.Dir, origin, true); err != nil {
			return done, err
		}
	}
	done.Head, done.Signed = in.Head(), in.Head().Size
	for _, s := range in.Beyond() {
		done.Signed = max(done.Signed, s.Head.Size)
		if r.Rollback == "" {
			return done, fmt.Errorf("%w: it ends at size %d, and %s, which the house signed afterwards", ErrRollback, done.Head.Size, told(s, done.Head.Size))
		}
	}
	if err := r.build(ctx, scratch, in, &k, at, &done); err != nil {
		return done, err
	}
	if !guarded {
		if err := beginGuard(filepath.Join(scratch, "guard"), origin, done.head); err != nil {
			return done, err
		}
	}
	if packed != nil { // as it is in its final place
		b, err := ringAt(r.Dir, packed)
		if err == nil {
			err = disk{}.WriteFile(filepath.Join(scratch, ringName), b)
		}
		if err != nil {
			return done, err
		}
	}
	return done, place(scratch, r.Dir, origin, done.vkey)
}

// beginGuard begins a guard's record with a head that is signed already.
func beginGuard(path, origin string, head store.Head) error {
	g, err := ledger.OpenGuard(path, origin)
	if err != nil {
		return err
	}
	return errors.Join(g.Allow(ledger.SignedHead{Term: head.Term, Size: head.Size, Root: head.Root}, nil), g.Close())
}

const scratchPrefix = ".restore-"

// vacant says what of a house's own is in a directory, and that nothing else is.
func vacant(dir string) (present []string, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		name := e.Name()
		switch {
		case name == "store":
			return nil, fmt.Errorf("%s holds a house already: expected a directory without a store", dir)
		case strings.HasPrefix(name, scratchPrefix):
			return nil, fmt.Errorf("%s: of a restore that is under way or was interrupted: remove it if none is", filepath.Join(dir, name))
		case !slices.Contains([]string{"keys", "credentials", "guard", "origin", "log.vkey", "control.sock"}, name):
			return nil, fmt.Errorf("%s: expected an empty directory, or one with a house's keys, credentials, guard, origin and log.vkey", filepath.Join(dir, name))
		}
		present = append(present, name)
	}
	return present, nil
}

// copyKeys copies the keys of a house, and those of its ring. The ring is returned
// as for another directory, nil where there is none.
func copyKeys(from, scratch string, names []string) (dir string, packed []byte, err error) {
	dir = filepath.Join(scratch, "keys")
	if err := (disk{}).MkdirAll(dir); err != nil {
		return "", nil, err
	}
	packed, held, err := ringIn(from)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", filepath.Join(from, "ring"), err)
	}
	for _, name := range held {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range append(names, vaultPeriodKey) {
		b, err := disk{}.ReadPrivate(filepath.Join(from, name))
		if name == vaultPeriodKey && errors.Is(err, fs.ErrNotExist) {
			continue // whether there must be one the vault tells
		}
		if err == nil {
			err = disk{}.CreatePrivate(filepath.Join(dir, name), b)
		}
		if err != nil {
			return "", nil, fmt.Errorf("the house's keys are not in its back-up: %w", err)
		}
	}
	if packed != nil {
		b, err := ringAt(scratch, packed)
		if err == nil {
			err = disk{}.WriteFile(filepath.Join(dir, "ring"), b)
		}
		if err != nil {
			return "", nil, err
		}
	}
	return dir, packed, nil
}

// ringIn reads the ring among keys that were kept elsewhere, and names the files
// beside it that it is about. What is in a file that is not there may be retired and gone.
func ringIn(dir string) (packed []byte, held []string, err error) {
	b, err := disk{}.ReadFile(filepath.Join(dir, "ring"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	list, err := parseRing(b)
	if err != nil {
		return nil, nil, err
	}
	for _, k := range list {
		if signer.InFile(k.uri) {
			path, passphrase, err := signer.File(k.uri)
			if err != nil {
				return nil, nil, err
			}
			name := filepath.Base(path)
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				held = append(held, name)
				k.uri = signer.InFileAt("keys/"+name, passphrase)
			}
		}
		packed = append(packed, k.Role+" "+k.uri+"\n"...)
	}
	return packed, held, nil
}

// open reads the back-ups' headers and holds them against the checkpoint keys
// and what is known to be signed. It returns all keys at hand, those of the ring in
// the directory among them, and reports whether the guard that is present has a record.
func (r *Restoration) open(ctx context.Context, k *keys, dir string, guard bool) (in *backup.Verified, origin string, at []system.Key, guarded bool, err error) {
	var streams []*backup.Reader
	for i, b := range r.Backups {
		s, err := backup.NewReader(bufio.NewReaderSize(b, 1<<20))
		if err != nil {
			return nil, "", nil, false, fmt.Errorf("back-up %d: %w", i+1, err)
		}
		streams = append(streams, s)
	}
	if len(streams) == 0 {
		return nil, "", nil, false, errors.New("expected a back-up")
	}
	if from := streams[0].From(); from != 0 {
		return nil, "", nil, false, fmt.Errorf("back-up 1 begins at size %d: expected the back-up that it continues before it", from)
	}
	first, _, _ := bytes.Cut(streams[0].Checkpoint, []byte("\n"))
	origin = string(first)
	if at, err = k.public(origin); err != nil {
		return nil, "", nil, false, err
	}
	var more ring
	if err := more.open(ctx, disk{}, dir, origin, k, r.Log); err != nil {
		return nil, "", nil, false, err
	}
	at, _ = more.all(k, at)
	var by []note.Verifier
	for _, key := range at {
		if key.Role != system.RoleCheckpoint {
			continue
		}
		v, err := tlog.NewVerifier(key.Public)
		if err != nil {
			return nil, "", nil, false, err
		}
		by = append(by, v)
	}
	var known []backup.Statement
	for _, f := range r.Known {
		if known, err = statements(known, f, by, at); err != nil {
			return nil, "", nil, false, err
		}
	}
	if guard {
		s, err := guarding(filepath.Join(r.Dir, "guard"), origin)
		if err != nil {
			return nil, "", nil, false, err
		}
		known, guarded = append(known, s...), len(s) > 0
	}
	if in, err = backup.Verify(by, known, streams...); errors.Is(err, tlog.ErrSignature) {
		err = fmt.Errorf("keys/checkpoint.pem is not the key of this back-up, or its checkpoint was changed: %w", err)
	}
	if err == nil && guarded {
		for _, s := range in.Beyond() {
			if s.Name == guardName {
				return nil, "", nil, false, fmt.Errorf("%w: %s is of size %d, the back-up ends at size %d; the guard lets no shorter log be signed here", ErrRollback, s.Name, s.Head.Size, in.Head().Size)
			}
		}
	}
	return in, origin, at, guarded, err
}

// statements reads a saved answer or checkpoint.
func statements(list []backup.Statement, f verify.Known, by []note.Verifier, at []system.Key) ([]backup.Statement, error) {
	if text := bytes.TrimLeft(f.Data, " \t\r\n"); len(text) == 0 || text[0] != '{' && text[0] != '[' {
		c, err := backup.Open(f.Data, by)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		return append(list, backup.Statement{Name: f.Name, Head: c}), nil
	}
	var proofs []verify.Proof
	var err error
	for _, key := range at {
		if key.Role == system.RoleCheckpoint {
			if proofs, err = verify.Receipt(f.Data, key.Public); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	for _, p := range proofs {
		list = append(list, backup.Statement{Name: f.Name, Head: p.Checkpoint, Leaf: true, Index: p.Index, Hash: tlog.LeafHash(p.Leaf)})
	}
	return list, nil
}

const guardName = "the guard's record"

// guarding is what a guard's record says was signed.
func guarding(path, origin string) ([]backup.Statement, error) {
	g, err := ledger.OpenGuard(path, origin)
	if err != nil {
		return nil, err
	}
	last := g.Last()
	if err := g.Close(); err != nil || last.Size == 0 {
		return nil, err
	}
	return []backup.Statement{{Name: guardName, Head: tlog.Checkpoint{Origin: origin, Size: last.Size, Root: last.Root}}}, nil
}

// told puts into words what was signed after a size.
func told(s backup.Statement, size uint64) string {
	if s.Leaf && s.Index >= size {
		return fmt.Sprintf("%s is a receipt of entry %d", s.Name, s.Index)
	}
	return fmt.Sprintf("%s has a checkpoint of size %d", s.Name, s.Head.Size)
}

// build makes the store in a scratch directory.
func (r *Restoration) build(ctx context.Context, scratch string, in *backup.Verified, k *keys, at []system.Key, done *RestoredHouse) (err error) {
	st, err := pebble.Open(filepath.Join(scratch, "store"), pebble.Options{Create: true, Logger: r.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	words := r.Rollback
	if words == "" {
		words = "nothing signed later was known"
	}
	done.Summary, err = backup.Restore(ctx, st, house.Books(), in, func(sum backup.Summary) ([]store.Row, error) {
		if done.vkey, err = own(st, at, in.Checkpoint()); err != nil {
			return nil, err
		}
		if done.Over, err = house.OpensVault(k.oldest, st.Vault); err != nil {
			return nil, err
		}
		row, value, err := house.NoteRestored(k.vault, st.Vault, house.Restored{
			Backup: sum.Digest, Size: done.Head.Size, Root: done.Head.Root, Signed: done.Signed, Words: words,
		})
		return []store.Row{{Key: []byte(row), Value: value}}, err
	})
	if err != nil {
		return err
	}
	leaf, err := st.Leaf(done.Head.Size - 1)
	if err != nil {
		return err
	}
	last, err := house.Books().Decode(leaf)
	if err != nil {
		return err
	}
	done.Last = last.Head().At
	done.head = st.Head()
	return nil
}

// own holds the keys at hand against those that a log has in force, by its books,
// and its checkpoint against the ones for checkpoints. It returns the newest of them.
func own(st store.Getter, at []system.Key, checkpoint []byte) (vkey string, err error) {
	b, err := st.Row([]byte(ledgerkeys.RingKey))
	if err != nil {
		return "", err
	}
	row, err := house.Books().Kinds.Decode(ledgerkeys.RingKey, b)
	if err != nil {
		return "", fmt.Errorf("the keys in the back-up: %w", err)
	}
	for _, k := range row.(*ledgerkeys.Ring).Keys {
		if k.Retired != 0 {
			continue
		}
		if !slices.Contains(at, system.Key{Algorithm: k.Algorithm, Assurance: k.Assurance, Public: k.Public, Role: k.Role}) {
			return "", fmt.Errorf("the %s key %s, which is in force in the back-up, is not at hand", k.Role, k.Public)
		}
		if k.Role != system.RoleCheckpoint {
			continue
		}
		vkey = k.Public
		v, err := tlog.NewVerifier(vkey)
		if err == nil {
			_, err = tlog.Open(checkpoint, v)
		}
		if err != nil {
			return "", fmt.Errorf("the back-up's last checkpoint is not signed by a key that its log has in force: %w", err)
		}
	}
	return vkey, nil
}

// place moves what was built to where a house is started from.
func place(scratch, dir, origin, vkey string) error {
	if err := (disk{}).WriteFile(filepath.Join(dir, "log.vkey"), []byte(vkey+"\n")); err != nil {
		return err
	}
	if err := (disk{}).WriteFile(filepath.Join(dir, "origin"), []byte(origin+"\n")); err != nil {
		return err
	}
	for _, name := range []string{"keys", "guard", "store"} {
		err := os.Rename(filepath.Join(scratch, name), filepath.Join(dir, name))
		if name != "store" && errors.Is(err, os.ErrNotExist) {
			continue // it was in its place before
		}
		if err == nil {
			err = syncDir(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
