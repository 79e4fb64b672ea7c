package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A house goes into production. Its game is refused until a laboratory that it recognises has certified these maths
// for this program: not other maths, not another program, not in the past, and not for longer than it says. Then
// somebody puts another file in the program's place, which is an alarm and stops play until it is back.
func TestProduction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(args ...string) string {
		t.Helper()
		said, status := examines(t, args...)
		if status != 0 {
			t.Fatalf("%q ends with %d", args, status)
		}
		return said
	}
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	clock := newSkewed(t, filepath.Join(dir, "clock"))
	s.exe, s.env = file("countroom", program), []string{clockVariable + "=" + clock.name}
	s.start()
	client := &http.Client{Timeout: 30 * time.Second}
	players := seat(s, 1)
	players.spin(client, 0, "demonstration")
	tries := 0
	refused := func(why string) {
		t.Helper()
		tries++
		status, answer := s.post(client, "/v1/spins", players.tokens[0], fmt.Sprintf("refused-%d", tries), `{"stake":20}`)
		if status == http.StatusCreated || !bytes.Contains(answer, []byte("/problems/"+why+`"`)) {
			t.Fatalf("%d %s, expected %s", status, answer, why)
		}
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%v\n%s", err, s.log.String())
	}
	s.args = append(s.args, "--production")
	s.start()
	refused("game-uncertified")

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	key := file("laboratory.pem", block("PRIVATE KEY", der, err))
	der, err = x509.MarshalPKIXPublicKey(&private.PublicKey)
	must("certificates", "recognise", "testhouse", file("laboratory.pub", block("PUBLIC KEY", der, err)), "--data", s.dir)
	hash := regexp.MustCompile(`sha256:([0-9a-f]{64})`).FindStringSubmatch(must("version"))[1]
	other := *bundled()[0]
	other.Version = "9.9.9"
	certificate := func(game, program string, begins, expires time.Duration) string {
		t.Helper()
		tries++
		path, now := filepath.Join(dir, fmt.Sprintf("certificate-%d.json", tries)), time.Now().UTC()
		must("certificates", "sign", "--key", key, "--laboratory", "testhouse", "--game", game, "--program", program,
			"--begins", now.Add(begins).Format(time.RFC3339Nano), "--expires", now.Add(expires).Format(time.RFC3339Nano), "--returns", "0.95", "-o", path)
		return path
	}
	must("certificates", "import", certificate(other.ID, strings.Repeat("ab", 32), 0, time.Hour), "--data", s.dir)
	refused("game-uncertified") // another program
	must("certificates", "import", certificate(file("other.json", other.Canonical()), hash, 0, time.Hour), "--data", s.dir)
	refused("game-uncertified") // other maths
	if said, status := examines(t, "certificates", "import", certificate(other.ID, hash, -time.Hour, -time.Minute), "--data", s.dir); status == 0 {
		t.Errorf("a certificate that is over was imported: %s", said)
	}
	refused("game-uncertified")
	if list := must("certificates", "list", "--data", s.dir); !strings.Contains(list, "none in force") {
		t.Errorf("%s", list)
	}

	must("certificates", "import", certificate(other.ID, hash, 0, 5*time.Minute), "--data", s.dir)
	players.spin(client, 0, "certified")
	clock.off.Store(int64(5 * time.Minute))
	refused("game-uncertified")
	must("certificates", "import", certificate(other.ID, hash, 0, time.Hour), "--data", s.dir)
	players.spin(client, 0, "certified again")

	if err := os.Rename(file("another", append(bytes.Clone(program), 0)), s.exe); err != nil {
		t.Fatal(err)
	}
	if said, status := examines(t, "selfcheck", "--data", s.dir); status != exitFailed || !strings.Contains(said, "matches        false") {
		t.Errorf("selfcheck ends with %d: %s", status, said)
	}
	refused("software-unverified")
	if err := os.Rename(file("again", program), s.exe); err != nil {
		t.Fatal(err)
	}
	must("selfcheck", "--data", s.dir)
	players.spin(client, 0, "verified again")
	report := players.verify()
	if report.Types["alarm.raised"] != 1 || report.Types["house.production"] != 1 || report.Types["game.certified"] != 4 {
		t.Errorf("%v", report.Types)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, s.log.String())
	}
}

// The hash of the configuration stands in the log: from it nothing may be learnt of a secret, which may also change.
func TestConfigurationHashHasNoSecrets(t *testing.T) {
	for value, want := range map[string]string{
		"postgres://countroom:hunter2@db.example/house?sslmode=verify-full&password=x": "postgres://db.example/house?sslmode=verify-full&password=",
		"host=db dbname=house user=c password='hun ter2' sslmode=require":              "host=db dbname=house user=c password= sslmode=require",
		"pkcs11:token=a;object=b?module-path=/m.so&pin-value=1234&pin-source=/p":       "pkcs11:token=a;object=b?module-path=/m.so&pin-value=&pin-source=/p",
		"file:/k.pem?passphrase-file=/p":                                               "file:/k.pem?passphrase-file=/p",
		"[https://u:p@a.example https://b.example/@x]":                                 "[https://a.example https://b.example/@x]",
		"reg=abab@https://r.example":                                                   "reg=abab@https://r.example",
	} {
		if got := bare(value); got != want {
			t.Errorf("%s becomes %s, expected %s", value, got, want)
		}
	}
	hash := func(change func(*config)) [32]byte {
		t.Helper()
		c := defaults()
		c.Store, c.Keys.Checkpoint = "postgres://c:one@db/house", "kms://k?pin-value=1"
		change(c)
		_, hash, err := c.look()
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	is := hash(func(*config) {})
	if is != hash(func(c *config) { c.Store, c.Keys.Checkpoint = "postgres://c:two@db/house", "kms://k?pin-value=2" }) {
		t.Error("a secret changes the hash")
	}
	if is == hash(func(c *config) { c.Store = "postgres://c:one@other/house" }) || is == hash(func(c *config) { c.Keys.Checkpoint = "kms://l" }) {
		t.Error("another store or key does not change the hash")
	}
}
