package formats_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/verify"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"
)

// Two verifiers of the same documents: regulator/verify, which shares its folds
// with the house, and the checker of this folder, which shares nothing with
// either. Where they part, the documents, one of them or both are wrong.

// python runs the checker's interpreter and returns what it wrote and its exit
// status. Without Python 3 there is no second verifier, and no pass.
func python(t *testing.T, stdin []byte, args ...string) (stdout []byte, status int) {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-B"}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	stdout, err = cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || strings.Contains(stderr.String(), "Traceback") {
		t.Fatalf("python3 %q: %v\n%s%s", args, err, stdout, &stderr)
	}
	return stdout, cmd.ProcessState.ExitCode()
}

func TestCheckerReadsExamplesAndVectors(t *testing.T) {
	t.Parallel()
	if _, status := python(t, nil, "checker/test_checker.py"); status != 0 {
		t.Errorf("test_checker.py ends with %d", status)
	}
}

// The checker's exit status is that of countroom-verify.
func TestCheckerCommand(t *testing.T) {
	t.Parallel()
	stranger := filepath.Join(t.TempDir(), "vkey")
	write(t, stranger, []byte(logtest.New(logtest.Config{}).VKey))
	for _, c := range []struct {
		command string
		status  int
	}{
		{"log examples/log --vkey examples/log.vkey --known examples/answer.json examples/log/checkpoint", 0},
		{"log examples/log --vkey " + stranger, 1},
		{"log vectors --vkey examples/log.vkey", 2},
		{"log examples/log --vkey examples/answer.json", 2},
		{"log examples/log --vkey examples/log.vkey --known examples/receipt.txt", 2},
		{"receipt examples/answer.json --vkey examples/log.vkey", 0},
		{"receipt examples/answer.json --vkey " + stranger, 1},
		{"receipt examples/receipt.txt --leaf examples/round.settled.json --vkey examples/log.vkey", 0},
		{"receipt examples/receipt.txt --leaf examples/house.active.json --vkey examples/log.vkey", 1},
		{"receipt examples/round.settled.json --vkey examples/log.vkey", 2},
		{"audit examples/log", 2},
	} {
		t.Run(c.command, func(t *testing.T) {
			t.Parallel()
			if out, status := python(t, nil, append([]string{"checker/check.py"}, strings.Fields(c.command)...)...); status != c.status {
				t.Errorf("ends with %d, want %d\n%s", status, c.status, out)
			}
		})
	}
}

// Cosignatures of witnesses: good, of another text, and too few.
func TestCheckerLooksAtCosignatures(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	vkey, err := tlog.CosignerVKey("witness.example/1", key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	witness, err := tlog.NewCosigner(vkey)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := os.ReadFile("examples/receipt.txt")
	if err != nil {
		t.Fatal(err)
	}
	r, err := tlog.ParseReceipt(receipt)
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := tlog.Text(r.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, of []byte) string {
		s := tlog.Cosignature{Name: witness.Name(), KeyHash: witness.KeyHash(), Time: 1772366500}
		copy(s.Sig[:], ed25519.Sign(key, tlog.CosignedMessage(s.Time, of)))
		path := filepath.Join(dir, name)
		write(t, path, s.AppendLine(bytes.Clone(receipt)))
		return path
	}
	good, forged := file("good", text), file("forged", []byte("another\n"))
	for _, c := range []struct {
		command string
		status  int
	}{
		{good, 0}, {good + " --witness " + vkey + " --quorum 1", 0}, {forged, 0}, {forged + " --witness " + vkey, 1},
		{"examples/receipt.txt --witness " + vkey + " --quorum 1", 2}, {good + " --witness " + strings.Replace(vkey, "1", "2", 1), 2},
	} {
		args := append([]string{"checker/check.py", "receipt"}, strings.Fields(c.command+" --leaf examples/round.settled.json --vkey examples/log.vkey")...)
		if out, status := python(t, nil, args...); status != c.status {
			t.Errorf("%s: ends with %d, want %d\n%s", c.command, status, c.status, out)
		}
	}
}

// The checker reads a house over HTTP, and shows its token to nobody and for
// nothing that does not need it.
func TestCheckerReadsAHouse(t *testing.T) {
	t.Parallel()
	const token = "secret"
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked elsewhere for %s", r.URL) }))
	defer elsewhere.Close()
	files := http.StripPrefix("/log/", http.FileServer(http.Dir("examples/log")))
	house := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entries := strings.HasPrefix(r.URL.Path, "/log/tile/entries/") || strings.HasPrefix(r.URL.Path, "/log/blob/")
		switch auth := r.Header.Get("Authorization"); {
		case !entries && auth != "":
			t.Errorf("a token for %s", r.URL)
		case entries && auth == "Bearer moved":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		case entries && auth != "Bearer "+token:
			http.Error(w, "a token is needed", http.StatusUnauthorized)
		default:
			files.ServeHTTP(w, r)
		}
	}))
	defer house.Close()
	for _, c := range []struct {
		token  string
		status int
	}{{token, 0}, {"other", 2}, {"moved", 2}} {
		file := filepath.Join(t.TempDir(), "token")
		write(t, file, []byte(c.token+"\n"))
		if out, status := python(t, nil, "checker/check.py", "log", house.URL, "--vkey", "examples/log.vkey", "--token", file); status != c.status {
			t.Errorf("with token %q it ends with %d, want %d\n%s", c.token, status, c.status, out)
		}
	}
}

