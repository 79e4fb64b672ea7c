package formats_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"

	"golang.org/x/mod/sumdb/note"
)

// The examples are one small log that holds by every rule, told from fixed
// inputs: the same bytes each time.

const (
	origin = "casino.example/log"
	gameID = "lamplight-quay"
)

// fixed gives each random input of the story a value of its own.
func fixed(name string) [32]byte { return sha256.Sum256([]byte("countroom example: " + name)) }

func fixed16(name string) [16]byte {
	b := fixed(name)
	return [16]byte(b[:16])
}

// request is an outside command as its idempotency sees it.
type request struct {
	Scope       string `json:"scope"`
	Key         string `json:"key"`
	Method      string `json:"method"`
	Path        string `json:"path"`
	Principal   string `json:"principal"`
	Body        string `json:"body"` // canonical
	KeyHash     string `json:"key_hash"`
	Fingerprint string `json:"fingerprint"`
}

func (r *request) entry() entry.Request {
	e := entry.Request{
		Key:         entry.RequestKey(r.Scope, r.Key),
		Fingerprint: entry.RequestFingerprint(r.Key, r.Method, r.Path, r.Principal, []byte(r.Body)),
	}
	r.KeyHash, r.Fingerprint = hex.EncodeToString(e.Key[:]), hex.EncodeToString(e.Fingerprint[:])
	return e
}

// reason is an operator's words with the salt that the vault keeps.
type reason struct {
	Salt       string `json:"salt"`
	Text       string `json:"text"`
	Commitment string `json:"commitment"`
}

