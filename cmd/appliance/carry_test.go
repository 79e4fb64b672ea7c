package appliance

import (
	"bytes"
	"context"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/hardware/signer"
	"countroom/ledger/system"
)

// made is a key in a file, as a machine gives it to another.
func made(t testing.TB, dir string) (k carried, content []byte) {
	t.Helper()
	path := filepath.Join(dir, "seeds-2.pem")
	s, err := signer.Generate(context.Background(), "file:"+path, signer.ECDSAP256, signer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	public, err := publicOf("pair.example/log", s)
	if err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return carried{Public: public, Role: system.RoleSeeds, URI: "file:" + path}, content
}

// A machine takes what is sealed to it, of the key that it is said to be, and no
// more; what it took it has after a restart, and can prove it. A machine that lost
// what it had is given it again by itself.
func TestAMachineTakesAKey(t *testing.T) {
	a, b := newHalves(t)
	ctx := t.Context()
	k, content := made(t, t.TempDir())
	given := func(name string, k carried) []byte {
		sealed, err := hpke.Seal(b.seal.PublicKey(), joinKDF, joinAEAD, carryInfo("pair.example/log", name), content)
		if err != nil {
			t.Fatal(err)
		}
		k.Sealed = sealed
		body, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	other, _ := made(t, t.TempDir())
	for why, body := range map[string][]byte{"sealed": given("a", k), "is another key here": given("b", carried{Public: other.Public, Role: k.Role, URI: k.URI})} {
		if err := a.call(ctx, "b", "POST", "/pair/keys", body, nil); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("refused with %v, expected %q", err, why)
		}
	}
	if err := a.proven(ctx, "b", k.Role, k.Public); err == nil || !strings.Contains(err.Error(), house.ErrKeyAbsent.Error()) {
		t.Errorf("b proves a key that it was not given: %v", err)
	}
	for range 2 { // the second time it has it
		if err := a.call(ctx, "b", "POST", "/pair/keys", given("b", k), nil); err != nil {
			t.Fatal(err)
		}
		if err := a.proven(ctx, "b", k.Role, k.Public); err != nil {
			t.Error(err)
		}
	}
	lines, err := os.ReadFile(filepath.Join(b.dir, "keys", "ring"))
	if err != nil || bytes.Count(lines, []byte("\n")) != 1 || bytes.Contains(lines, []byte(k.URI)) {
		t.Errorf("b's ring: %q, %v", lines, err)
	}

	mine, err := a.now().PutKey(ctx, system.RoleExports, "file:"+filepath.Join(a.dir, "keys", "exports-2.pem"), true)
	if err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	_, err = a.now().PutKey(ctx, system.RoleExports, "file:"+filepath.Join(a.dir, "keys", "exports-3.pem"), true)
	var lack *lacks
	if !errors.As(err, &lack) || lack.name != "b" || !errors.Is(err, house.ErrKeyAbsent) {
		t.Errorf("with b away: %v", err)
	}
	if _, err := os.Stat(filepath.Join(a.dir, "keys", "exports-3.pem")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made that b could not be given: %v", err)
	}
	if err := os.Remove(filepath.Join(b.dir, "keys", "ring")); err != nil { // a disk that was put back
		t.Fatal(err)
	}
	b.start(t)
	await(t, "b is given its key again", func() bool { return a.proven(ctx, "b", system.RoleExports, mine.Public) == nil })
}

// What a machine has in files it gives to one that joins, wherever they are, and
// the names are those of the other's directory.
func TestTheRingJoins(t *testing.T) {
	dir, away, joined := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	k, content := made(t, away)
	ring := "seeds file:" + dir + "/keys/seeds-3.pem?passphrase-file=/etc/pass\n" + "exports pkcs11:token=house;object=exports\n" + "seeds " + k.URI + "\n"
	files := map[string][]byte{ringName: []byte(ring)}
	if err := packRing(dir, files); err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 {
		t.Fatalf("%d files", len(files))
	}
	b, err := ringAt(joined, files[ringName])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	if lines[0] != "seeds file:"+joined+"/keys/seeds-3.pem?passphrase-file=/etc/pass" || lines[1] != "exports pkcs11:token=house;object=exports" {
		t.Errorf("the ring of the machine that joined:\n%s", b)
	}
	name, ok := strings.CutPrefix(lines[2], "seeds file:"+joined+"/")
	if !ok || !bytes.Equal(files[name], content) {
		t.Errorf("%q is not the file of the key", lines[2])
	}
	if err := packRing(dir, map[string][]byte{ringName: []byte("doors file:x\n")}); err == nil {
		t.Error("a ring that cannot be read was packed")
	}
}

func FuzzCarried(f *testing.F) {
	k, content := made(f, f.TempDir())
	for _, k := range []carried{{k.Public, k.Role, content, "file:/keys/seeds-2.pem"}, {k.Public, k.Role, nil, "pkcs11:token=house;object=seeds-2"}, {"x", "seeds", nil, "file:x"}} {
		b, err := json.Marshal(k)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseCarried("pair.example/log", b)
		if err != nil {
			return
		}
		if _, err := parseRing([]byte(k.Role + " " + k.URI + "\n")); err != nil || signer.InFile(k.URI) != (len(k.Sealed) > 0) {
			t.Errorf("%+v: %v", k, err)
		}
	})
}