// README.md lists the currencies that an entry can have.
func TestReadmeListsEveryCurrency(t *testing.T) {
	t.Parallel()
	_, list, _ := strings.Cut(documents(t)["README.md"], "**Money**")
	list, _, _ = strings.Cut(list, "**Versions.**")
	var active []string
	for n := range 26 * 26 * 26 {
		code := string([]byte{'A' + byte(n/676), 'A' + byte(n/26%26), 'A' + byte(n%26)})
		if _, err := money.ParseCurrency(code); err == nil {
			active = append(active, code)
		}
	}
	told := regexp.MustCompile(`(?m)^    [A-Z ]+$`).FindAllString(list, -1)
	if got := strings.Fields(strings.Join(told, " ")); !slices.Equal(got, active) {
		t.Errorf("it lists\n%q, the code knows\n%q", got, active)
	}
}

// opinion is what both verifiers have to say of a log.
type opinion struct {
	Status   int
	Size     uint64
	Root     string
	Rounds   uint64
	Proven   uint64
	Unproven uint64
	Lost     uint64 // unprovable for ever
	Epochs   verify.Epochs
	Totals   map[string]totals // by currency
	First    finding
	Findings int
	Warnings int
}

type totals struct{ Rounds, Stakes, Payouts, Deposits, Withdrawals uint64 }

type finding struct {
	Index uint64
	Rule  string
}

// published is a log as two verifiers get it.
type published struct {
	files fstest.MapFS
	vkey  string
	known [][]byte

	secrets [][]byte // files of escrowed seeds that others opened
}

func publish(h *logtest.House) published { return published{files: h.Publish(), vkey: h.VKey} }

// ours is the opinion of regulator/verify.
func ours(t *testing.T, p published) opinion {
	t.Helper()
	opts := verify.Options{VKey: p.vkey}
	for i, data := range p.known {
		opts.Known = append(opts.Known, verify.Known{Name: fmt.Sprint("known ", i), Data: data})
	}
	for i, data := range p.secrets {
		box, err := escrow.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		opts.Opened = append(opts.Opened, verify.Opened{Name: fmt.Sprint("secret ", i), Box: box})
	}
	r, err := verify.Log(t.Context(), verify.Dir(p.files), opts)
	if err != nil && !errors.Is(err, verify.ErrUnchecked) {
		t.Fatal(err)
	}
	o := opinion{
		Size: r.Size, Root: r.Root.String(), Proven: r.Rounds.Proven, Unproven: r.Rounds.Unproven, Lost: r.Rounds.Unprovable, Epochs: r.Epochs,
		Totals: map[string]totals{}, Findings: len(r.Findings), Warnings: len(r.Warnings),
	}
	if r.Size == 0 {
		o.Root = "" // no checkpoint was opened
	}
	switch {
	case !r.OK():
		o.Status, o.First = 1, finding{r.Findings[0].Index, r.Findings[0].Rule}
	case err != nil:
		o.Status = 2
	}
	for _, g := range r.Games {
		sum := o.Totals[g.Currency]
		sum.Rounds += g.Rounds
		sum.Stakes += g.Stakes.Big().Uint64()
		sum.Payouts += g.Payouts.Big().Uint64()
		o.Totals[g.Currency] = sum
		o.Rounds += g.Rounds
	}
	for _, c := range r.Cash {
		sum := o.Totals[c.Currency]
		sum.Deposits += c.Deposits.Big().Uint64()
		sum.Withdrawals += c.Withdrawals.Big().Uint64()
		o.Totals[c.Currency] = sum
	}
	return o
}

// many is a program that runs the checker on one list of arguments after another.
const many = `
import json, sys
sys.path.insert(0, "checker")
import check
for line in sys.stdin:
    check.main(json.loads(line))
`