type story struct {
	latest     rounds.Settled // the latest round
	displayed  [32]byte       // what was to be displayed of it
	t          *testing.T
	checkpoint ed25519.PrivateKey
	seeds      *ecdsa.PrivateKey
	signer     note.Signer
	more       []note.Signer // of checkpoints, besides
	vkey       string

	now      entry.Time
	rows     book.Memory
	leaves   [][]byte
	hashes   []tlog.Hash
	builder  tlog.Builder
	machine  *slots.Machine
	player   entry.Ref
	blobs    map[string][]byte
	requests []request
	reasons  []reason
	promised []epoch.Statement // of epochs of which the outside is part

	signatures []signed
	known      []known
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// tell makes the log.
func tell(t *testing.T) *story {
	checkpoint, seeds := fixed("checkpoint key"), fixed("seeds key")
	s := &story{
		t: t, checkpoint: ed25519.NewKeyFromSeed(checkpoint[:]), seeds: must(ecdsa.ParseRawPrivateKey(elliptic.P256(), seeds[:])),
		now: entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), rows: book.Memory{}, blobs: map[string][]byte{},
		machine: must(slots.Compile(slots.Bundled())), player: fixed16("player 4231"),
	}
	public := s.checkpoint.Public().(ed25519.PublicKey)
	s.vkey = must(tlog.VKey(origin, public))
	s.signer = must(tlog.NewSigner(origin, public, func(msg []byte) ([]byte, error) { return ed25519.Sign(s.checkpoint, msg), nil }))
	exports := fixed("exports key")

	s.add(&system.HouseCreated{Format: system.Format, Origin: origin, Keys: []system.Key{
		{Algorithm: "ed25519", Assurance: system.AssuranceSoftware, Public: s.vkey, Role: system.RoleCheckpoint},
		{Algorithm: "ecdsa-p256", Assurance: system.AssuranceSoftware, Public: spki(s.seeds), Role: system.RoleSeeds},
		{Algorithm: "ecdsa-p256", Assurance: system.AssuranceSoftware, Public: spki(must(ecdsa.ParseRawPrivateKey(elliptic.P256(), exports[:]))), Role: system.RoleExports},
	}})
	s.add(&system.HouseActive{Node: "count-1", Reason: "created", Release: "0.1.0", Size: 1, Term: 1})
	definition, bounds := s.machine.Definition(), s.machine.Bounds()
	s.add(&rounds.GameEnabled{
		Definition: definition.Canonical(), Engine: "slots", Game: gameID, LeafMax: must(rounds.LeafMax(gameID, bounds.Draws, bounds.Bytes)),
		Maths: definition.Hash(), PayoutMax: bounds.Payout, Reason: s.because("first start"), Release: definition.Version,
	})
	first := s.commit(1)

	s.after(2 * time.Second)
	created := &players.Created{Currency: "EUR", Player: s.player}
	s.byOperator(created, "new-1", "/v1/players", `{"currency":"EUR","id":"alice"}`)
	s.after(300 * time.Millisecond)
	s.move(&wallet.Deposited{}, "pay-1", "deposits", 10_000)
	s.after(time.Second)
	session := &players.SessionOpened{Expires: s.now.Add(12 * time.Hour), Game: gameID, Player: s.player}
	s.byOperator(session, "seat-1", "/v1/sessions", `{"game":"lamplight-quay","player":"alice"}`)
	actor := players.SessionKey(session.ID)
	s.setNonce(actor)

	s.after(4 * time.Second)
	s.add(&epoch.ActivatedV1{Activated: epoch.Activated{Epoch: 1, Policy: epoch.PolicyNone}})
	s.spin(actor, first, 1, "spin-1", 100)
	s.showed(actor, "seen-1", true)
	second := s.commit(2)
	s.after(3 * time.Second)
	s.spin(actor, first, 2, "spin-2", 100)
	s.after(3 * time.Second)
	s.spin(actor, first, 3, "spin-3", 200)
	s.showed(actor, "seen-3", false)
	s.after(3 * time.Second)
	s.add(&system.ClockStepped{StepMicroseconds: -1_250_000})
	s.add(&epoch.Closed{Draws: 3, Epoch: 1, Reason: epoch.ByDraws})
	s.add(&epoch.ActivatedV1{Activated: epoch.Activated{Epoch: 2, Policy: epoch.PolicyNone}})
	s.spin(actor, second, 1, "spin-4", 100)
	s.promise(3, s.withBeacon)

	s.after(20 * time.Second)
	s.add(&system.AlarmRaised{About: entry.RequestKey("operator", "pay-1"), Alarm: system.AlarmKeyReused, Count: 1})
	s.after(time.Minute)
	s.move(&wallet.Withdrawn{}, "out-1", "withdrawals", 2_500)
	closed := &players.SessionClosed{Player: s.player, Session: session.ID}
	s.byOperator(closed, "leave-1", "/v1/sessions/"+session.ID.String()+"/close", "{}")
	changed := &players.StateChanged{Player: s.player, Reason: s.because("time-out at the player's request"), State: players.Suspended}
	s.byOperator(changed, "state-1", "/v1/players/alice/state", `{"reason":"time-out at the player's request","state":"suspended"}`)
	s.after(time.Minute)
	s.add(&epoch.Revealed{Epoch: 1, Salt: fixed("salt 1"), Secret: fixed("secret 1")})
	disabled := &rounds.GameDisabled{Game: gameID, Reason: s.because("end of the trial")}
	s.byOperator(disabled, "game-1", "/v1/games/lamplight-quay/state", `{"reason":"end of the trial","state":"disabled"}`)
	s.entropy()
	s.after(time.Hour)
	size, root := s.builder.Size(), s.builder.Root()
	s.add(&system.HouseActive{Node: "count-1", Reason: "start", Release: "0.1.0", Root: root, Size: size, Term: 2})
	s.add(&system.HouseRestored{Backup: fixed("back-up"), Reason: s.because("the disk of count-1 was lost"), Root: root, Signed: size, Size: size})
	s.officers()
	s.pair()
	s.outside()
	s.halts()
	s.exchange()
	s.laboratory()
	s.subjects()
	return s
}

func spki(k *ecdsa.PrivateKey) string {
	return hex.EncodeToString(must(x509.MarshalPKIXPublicKey(k.Public())))
}