// theirs are the checker's opinions.
func theirs(t *testing.T, logs ...published) []opinion {
	t.Helper()
	var stdin []byte
	for _, p := range logs {
		dir := t.TempDir()
		path := func(name string) string { return filepath.Join(dir, name) }
		write(t, path("vkey"), []byte(p.vkey+"\n"))
		for name, f := range p.files {
			write(t, path("log/"+name), f.Data)
		}
		args := []string{"log", path("log"), "--vkey", path("vkey"), "--json"}
		if len(p.known) > 0 {
			args = append(args, "--known")
		}
		for i, data := range p.known {
			name := path(fmt.Sprint("known-", i))
			write(t, name, data)
			args = append(args, name)
		}
		if len(p.secrets) > 0 {
			args = append(args, "--secret")
		}
		for i, data := range p.secrets {
			name := path(fmt.Sprint("secret-", i))
			write(t, name, data)
			args = append(args, name)
		}
		stdin = append(append(stdin, must(json.Marshal(args))...), '\n')
	}
	out, status := python(t, stdin, "-c", many)
	if status != 0 {
		t.Fatalf("the checker ends with %d\n%s", status, out)
	}
	reports := json.NewDecoder(bytes.NewReader(out))
	var list []opinion
	for range logs {
		r := struct {
			Status   int
			Size     uint64
			Root     string
			Rounds   uint64
			Proven   uint64 `json:"rounds_proven"`
			Unproven uint64 `json:"not_yet_provable"`
			Lost     uint64 `json:"unprovable"`
			Epochs   verify.Epochs
			Totals   map[string]totals
			Findings []finding
			Warnings []string
		}{}
		if err := reports.Decode(&r); err != nil {
			t.Fatal(err)
		}
		o := opinion{
			Status: r.Status, Size: r.Size, Root: r.Root, Rounds: r.Rounds, Proven: r.Proven, Unproven: r.Unproven, Lost: r.Lost, Epochs: r.Epochs,
			Totals: r.Totals, Findings: len(r.Findings), Warnings: len(r.Warnings),
		}
		if len(r.Findings) > 0 {
			o.First = r.Findings[0]
		}
		list = append(list, o)
	}
	return list
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	path = filepath.FromSlash(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// agree demands that both say the same.
func agree(t *testing.T, ours, theirs opinion) {
	t.Helper()
	if ours.Status == 2 && theirs.Status == 2 {
		// How far each came says nothing.
		ours.Rounds, ours.Proven, ours.Unproven, ours.Epochs, ours.Totals = 0, 0, 0, verify.Epochs{}, nil
		theirs.Rounds, theirs.Proven, theirs.Unproven, theirs.Epochs, theirs.Totals = 0, 0, 0, verify.Epochs{}, nil
	}
	if a, b := fmt.Sprintf("%+v", ours), fmt.Sprintf("%+v", theirs); a != b {
		t.Errorf("two opinions:\nregulator/verify %s\nchecker          %s", a, b)
	}
}

// What a real house wrote, over its store, its signer and its entropy: players
// who come, play, are suspended and leave, through several epochs.
func TestCheckersAgreeOnARealHouse(t *testing.T) {
	t.Parallel()
	h := housetest.Open(t, t.TempDir(), func(_ *ledger.Config, hc *house.Config) {
		hc.Limits = epoch.Limits{AgeSeconds: 600, Draws: 80, RevealDelaySeconds: 0}
	})
	g := &guests{t: t, h: h}
	for i, currency := range []money.Currency{"EUR", "JPY", "EUR"} {
		g.arrive(fmt.Sprint("guest-", i), currency)
	}
	g.play(250)
	g.state("guest-0", players.Suspended)
	g.state("guest-0", players.Open)
	g.move("withdrawals", "guest-1", 500)
	g.leave("guest-2")
	g.must(h.SetGameState(t.Context(), g.request("/v1/games"), lamplight, false, "maintenance"))
	g.must(h.SetGameState(t.Context(), g.request("/v1/games"), lamplight, true, "done"))
	g.play(250)
	for _, id := range g.ids {
		g.state(id, players.Closed)
	}
	const epochs = 500 / 80
	g.await(epochs)

	p := g.save()
	o := ours(t, p)
	agree(t, o, theirs(t, p)[0])
	if o.Status != 0 || o.Rounds != 500 || o.Proven != epochs*80 || o.Unproven != 500-epochs*80 || o.Epochs.Revealed != epochs || len(o.Totals) != 2 || o.Warnings != 0 {
		t.Errorf("%+v", o)
	}
}

const lamplight = "lamplight-quay"

// guests are players of a real house.
type guests struct {
	t        *testing.T
	h        *housetest.House
	ids      []string
	sessions map[string]guest
	requests int
}

type guest struct {
	id   entry.UUID
	seat house.Session
}

func (g *guests) must(_ ledger.Receipt, err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// request is the operator's next.
func (g *guests) request(path string) house.Request {
	g.requests++
	return house.Request{Key: fmt.Sprint("key ", g.requests), Method: "POST", Path: path, Principal: "operator", Body: []byte("{}")}
}

func (g *guests) arrive(id string, c money.Currency) {
	g.t.Helper()
	ctx := g.t.Context()
	g.must(g.h.CreatePlayer(ctx, g.request("/v1/players"), id, c))
	g.ids = append(g.ids, id)
	g.move("deposits", id, 500_000)
	_, session, token, err := g.h.OpenSession(ctx, g.request("/v1/sessions"), id, lamplight)
	if err != nil {
		g.t.Fatal(err)
	}
	seat, err := g.h.Seat(ctx, token)
	if err != nil {
		g.t.Fatal(err)
	}
	if g.sessions == nil {
		g.sessions = map[string]guest{}
	}
	g.sessions[id] = guest{session, seat}
}

func (g *guests) move(what, id string, amount int64) {
	g.t.Helper()
	v, err := g.h.Player(g.t.Context(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	move := g.h.Deposit
	if what == "withdrawals" {
		move = g.h.Withdraw
	}
	g.must(move(g.t.Context(), g.request("/v1/players/"+id+"/"+what), id, money.Money{Amount: amount, Currency: v.Currency}))
}

func (g *guests) state(id string, s players.State) {
	g.t.Helper()
	g.must(g.h.SetPlayerState(g.t.Context(), g.request("/v1/players/"+id+"/state"), id, s, "because"))
}

func (g *guests) leave(id string) {
	g.t.Helper()
	g.must(g.h.CloseSession(g.t.Context(), g.request("/v1/sessions"), g.sessions[id].id))
	delete(g.sessions, id)
}

// patience ends a wait that is in vain.
const patience = 10 * time.Minute

// play has the guests spin in turn.
func (g *guests) play(count int) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	stakes := slots.Bundled().Stakes
	for i := 0; i < count; {
		for _, id := range g.ids {
			s, seated := g.sessions[id]
			if !seated || i == count {
				continue
			}
			req := g.request("/v1/spins")
			req.Principal = s.seat.Principal()
			_, err := g.h.Spin(ctx, req, s.seat, stakes[i%3])
			for errors.Is(err, epoch.ErrNoEpoch) && ctx.Err() == nil { // the next seed is on its way
				time.Sleep(time.Millisecond)
				_, err = g.h.Spin(ctx, req, s.seat, stakes[i%3])
			}
			if err != nil {
				g.t.Fatal(err)
			}
			i++
		}
	}
}

// await waits until an epoch is revealed.
func (g *guests) await(n uint64) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		e, err := g.h.Epoch(g.t.Context(), n)
		if err != nil {
			g.t.Fatal(err)
		}
		if e.Revealed.Leaf != nil {
			return
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("epoch %d was not revealed", n)
		}
	}
}

// save closes the house and returns its log as plain files.
func (g *guests) save() published {
	g.t.Helper()
	head := g.h.Ledger.Signed()
	p := published{files: fstest.MapFS{"checkpoint": {Data: head.Checkpoint}}, vkey: g.h.Ledger.VKey()}
	const width = tlog.TileWidth
	for base := uint64(0); base < head.Size; base += width {
		var bundle []byte
		end := min(base+width, head.Size)
		err := g.h.Ledger.Leaves(base, end, func(_ uint64, leaf []byte) error {
			bundle = tlog.AppendBundle(bundle, leaf)
			return nil
		})
		if err != nil {
			g.t.Fatal(err)
		}
		p.files[tlog.EntriesPath(base/width, int(end-base))] = &fstest.MapFile{Data: bundle}
	}
	for level, hashes := 0, head.Size; hashes > 0; level, hashes = level+1, hashes/width {
		for base := uint64(0); base < hashes; base += width {
			n := int(min(hashes-base, width))
			tile, err := g.h.Ledger.Tile(level, base/width, n)
			if err != nil {
				g.t.Fatal(err)
			}
			p.files[tlog.TilePath(level, base/width, n)] = &fstest.MapFile{Data: tile}
		}
	}
	return p
}

// Everything else that can happen to an honest house.
func TestCheckersAgreeOnAnHonestLog(t *testing.T) {
	t.Parallel()
	h := logtest.New(logtest.Config{Seed: 5, Limits: epoch.Limits{AgeSeconds: 60, Draws: 100, RevealDelaySeconds: 5}})
	h.Live(1500)
	o := ours(t, publish(h))
	agree(t, o, theirs(t, publish(h))[0])
	if o.Status != 0 || o.Rounds < 1500 || o.Proven < 500 || o.Unproven == 0 || len(o.Totals) < 2 {
		t.Errorf("%+v", o)
	}
}

// town is a house with players, some way into its second epoch, of 40 draws
// each.
type town struct {
	*logtest.House
	who       []logtest.Player
	exhausted entry.Time // when the epoch had no draw left
	leaver    logtest.Player
}

func newTown() *town {
	t := &town{House: logtest.New(logtest.Config{Seed: 3, Limits: epoch.Limits{AgeSeconds: 60, Draws: 40, RevealDelaySeconds: 5}})}
	for range 2 {
		t.who = append(t.who, t.Join(500_000))
	}
	t.Play(t.who, 50)
	return t
}

// more lets play go on until the epoch of the fraud is revealed.
func (t *town) more() {
	t.Play(t.who, 50)
	t.Wait(10 * time.Second)
	t.Play(t.who, 20)
}

// with has the next entries changed before they are folded.
func with[T entry.Record](t *town, change func(T), then func()) {
	t.Tamper = func(_ uint64, r entry.Record) {
		if r, ok := r.(T); ok {
			change(r)
		}
	}
	then()
	t.Tamper = nil
}

// spin plays a round with a change.
func (t *town) spin(change func(r *rounds.Settled)) {
	t.Turn()
	with(t, change, func() {
		r := t.Round(t.who[0], 100)
		t.Settle(r)
		t.Append(r)
	})
}

// drawn plays a round from another draw value.
func (t *town) drawn(draw func(honest [32]byte) [32]byte) {
	t.Draw = func(honest [32]byte, _ entry.Ref, _ uint64) [32]byte { return draw(honest) }
	t.Spin(t.who[0], 100)
	t.Draw = nil
}

// leaf plays a round whose leaf is changed.
func (t *town) leaf(old, new string) {
	t.Turn()
	t.TamperLeaf = func(_ uint64, leaf []byte) []byte { return bytes.Replace(leaf, []byte(old), []byte(new), 1) }
	t.spin(func(*rounds.Settled) {})
	t.TamperLeaf = nil
}

// promise changes the next commitment, of a policy, before it is signed.
func (t *town) promise(policy string, change func(*epoch.Statement)) {
	t.Policy = policy
	t.Commitment = func(st *epoch.Statement, _ *logtest.Secret) {
		change(st)
		t.Commitment, t.Policy = nil, ""
	}
	t.exhaust()
	t.Turn()
}

// came changes the activation of an epoch of a policy.
func (t *town) came(policy string, change func(*epoch.Activated)) {
	t.promise(policy, func(*epoch.Statement) {})
	t.exhaust()
	t.exhausted = t.Now
	with(t, change, t.Turn)
}

// exhaust plays until the epoch has no draw left.
func (t *town) exhaust() {
	for s := epoch.Now(t.Rows()); s.Draws < 40; s = epoch.Now(t.Rows()) {
		t.Spin(t.who[0], 100)
	}
}

// An insider with every key of the house commits one fraud and makes everything
// after it fit. Both verifiers name the same rule at the same entry.
func TestCheckersAgreeOnFrauds(t *testing.T) {
	t.Parallel()
	frauds := []struct {
		name   string
		commit func(t *town)
		rule   string
	}{
		{"a win is paid in part", func(t *town) {
			for {
				t.Turn()
				if r := t.Round(t.who[0], 100); r.Payout.Amount > 0 {
					r.Payout.Amount--
					t.Settle(r)
					t.Append(r)
					return
				}
				t.Spin(t.who[0], 100)
			}
		}, "payout"},
		{"another outcome is shown than was drawn", func(t *town) {
			t.spin(func(r *rounds.Settled) {
				r.Outcome = bytes.Replace(r.Outcome, []byte(`"awarded":0`), []byte(`"awarded":1`), 1)
			})
		}, "outcome"},
		{"an outcome in other JSON", func(t *town) { t.leaf(`"outcome":{"capped":false`, `"outcome":{"capped":false `) }, "outcome"},
		{"a drawn integer is another", func(t *town) { t.spin(func(r *rounds.Settled) { r.Draw.Values[4].Value ^= 1 }) }, "draw-values"},
		{"a draw value is invented", func(t *town) { t.drawn(func([32]byte) [32]byte { return [32]byte{1, 2, 3} }) }, "draw"},
		{"a draw is left out", func(t *town) { t.spin(func(r *rounds.Settled) { r.Draw.Number++ }) }, "draw-number"},
		{"a round is left out", func(t *town) { t.spin(func(r *rounds.Settled) { r.Draw.N++ }) }, "round-number"},
		{"a balance is one cent short", func(t *town) { t.spin(func(r *rounds.Settled) { r.Postings[1].Balance-- }) }, "balance"},
		{"a cent comes from nowhere", func(t *town) {
			t.spin(func(r *rounds.Settled) { r.Postings[1].Amount++; r.Postings[1].Balance++ })
		}, "postings-balanced"},
		{"a deposit comes from a game's hold", func(t *town) {
			with(t, func(r *wallet.Deposited) { r.Postings[0].Account = wallet.Hold(lamplight) }, func() { t.Deposit(t.who[1], 1000) })
		}, "postings"},
		{"a deposit in another currency", func(t *town) {
			with(t, func(r *wallet.Deposited) {
				r.Amount.Currency, r.Postings[0].Currency, r.Postings[1].Currency = "USD", "USD", "USD"
			}, func() { t.Deposit(t.who[1], 1000) })
		}, "player-currency"},
		{"a stake that the game does not offer", func(t *town) {
			t.spin(func(r *rounds.Settled) { r.Stake.Amount = 60; t.Settle(r) })
		}, "stake"},
		{"a stake that the player has not got", func(t *town) {
			t.Withdraw(t.who[0], t.Balance(t.who[0])-99)
			t.spin(func(*rounds.Settled) {})
		}, "funds"},
		{"a suspended player plays", func(t *town) {
			t.Turn()
			t.Change(t.who[0], players.Suspended)
			t.spin(func(*rounds.Settled) {})
			t.Change(t.who[0], players.Open)
		}, "player-state"},
		{"a round in another player's session", func(t *town) {
			t.spin(func(r *rounds.Settled) { r.Actor = players.SessionKey(t.who[1].Session) })
		}, "round-session"},
		{"a session for ever", func(t *town) {
			with(t, func(r *players.SessionOpened) { r.Expires = r.At.Add(players.SessionLongest + 1000) }, func() { t.Open(t.who[0]) })
		}, "session-expiry"},
		{"an epoch ends before its limits", func(t *town) {
			s := epoch.Now(t.Rows())
			t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		}, "epoch-early"},
		{"an epoch is used beyond its limits", func(t *town) {
			t.exhaust()
			r := t.Round(t.who[0], 100)
			t.Settle(r)
			t.Append(r)
		}, "epoch-over"},
		{"another secret is revealed", func(t *town) {
			with(t, func(r *epoch.Revealed) { r.Secret[0] ^= 1 }, t.more)
		}, "seed-commitment"},
		{"a commitment is signed by nobody", func(t *town) {
			with(t, func(r *epoch.Committed) { r.Sources[0].Name = "dice" }, t.more)
		}, "seed-signature"},
		{"what was to be seen is bent to what was", func(t *town) {
			with(t, func(r *rounds.Displayed) { r.Displayed[0] ^= 1; r.Expected[0] ^= 1 }, func() { t.Show(t.who[0], t.Spin(t.who[0], 100), true) })
		}, "displayed-expected"},
		{"another player's round is claimed", func(t *town) {
			t.Append(t.Claim(t.who[0], t.Spin(t.who[1], 100), true))
		}, "displayed-expected"},
		{"a claim for another player", func(t *town) {
			with(t, func(r *rounds.Displayed) { r.Player = t.who[1].Ref }, func() { t.Show(t.who[0], t.Spin(t.who[0], 100), true) })
		}, "displayed-expected"},
		{"a session that is over claims", func(t *town) {
			r := t.Claim(t.who[0], t.Spin(t.who[0], 100), true)
			t.Close(t.who[0])
			t.Append(r)
		}, "displayed-session"},
		{"a screen that differs raises no alarm", func(t *town) {
			t.Append(t.Claim(t.who[0], t.Spin(t.who[0], 100), false))
			t.Spin(t.who[0], 100)
		}, "displayed-alarm"},
		{"a screen that differs is the last entry", func(t *town) {
			t.Append(t.Claim(t.who[0], t.Spin(t.who[0], 100), false))
		}, "displayed-alarm"},
		{"a nonce in another player's name", func(t *town) {
			with(t, func(r *players.NonceSet) { r.Player = t.who[1].Ref }, func() { t.SetNonce(t.who[0]) })
		}, "nonce-session"},
		{"a nonce that counts at once", func(t *town) {
			with(t, func(r *players.NonceSet) { r.Epoch-- }, func() { t.SetNonce(t.who[0]) })
		}, "nonce-epoch"},
		{"a nonce is passed over", func(t *town) {
			t.SetNonce(t.who[0])
			t.exhaust()
			t.Turn()
			t.exhaust()
			t.drawn(func([32]byte) [32]byte {
				now := epoch.Now(t.Rows())
				return t.Secret(now.Active).Drawer.Draw(lamplight, "1.0.0", t.who[0].Ref, rounds.Next(t.Rows(), t.who[0].Ref, lamplight), 0, nil)
			})
		}, "draw"},
		{"a beacon's round is out already", func(t *town) {
			t.promise(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Round-- })
		}, "beacon-round"},
		{"a beacon of another key", func(t *town) {
			t.promise(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Group[0] ^= 1 })
		}, "beacon-chain"},
		{"a beacon whose key is no point", func(t *town) {
			t.promise(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon.Public[90] ^= 1 })
		}, "beacon-chain"},
		{"the signature of another round", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) {
				sig := logtest.Beacon.Sign(5)
				r.Signature = sig[:]
			})
		}, "beacon-signature"},
		{"a signature that is no point", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) { r.Signature[40] ^= 1 })
		}, "beacon-signature"},
		{"a round before its time", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) { r.At = t.exhausted.Add(20 * time.Millisecond) })
		}, "beacon-early"},
		{"other entropy than the beacon's", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) { r.External[0] ^= 1 })
		}, "epoch-external"},
		{"a witness that signed nothing", func(t *town) {
			t.promise(epoch.PolicyWitness, func(st *epoch.Statement) { st.Nonces[0].Commitment[0] ^= 1 })
		}, "witness-signature"},
		{"witnesses in another order", func(t *town) {
			t.promise(epoch.PolicyWitness, func(st *epoch.Statement) { st.Nonces[0], st.Nonces[1] = st.Nonces[1], st.Nonces[0] })
		}, "witness-order"},
		{"another nonce than was committed to", func(t *town) {
			t.came(epoch.PolicyWitness, func(r *epoch.Activated) { r.Nonces[1].Nonce[0] ^= 1 })
		}, "witness-nonce"},
		{"a nonce is left out", func(t *town) {
			t.came(epoch.PolicyWitness, func(r *epoch.Activated) { r.Nonces = r.Nonces[:1] })
		}, "witness-nonce"},
		{"a downgrade without a word", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) {
				*r = epoch.Activated{Header: r.Header, Epoch: r.Epoch, Policy: epoch.PolicyNone}
			})
		}, "downgrade-alarm"},
		{"an alarm about an epoch that is in use", func(t *town) {
			t.Append(&system.AlarmRaised{About: t.Secret(1).Statement.Commitment, Alarm: system.AlarmExternalMissing, Count: 1})
		}, "alarm-about"},
		{"half a proof", func(t *town) {
			t.came(epoch.PolicyBeacon, func(r *epoch.Activated) { r.Signature = r.Signature[:47] })
		}, "epoch-policy"},
		{"a policy without what it promises", func(t *town) {
			t.promise(epoch.PolicyBeacon, func(st *epoch.Statement) { st.Beacon = nil })
		}, "epoch-policy"},
		{"fewer sources than are asked for", func(t *town) {
			t.promise(epoch.PolicyNone, func(st *epoch.Statement) { st.Minimum = 2 })
		}, "epoch-sources"},
		{"the largest payout is understated", func(t *town) {
			t.Disable(lamplight)
			with(t, func(r *rounds.GameEnabled) { r.PayoutMax-- }, func() { t.Enable(lamplight) })
		}, "payout-max"},
		{"a game that nobody knows how to play", func(t *town) {
			t.Disable(lamplight)
			with(t, func(r *rounds.GameEnabled) { r.Engine = "dice" }, func() { t.Enable(lamplight) })
		}, "game-engine"},
		{"a definition is edited under its old hash", func(t *town) {
			t.Disable(lamplight)
			with(t, func(r *rounds.GameEnabled) {
				r.Definition = bytes.Replace(r.Definition, []byte(`"name":"Lamp`), []byte(`"name":"Limp`), 1)
			}, func() { t.Enable(lamplight) })
		}, "game-maths"},
		{"an idempotency key twice", func(t *town) {
			first := t.Request("operator")
			with(t, func(r *wallet.Deposited) { r.Request = first }, func() { t.Deposit(t.who[0], 5); t.Deposit(t.who[0], 5) })
		}, "request-key-unique"},
		{"an id twice", func(t *town) {
			id := t.who[0].Session
			t.spin(func(r *rounds.Settled) { r.ID = id })
		}, "id-unique"},
		{"time goes back", func(t *town) { t.spin(func(r *rounds.Settled) { r.At = r.At.Add(-time.Second) }) }, "time"},
		{"a leaf with white space", func(t *town) { t.leaf(`,"id":`, `, "id":`) }, "canonical"},
		{"a negative round number", func(t *town) { t.leaf(`"n":`, `"n":-`) }, "canonical"},
		{"a process continues another log", func(t *town) {
			with(t, func(r *system.HouseActive) { r.Root[0] ^= 1 }, func() { t.Restart() })
		}, "active-root"},
	}
	frauds = append(frauds, officerFrauds...)
	frauds = append(frauds, keyFrauds...)
	frauds = append(frauds, entropyFrauds...)
	frauds = append(frauds, laboratoryFrauds...)
	frauds = append(frauds, haltFrauds...)
	frauds = append(frauds, subjectFrauds...)
	var logs []published
	var before uint64
	for _, f := range frauds {
		h := newTown()
		before = h.Size()
		f.commit(h)
		h.more()
		logs = append(logs, publish(h.House))
	}
	second := theirs(t, logs...)
	for i, f := range frauds {
		t.Run(f.name, func(t *testing.T) {
			o := ours(t, logs[i])
			agree(t, o, second[i])
			if o.Status != 1 || o.First.Rule != f.rule || o.First.Index < before {
				t.Errorf("from entry %d: %+v", before, o)
			}
		})
	}
}

// What is wrong with the published files, and what only those outside know.
func TestCheckersAgreeOnFiles(t *testing.T) {
	t.Parallel()
	h := newTown()
	h.Play(h.who, 500)
	saved := h.Spin(h.who[0], 100)
	answer, head := h.Answer(saved), h.Checkpoint()
	short := newTown()
	other := newTown()
	other.Play(other.who, 600)
	restored := newTown()
	restored.Restore(h.Size())
	newer := newTown()
	newer.AppendLeaf([]byte(`{"actor":"house","at":"2027-01-01T00:00:00.000000Z","type":"house.moved"}`))
	part := func(level int) string {
		hashes := h.Size() >> (8 * level)
		return tlog.TilePath(level, hashes/tlog.TileWidth, int(hashes%tlog.TileWidth))
	}
	flip := func(path string, at int) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			data := bytes.Clone(files[path].Data)
			data[at] ^= 1
			files[path] = &fstest.MapFile{Data: data}
		}
	}
	remove := func(path string) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			if _, err := fs.Stat(files, path); err != nil {
				t.Error(err)
			}
			delete(files, path)
		}
	}
	cases := []struct {
		name   string
		house  *town
		change func(files fstest.MapFS)
		known  [][]byte
		status int
		first  finding
	}{
		{"nothing", h, nil, [][]byte{answer, head}, 0, finding{}},
		{"a hash of a full tile", h, flip("tile/0/001", 40), nil, 1, finding{257, "tile"}},
		{"a hash of an upper tile", h, flip(part(1), 40), nil, 1, finding{256, "tile"}},
		{"a signed root", h, func(f fstest.MapFS) { f["checkpoint"] = &fstest.MapFile{Data: h.Sign(h.Size(), tlog.Hash{1})} }, nil, 1, finding{h.Size(), "signed-root"}},
		{"a signature", h, func(f fstest.MapFS) {
			data := bytes.Clone(head)
			if at := len(data) - 30; data[at] != 'B' { // still base64
				data[at] = 'B'
			} else {
				data[at] = 'C'
			}
			f["checkpoint"] = &fstest.MapFile{Data: data}
		}, nil, 1, finding{0, "checkpoint-signature"}},
		{"no checkpoint", h, remove("checkpoint"), nil, 2, finding{}},
		{"no bundle", h, remove("tile/entries/001"), nil, 2, finding{}},
		{"no tile", h, remove(part(0)), nil, 2, finding{}},
		{"a bundle cut short", h, func(f fstest.MapFS) { f["tile/entries/001"] = &fstest.MapFile{Data: f["tile/entries/001"].Data[:999]} }, nil, 2, finding{}},
		{"a receipt of a log that goes on otherwise", other, nil, [][]byte{answer}, 1, finding{}},
		{"a receipt of a log that was cut off", short, nil, [][]byte{answer}, 1, finding{short.Size(), "log-shorter"}},
		{"a checkpoint of a log that was cut off", short, nil, [][]byte{head}, 1, finding{short.Size(), "log-shorter"}},
		{"a receipt that a restore left without its entry", restored, nil, [][]byte{answer, restored.Checkpoint()}, 1, finding{saved, "rolled-back"}},
		{"a checkpoint that a restore went behind", restored, nil, [][]byte{head}, 1, finding{restored.Size(), "rolled-back"}},
		{"an entry of a type to come", newer, nil, nil, 2, finding{}},
	}
	var logs []published
	for _, c := range cases {
		p := publish(c.house.House)
		p.known = c.known
		if c.change != nil {
			c.change(p.files)
		}
		logs = append(logs, p)
	}
	second := theirs(t, logs...)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := ours(t, logs[i])
			agree(t, o, second[i])
			if o.Status != c.status || c.first != (finding{}) && o.First != c.first {
				t.Errorf("%+v", o)
			}
		})
	}
}