func (s *story) after(d time.Duration) { s.now = s.now.Add(d) }

// add appends a record to the log by the books' rules.
func (s *story) add(r entry.Record) {
	s.t.Helper()
	h, index := r.Head(), s.builder.Size()
	if h.Actor == "" {
		h.Actor = "house"
	}
	s.after(137 * time.Microsecond)
	h.At, h.ID = s.now, entry.NewUUID(fixed16(fmt.Sprintf("id %d", index)))
	leaf, err := entry.Append(nil, r)
	if err == nil {
		err = books.Fold(s.rows, index, r)
	}
	if err != nil {
		s.t.Fatalf("entry %d, %s: %v", index, r.Type(), err)
	}
	s.leaves = append(s.leaves, leaf)
	s.hashes = append(s.hashes, tlog.LeafHash(leaf))
	s.builder.Add(s.hashes[index])
}

func (s *story) asked(r request) entry.Request {
	e := r.entry()
	s.requests = append(s.requests, r)
	return e
}

func (s *story) byOperator(r entry.Record, key, path, body string) {
	s.t.Helper()
	r.Head().Actor = "operator"
	r.Head().Request = s.asked(request{Scope: "operator", Key: key, Method: "POST", Path: path, Principal: "operator", Body: body})
	s.add(r)
}

func (s *story) because(words string) [32]byte {
	salt := fixed("reason " + words)
	c := entry.Commitment(salt, words)
	s.reasons = append(s.reasons, reason{hex.EncodeToString(salt[:]), words, hex.EncodeToString(c[:])})
	return c
}

// commit commits to the secret of an epoch, as older houses did, and returns its
// key.
func (s *story) commit(n uint64) *chance.Drawer {
	s.t.Helper()
	r := &epoch.CommittedV1{Statement: s.statement(n)}
	r.Sources = []epoch.Source{{Bytes: 64, Conditioned: true, Healthy: true, Name: "linux-getrandom"}}
	r.Signature = s.sealed(must(r.Message(origin)))
	s.add(r)
	return chance.NewDrawer(chance.DeriveKey(fixed(fmt.Sprintf("secret %d", n)), r.Commitment, nil), origin)
}

func (s *story) move(r entry.Record, key, what string, amount int64) {
	s.t.Helper()
	mv, from, to := (*wallet.Movement)(nil), wallet.Cashier, wallet.Cash(s.player)
	switch r := r.(type) {
	case *wallet.Deposited:
		mv = &r.Movement
	case *wallet.Withdrawn:
		mv, from, to = &r.Movement, to, from
	}
	mv.Amount, mv.Player = money.Money{Amount: amount, Currency: "EUR"}, s.player
	mv.Postings = must(wallet.Transfer(s.rows, from, to, mv.Amount))
	s.byOperator(r, key, "/v1/players/alice/"+what, fmt.Sprintf(`{"amount":%d,"currency":"EUR"}`, amount))
}

func (s *story) spin(actor string, d *chance.Drawer, number uint64, key string, stake int64) {
	s.t.Helper()
	now, n := epoch.Now(s.rows), rounds.Next(s.rows, s.player, gameID)
	account := must(players.Find(s.rows, s.player))
	r := d.Draw(gameID, s.machine.Definition().Version, s.player, n, 0, account.NonceAt(now.Active))
	var p books.Play
	if err := p.Round(s.machine, r, stake); err != nil {
		s.t.Fatal(err)
	}
	settled := &rounds.Settled{
		Header:  entry.Header{Actor: actor},
		Draw:    rounds.Draw{Epoch: now.Active, N: n, Number: number, R: r, Values: p.Values},
		Enabled: book.Get[rounds.Game](s.rows, rounds.GameKey(gameID)).Enabled, Game: gameID, Outcome: p.Outcome,
		Payout: money.Money{Amount: p.Payout, Currency: "EUR"}, Player: s.player, Stake: money.Money{Amount: stake, Currency: "EUR"},
	}
	settled.Postings = must(wallet.Transfer(s.rows, wallet.Hold(gameID), wallet.Cash(s.player), settled.Result()))
	settled.Request = s.asked(request{
		Scope: s.player.String(), Key: key, Method: "POST", Path: "/v1/spins", Principal: "player/" + s.player.String() + "/" + gameID, Body: fmt.Sprintf(`{"stake":%d}`, stake),
	})
	s.add(settled)
	s.latest = *settled
	s.displayed = p.Displayed(s.machine, settled)
}

// signed is the checkpoint of the whole log.
func (s *story) signed() []byte {
	return must(tlog.Sign(tlog.Checkpoint{Origin: origin, Size: s.builder.Size(), Root: s.builder.Root()}, append([]note.Signer{s.signer}, s.more...)...))
}

func (s *story) receipt(index uint64) []byte {
	tree := must(tlog.NewTree(s.builder.Size(), nil, s.hashes))
	return tlog.AppendReceipt(nil, index, must(tree.Inclusion(nil, index, s.builder.Size())), s.signed())
}

// files are all files that the story gives, by their path in this folder.
func (s *story) files() map[string][]byte {
	files := map[string][]byte{}
	indent := func(v any) []byte { return append(must(json.MarshalIndent(v, "", "  ")), '\n') }
	var bundle, tile []byte
	spun := uint64(0)
	for i, leaf := range s.leaves {
		typ := must(entry.TypeOf(leaf))
		name := "examples/" + typ + ".json"
		if typ == "round.settled" && spun == 0 {
			spun = uint64(i)
		}
		if files[name] == nil || typ == "officer.enrolled" { // the last of them has approvals
			files[name] = leaf
		}
		bundle = tlog.AppendBundle(bundle, leaf)
		tile = append(tile, s.hashes[i][:]...)
	}
	width := len(s.leaves)
	files["examples/log.vkey"] = []byte(s.vkey + "\n")
	files["examples/log/checkpoint"] = s.signed()
	files["examples/log/"+tlog.TilePath(0, 0, width)] = tile
	files["examples/log/"+tlog.EntriesPath(0, width)] = bundle
	for digest, data := range s.blobs {
		files["examples/log/blob/"+digest] = data
	}
	files["examples/receipt.txt"] = s.receipt(spun)

	var settled rounds.Settled
	if err := entry.Decode(s.leaves[spun], &settled); err != nil {
		s.t.Fatal(err)
	}
	files["examples/answer.json"] = fmt.Appendf(nil, `{"index":%d,"leaf":%s,"receipt":%s,"balance":{"amount":%d,"currency":"EUR"},"round":"%s"}`+"\n",
		spun, s.leaves[spun], must(json.Marshal(string(s.receipt(spun)))), settled.Postings[1].Balance, settled.ID)

	var committed epoch.CommittedV1
	for i, leaf := range s.leaves {
		if must(entry.TypeOf(leaf)) == "seed.committed" && committed.Epoch == 0 {
			if err := entry.Decode(s.leaves[i], &committed); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	files["examples/seed-statement.json"] = must(committed.Message(origin))
	s.variants(files)

	files["vectors/requests.json"] = indent(map[string]any{"requests": s.requests, "commitments": s.reasons})
	files["vectors/rounds.json"] = bytes.ReplaceAll(append(must(json.Marshal(workedRounds(s.machine))), '\n'), []byte(`{"about"`), []byte("\n"+`{"about"`))
	files["vectors/keys.json"] = indent(s.signatures)
	files["vectors/subjects.json"] = indent(s.known)
	files["examples/subjects.jsonl"] = s.disclosed()
	files["vectors/canonical.json"] = indent(canonicalTexts())
	files["vectors/monitor.json"] = bytes.ReplaceAll(append(must(json.Marshal(workedMonitor(s.machine))), '\n'), []byte(`{"name"`), []byte("\n"+`{"name"`))
	for name, leaf := range chanceExamples(s) {
		files[name] = leaf
	}
	return files
}