// mutate changes one thing in a log: a byte, a number, a text, a member, or the
// order of entries.
func mutate(rnd *rand.Rand, log [][]byte) [][]byte {
	log = slices.Clone(log)
	i := rnd.IntN(len(log))
	leaf := bytes.Clone(log[i])
	change := func(what *regexp.Regexp, to func(old string) string) {
		if all := what.FindAllIndex(leaf, -1); len(all) > 0 {
			at := all[rnd.IntN(len(all))]
			leaf = slices.Concat(leaf[:at[0]], []byte(to(string(leaf[at[0]:at[1]]))), leaf[at[1]:])
		}
	}
	switch rnd.IntN(9) {
	case 0:
		leaf[rnd.IntN(len(leaf))] = byte(' ' + rnd.IntN('~'-' '+1))
	case 1, 2:
		change(number, func(old string) string {
			n, err := strconv.ParseInt(old[1:], 10, 64)
			if err != nil {
				return old
			}
			return old[:1] + strconv.FormatInt(n+1-2*rnd.Int64N(2), 10)
		})
	case 3:
		change(number, func(old string) string {
			return old[:1] + []string{"-", "0", "1", "1e", "9007199254740992"}[rnd.IntN(5)] + old[1:]
		})
	case 4:
		change(number, func(old string) string { return old[:1] + `"` + old[1:] + `"` })
	case 5:
		change(textEnd, func(string) string { return string("0123456789abcdef"[rnd.IntN(16)]) + `"` })
	case 6:
		change(member, func(old string) string { return []string{"", old + old}[rnd.IntN(2)] })
	case 7:
		j := rnd.IntN(len(log))
		leaf, log[j] = log[j], leaf
	case 8:
		return slices.Delete(log, i, i+1)
	}
	log[i] = leaf
	return log
}

var (
	number  = regexp.MustCompile(`[:,\[]-?[0-9]+`)
	textEnd = regexp.MustCompile(`[0-9a-z]"`)
	member  = regexp.MustCompile(`,"[a-z_]+":("[^"]*"|-?[0-9]+|true|false)`)
)

// Whatever one thing is changed in a log and signed, both see it or neither
// does.
func TestCheckersAgreeOnMutations(t *testing.T) {
	t.Parallel()
	const count = 40
	cfg := logtest.Config{Seed: 8, Limits: epoch.Limits{AgeSeconds: 60, Draws: 4, RevealDelaySeconds: 0}}
	h := logtest.New(cfg)
	who := []logtest.Player{h.Join(50_000), h.Join(50_000)}
	h.Play(who, 6)
	h.Restart()
	h.Change(who[0], players.Suspended)
	h.Change(who[0], players.Open)
	h.Close(who[1])
	h.Withdraw(who[1], 10)
	h.Disable(lamplight)
	h.Enable(lamplight)
	h.Play(who[:1], 4)
	log := make([][]byte, h.Size())
	for i := range log {
		log[i] = h.Leaf(uint64(i))
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	logs := []published{publish(h)}
	for range count {
		again := logtest.Empty(cfg) // the same keys
		for _, leaf := range mutate(rnd, log) {
			again.AppendLeaf(leaf)
		}
		logs = append(logs, publish(again))
	}
	verdicts := map[int]int{}
	for i, second := range theirs(t, logs...) {
		first := ours(t, logs[i])
		agree(t, first, second)
		if i == 0 && first.Status != 0 {
			t.Errorf("before any change: %+v", first)
		}
		verdicts[first.Status]++
	}
	if verdicts[1] < count/2 {
		t.Errorf("only %d of %d changes were found", verdicts[1], count)
	}
}
