// Package logtest is a house in memory for tests of what reads a log: it makes
// honest logs from a seed, always the same bytes from the same calls, and lets
// an insider with every key change what goes into them. It has no server and no
// store, and its randomness is of no use outside tests.
package logtest

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing/fstest"
	"time"

	"countroom/games/books"
	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"

	"golang.org/x/mod/sumdb/note"
)

// Config is what a house is made of. The zero value will do.
type Config struct {
	Seed   uint64
	Origin string            // default "logtest.example/house"
	Limits epoch.Limits      // of seed epochs; default 600 s, 1000 draws, 120 s
	Step   time.Duration     // of log time between entries; default 10 ms
	Game   *slots.Definition // default slots.Bundled; Add puts more into play
	// Release is what each process says that it runs; default "test".
	Release string
}

// House is a house whose log is in memory. Fields are the insider's.
type House struct {
	VKey string
	// Tamper, if set, may change a record before it is folded: what follows is
	// built upon the change, by force where the books do not allow it.
	Tamper func(index uint64, r entry.Record)
	// TamperLeaf, if set, may replace a leaf after the fold.
	TamperLeaf func(index uint64, leaf []byte) []byte
	// Draw, if set, replaces the draw value of a round.
	Draw func(honest [32]byte, player entry.Ref, n uint64) [32]byte
	// Commitment, if set, may change a secret and what is signed of it.
	Commitment func(st *epoch.Statement, s *Secret)
	// Policy, if set, is that of the next commitments; V1 makes them, and their
	// activations, as older houses did.
	Policy string
	V1     bool
	// Missing is that the outside does not deliver: the next activation is
	// downgraded.
	Missing bool
	// Signers, if set, sign checkpoints instead of the keys in force.
	Signers []note.Signer
	// Sources are what the next secret comes from; one named "test" at first.
	Sources []epoch.Source
	// Now is the time of the next entry.
	Now entry.Time
	// Silent keeps back what the monitors of chance find.
	Silent bool

	cfg     Config
	random  *rand.ChaCha8
	signer  note.Signer
	signers map[string]note.Signer // of checkpoints, by verifier key
	seeds   *ecdsa.PrivateKey
	exports *ecdsa.PrivateKey
	blobs   fstest.MapFS
	rows    book.Memory
	leaves  [][]byte
	tiles   fstest.MapFS
	builder tlog.Builder
	bundle  []byte
	keys    uint64
	secrets map[uint64]*Secret
	games   map[string]*slots.Machine // the latest definition of each
	play    books.Play
	watch   *monitor.Watch
}

// Secret is what the house hides of an epoch.
type Secret struct {
	Secret, Salt [32]byte
	Drawer       *chance.Drawer
	Statement    epoch.Statement
	V1           bool
}

// Player is a player with an open session.
type Player struct {
	Ref     entry.Ref
	Session entry.UUID
	Game    string // of the session; "" for the house's first
}

// Empty returns a house with its keys and no entry.
func Empty(cfg Config) *House {
	if cfg.Origin == "" {
		cfg.Origin = "logtest.example/house"
	}
	if cfg.Limits == (epoch.Limits{}) {
		cfg.Limits = epoch.Limits{AgeSeconds: 600, Draws: 1000, RevealDelaySeconds: 120}
	}
	if cfg.Release == "" {
		cfg.Release = "test"
	}
	if cfg.Step == 0 {
		cfg.Step = 10 * time.Millisecond
	}
	var machine *slots.Machine
	if cfg.Game == nil {
		machine = bundled()
	} else {
		machine = must(slots.Compile(cfg.Game))
	}
	cfg.Game = machine.Definition()
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], cfg.Seed)
	h := &House{
		cfg: cfg, games: map[string]*slots.Machine{cfg.Game.ID: machine}, random: rand.NewChaCha8(seed), rows: book.Memory{}, tiles: fstest.MapFS{}, blobs: fstest.MapFS{}, secrets: map[uint64]*Secret{}, watch: monitor.NewWatch(),
		Now: entry.TimeOf(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), Sources: []epoch.Source{Source("test", "kernel")},
	}
	h.builder.OnTile = func(t tlog.Tile) {
		h.tiles[tlog.TilePath(t.Level, t.Index, tlog.TileWidth)] = &fstest.MapFile{Data: bytes.Clone(t.Data)}
	}
	key := ed25519.NewKeyFromSeed(h.bytes(32))
	h.VKey = must(tlog.VKey(cfg.Origin, key.Public().(ed25519.PublicKey)))
	h.signer = must(tlog.NewSigner(cfg.Origin, key.Public().(ed25519.PublicKey), func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil }))
	h.signers = map[string]note.Signer{h.VKey: h.signer}
	h.seeds = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), h.bytes(32)))
	return h
}

// New returns a house whose log has its first entries: the house, its process,
// its game and its first commitment.
func New(cfg Config) *House {
	h := Empty(cfg)
	h.Begin()
	return h
}

// Begin appends the first entries to an empty house.
func (h *House) Begin() {
	h.exports = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), h.bytes(32)))
	h.Append(&system.HouseCreated{Format: system.Format, Origin: h.cfg.Origin, Keys: []system.Key{
		{Algorithm: "ed25519", Assurance: system.AssuranceSoftware, Public: h.VKey, Role: system.RoleCheckpoint},
		{Algorithm: "ecdsa-p256", Assurance: system.AssuranceSoftware, Public: spki(h.seeds), Role: system.RoleSeeds},
		{Algorithm: "ecdsa-p256", Assurance: system.AssuranceSoftware, Public: spki(h.exports), Role: system.RoleExports},
	}})
	h.Append(&system.HouseActive{Node: "a", Reason: "created", Release: h.cfg.Release, Size: 1, Term: 1})
	h.Enable(h.cfg.Game.ID)
	h.Commit()
}

func spki(k *ecdsa.PrivateKey) string {
	return hex.EncodeToString(must(x509.MarshalPKIXPublicKey(k.Public())))
}

var bundled = sync.OnceValue(func() *slots.Machine { return must(slots.Compile(slots.Bundled())) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (h *House) bytes(n int) []byte {
	b := make([]byte, n)
	h.random.Read(b)
	return b
}

// Size is the number of entries.
func (h *House) Size() uint64 { return uint64(len(h.leaves)) }

// Leaf returns an entry.
func (h *House) Leaf(index uint64) []byte { return h.leaves[index] }

// Rows are the house's books.
func (h *House) Rows() book.Rows { return h.rows }

// Secret returns what an epoch's secret is.
func (h *House) Secret(n uint64) *Secret { return h.secrets[n] }

// Append adds an entry: it fills in time, identity and, when none is set, an
// actor, lets the insider at it, and folds it.
func (h *House) Append(r entry.Record) (index uint64) {
	head := r.Head()
	head.At = h.Now
	h.Now = h.Now.Add(h.cfg.Step)
	head.ID = entry.NewUUID([16]byte(h.bytes(16)))
	if head.Actor == "" {
		head.Actor = "house"
	}
	index = h.Size()
	if h.Tamper != nil {
		h.Tamper(index, r)
	}
	if err := books.Fold(h.rows, index, r); err != nil {
		h.force(index, r)
	}
	switch r := r.(type) {
	case *rounds.GameEnabled:
		if m := h.games[r.Game]; m != nil {
			h.watch.Enabled(r.Game, r.Maths, m.Definition())
		}
	case *rounds.Settled:
		h.watch.Round(index, r)
	default:
		_ = h.watch.Take(r) // an insider's entry need not be owed
	}
	leaf := must(entry.Append(nil, r))
	if h.TamperLeaf != nil {
		leaf = h.TamperLeaf(index, leaf)
	}
	h.AppendLeaf(leaf)
	if settled, ok := r.(*rounds.Settled); ok && !h.Silent {
		for owed := h.watch.Owed(settled.Game); owed != nil; owed = h.watch.Owed(settled.Game) {
			h.Append(owed)
		}
	}
	return index
}

// AppendLeaf adds any bytes as an entry.
func (h *House) AppendLeaf(leaf []byte) {
	h.leaves = append(h.leaves, leaf)
	h.builder.Add(tlog.LeafHash(leaf))
	h.bundle = tlog.AppendBundle(h.bundle, leaf)
	if n := h.Size(); n%tlog.TileWidth == 0 {
		data := bytes.Clone(h.bundle)
		copy(h.leaves[n-tlog.TileWidth:], must(tlog.ParseBundle(data))) // one copy in memory is enough
		h.tiles[tlog.EntriesPath(n/tlog.TileWidth-1, tlog.TileWidth)] = &fstest.MapFile{Data: data}
		h.bundle = h.bundle[:0]
	}
}

// force makes the books say what a false entry says, so that the entries after
// it are as an insider would have them.
func (h *House) force(index uint64, r entry.Record) {
	post := func(postings []money.Posting) {
		for _, p := range postings {
			h.rows.Put(wallet.Key(p.Account, p.Currency), &wallet.Account{Balance: p.Balance})
		}
	}
	s := epoch.Now(h.rows)
	s.Halted = 0 // whoever breaks a rule plays on
	switch r := r.(type) {
	case *rounds.Settled:
		post(r.Postings)
		h.rows.Put(rounds.CountKey(r.Player, r.Game), &rounds.Count{Last: index, N: r.Draw.N})
		s.Draws = r.Draw.Number
	case *wallet.Deposited:
		post(r.Postings)
	case *wallet.Withdrawn:
		post(r.Postings)
	case *epoch.ActivatedV1:
		s.Active, s.ActivatedAt, s.Draws, s.Limits = r.Epoch, r.At, 0, h.cfg.Limits
	case *epoch.Activated:
		s.Active, s.ActivatedAt, s.Draws, s.Limits = r.Epoch, r.At, 0, h.cfg.Limits
		if s.Ahead <= r.Epoch {
			s.Ahead = 0
		}
	case *epoch.Closed:
		s.Active, s.Closed = 0, r.Epoch
	case *epoch.Halted:
		s.Halted = r.Epoch
	case *decision.Ended:
		s.Active, s.Closed = 0, r.Epoch
	case *decision.Abandoned:
		s.Active, s.Closed = 0, r.Epoch
	}
	h.rows.Put(epoch.StateKey, &s)
	h.forceKey(index, r)
}

// byOperator is the header of an operator's command.
func (h *House) byOperator() entry.Header {
	return entry.Header{Actor: "operator", Request: h.Request("operator")}
}

// Request returns the next idempotent request of a scope.
func (h *House) Request(scope string) entry.Request {
	h.keys++
	key := fmt.Sprintf("key-%d", h.keys)
	return entry.Request{Key: entry.RequestKey(scope, key), Fingerprint: entry.RequestFingerprint(key, "POST", "/v1", scope, nil)}
}

// Add lets the house have another game, or another release of one. Enable puts
// it into play.
func (h *House) Add(d *slots.Definition) { h.games[d.ID] = must(slots.Compile(d)) }

// Enable puts a game into play: of itself at the first start, later by its
// operator.
func (h *House) Enable(game string) uint64 {
	m := h.games[game]
	d, b := m.Definition(), m.Bounds()
	r := &rounds.GameEnabled{
		Definition: d.Canonical(), Engine: "slots", Game: d.ID, LeafMax: must(rounds.LeafMax(d.ID, b.Draws, b.Bytes)),
		Maths: d.Hash(), PayoutMax: b.Payout, Reason: [32]byte(h.bytes(32)), Release: d.Version,
	}
	if h.Size() > 2 {
		r.Header = h.byOperator()
	}
	return h.Append(r)
}

// Disable takes a game out of play.
func (h *House) Disable(game string) uint64 {
	return h.Append(&rounds.GameDisabled{Header: h.byOperator(), Game: game, Reason: [32]byte(h.bytes(32))})
}

// Commit commits to the next epoch's secret.
func (h *House) Commit() uint64 {
	n := epoch.Now(h.rows).Committed + 1
	s := &Secret{Secret: [32]byte(h.bytes(32)), Salt: [32]byte(h.bytes(32))}
	st := epoch.Statement{
		Assurance: system.AssuranceSoftware, Commitment: chance.Commitment(h.cfg.Origin, n, s.Secret, s.Salt), Epoch: n, Limits: h.cfg.Limits,
		Minimum: 1, Policy: cmp.Or(h.Policy, epoch.PolicyNone), Sealed: h.bytes(chance.SealedSize),
		Sources: slices.Clone(h.Sources),
	}
	h.announce(&st)
	if h.Commitment != nil {
		h.Commitment(&st, s)
	}
	s.Drawer = chance.NewDrawer(chance.DeriveKey(s.Secret, st.Commitment, nil), h.cfg.Origin)
	s.Statement, s.V1 = st, h.V1
	h.secrets[n] = s
	if h.V1 {
		r := &epoch.CommittedV1{Statement: st}
		r.Signature = h.sign(must(r.Message(h.cfg.Origin)))
		return h.Append(r)
	}
	return h.Append(&epoch.Committed{Statement: st, Signature: h.sign(must(st.Message(h.cfg.Origin)))})
}

// sign signs with the seeds key, deterministically (RFC 6979).
func (h *House) sign(msg []byte) []byte {
	digest := sha256.Sum256(msg)
	return must(h.seeds.Sign(nil, digest[:], crypto.SHA256))
}

// Turn does what is due with the epochs: it closes and reveals them by their
// rules, and keeps one active and one committed ahead. Since each entry takes
// its time, it looks until nothing is due.
func (h *House) Turn() {
	for before := h.Size() - 1; before != h.Size(); h.turn() {
		before = h.Size()
	}
}

func (h *House) turn() {
	if s := epoch.Now(h.rows); s.Due(h.Now) != "" {
		h.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: s.Due(h.Now)})
	}
	if s := epoch.Now(h.rows); s.Active == 0 && s.Halted == 0 {
		if s.Ahead == 0 {
			h.Commit()
		}
		h.Activate(max(epoch.Now(h.rows).Ahead, s.Closed+1))
	}
	if s := epoch.Now(h.rows); s.Ahead == 0 && s.Halted == 0 {
		h.Commit()
	}
	s := epoch.Now(h.rows)
	if e := book.Get[epoch.Epoch](h.rows, epoch.Key(s.Revealed+1)); e != nil && e.ClosedIndex != 0 && s.Halted != s.Revealed+1 && h.Now >= e.ClosedAt.Add(e.Limits.RevealDelay()) {
		h.Reveal(s.Revealed + 1)
	}
}

// Reveal shows the secret of an epoch.
func (h *House) Reveal(n uint64) uint64 {
	return h.Append(&epoch.Revealed{Epoch: n, Salt: h.secrets[n].Salt, Secret: h.secrets[n].Secret})
}

// Join opens an account in EUR, puts money into it and opens a session.
func (h *House) Join(deposit int64) Player {
	p := h.Register("EUR")
	if deposit > 0 {
		h.Deposit(p, deposit)
	}
	p.Session = h.Open(p)
	return p
}

// Register opens an account and nothing more.
func (h *House) Register(c money.Currency) Player {
	p := Player{Ref: entry.Ref(h.bytes(16))}
	h.Append(&players.Created{Header: h.byOperator(), Currency: c, Player: p.Ref})
	return p
}

// Change opens, suspends or closes a player's account.
func (h *House) Change(p Player, to players.State) uint64 {
	return h.Append(&players.StateChanged{Header: h.byOperator(), Player: p.Ref, Reason: [32]byte(h.bytes(32)), State: to})
}

// Open opens a session for a player.
func (h *House) Open(p Player) entry.UUID {
	r := &players.SessionOpened{Header: h.byOperator(), Expires: h.Now.Add(12 * time.Hour), Game: h.game(p), Player: p.Ref}
	h.Append(r)
	return r.ID
}

// game is what a player's session is for.
func (h *House) game(p Player) string {
	if p.Game == "" {
		return h.cfg.Game.ID
	}
	return p.Game
}

// currency is that of a player's account.
func (h *House) currency(p Player) money.Currency {
	return must(players.Find(h.rows, p.Ref)).Currency
}

// Close closes the player's session.
func (h *House) Close(p Player) uint64 {
	return h.Append(&players.SessionClosed{Header: h.byOperator(), Player: p.Ref, Session: p.Session})
}

// Deposit puts money into a player's account.
func (h *House) Deposit(p Player, amount int64) uint64 {
	m := money.Money{Amount: amount, Currency: h.currency(p)}
	return h.Append(&wallet.Deposited{Movement: wallet.Movement{
		Header: h.byOperator(), Amount: m, Player: p.Ref, Postings: must(wallet.Transfer(h.rows, wallet.Cashier, wallet.Cash(p.Ref), m)),
	}})
}

// Withdraw takes money out of a player's account.
func (h *House) Withdraw(p Player, amount int64) uint64 {
	m := money.Money{Amount: amount, Currency: h.currency(p)}
	return h.Append(&wallet.Withdrawn{Movement: wallet.Movement{
		Header: h.byOperator(), Amount: m, Player: p.Ref, Postings: must(wallet.Transfer(h.rows, wallet.Cash(p.Ref), wallet.Cashier, m)),
	}})
}

// Balance is what a player has.
func (h *House) Balance(p Player) int64 {
	return wallet.Balance(h.rows, wallet.Cash(p.Ref), h.currency(p))
}

// Spin plays a round after turning the epochs, and returns its index.
func (h *House) Spin(p Player, stake int64) uint64 {
	h.Turn()
	r := h.Round(p, stake)
	h.Settle(r)
	return h.Append(r)
}

// Round works out a player's next round, all but its postings.
func (h *House) Round(p Player, stake int64) *rounds.Settled {
	id, currency := h.game(p), h.currency(p)
	machine := h.games[id]
	s := epoch.Now(h.rows)
	n := rounds.Next(h.rows, p.Ref, id)
	draw := h.secrets[s.Active].Drawer.Draw(id, machine.Definition().Version, p.Ref, n, 0, h.nonce(p, s.Active))
	if h.Draw != nil {
		draw = h.Draw(draw, p.Ref, n)
	}
	if err := h.play.Round(machine, draw, stake); err != nil {
		panic(err)
	}
	g := book.Get[rounds.Game](h.rows, rounds.GameKey(id))
	return &rounds.Settled{
		Header:  entry.Header{Actor: players.SessionKey(p.Session), Request: h.Request(p.Ref.String())},
		Draw:    rounds.Draw{Epoch: s.Active, N: n, Number: s.Draws + 1, R: draw, Values: append([]rounds.Drawn(nil), h.play.Values...)},
		Enabled: g.Enabled, Game: id, Outcome: bytes.Clone(h.play.Outcome), Player: p.Ref,
		Payout: money.Money{Amount: h.play.Payout, Currency: currency}, Stake: money.Money{Amount: stake, Currency: currency},
	}
}

// Settle gives a round the postings that its stake and payout call for, even
// when the player has not got the stake.
func (h *House) Settle(r *rounds.Settled) {
	hold, cash, m := wallet.Hold(r.Game), wallet.Cash(r.Player), r.Result()
	r.Postings = []money.Posting{
		{Account: hold, Amount: -m.Amount, Balance: wallet.Balance(h.rows, hold, m.Currency) - m.Amount, Currency: m.Currency},
		{Account: cash, Amount: m.Amount, Balance: wallet.Balance(h.rows, cash, m.Currency) + m.Amount, Currency: m.Currency},
	}
}

// Play plays rounds at random stakes for random players, who deposit when they
// run out of money.
func (h *House) Play(who []Player, count int) {
	stakes := h.cfg.Game.Stakes
	rnd := rand.New(h.random)
	for range count {
		p := who[rnd.IntN(len(who))]
		stake := stakes[rnd.IntN(len(stakes))]
		if h.Balance(p) < stake {
			h.Deposit(p, 100*stakes[len(stakes)-1])
		}
		h.Spin(p, stake)
	}
}

// Alarm says that a key came with two different requests.
func (h *House) Alarm(key [32]byte) uint64 {
	return h.Append(&system.AlarmRaised{About: key, Alarm: system.AlarmKeyReused, Count: 1})
}

// Step says that the machine's clock jumped. Log time goes on.
func (h *House) Step(d time.Duration) uint64 {
	return h.Append(&system.ClockStepped{StepMicroseconds: d.Microseconds()})
}

// Restart says that another process became the writer.
func (h *House) Restart() uint64 {
	s := book.Get[system.State](h.rows, system.StateKey)
	return h.Append(&system.HouseActive{Node: "a", Reason: "start", Release: h.cfg.Release, Root: h.builder.Root(), Size: h.Size(), Term: s.Term + 1})
}

// TakeOver says that a machine of the pair of "a" and "b" became the writer, in
// a term that may leave some out.
func (h *House) TakeOver(node, reason string) uint64 {
	s := book.Get[system.State](h.rows, system.StateKey)
	return h.Append(&system.PairActive{
		Members: []system.Member{{Name: "a", Role: system.RoleMachine}, {Name: "b", Role: system.RoleMachine}, {Name: "w", Role: system.RoleArbiter}},
		Node:    node, Reason: reason, Release: h.cfg.Release, Root: h.builder.Root(), Size: h.Size(), Term: s.Term + 3,
	})
}

// Restore says that another process became the writer, of a back-up, when the
// house had signed so many entries.
func (h *House) Restore(signed uint64) uint64 {
	root, size := h.builder.Root(), h.Size()
	h.Restart()
	return h.Append(&system.HouseRestored{Backup: [32]byte(h.bytes(32)), Reason: [32]byte(h.bytes(32)), Root: root, Signed: signed, Size: size})
}

// Wait lets log time pass.
func (h *House) Wait(d time.Duration) { h.Now = h.Now.Add(d) }

// Checkpoint returns the signed head.
func (h *House) Checkpoint() []byte { return h.Sign(h.Size(), h.builder.Root()) }

// Sign signs any head, with the keys in force at its size.
func (h *House) Sign(size uint64, root tlog.Hash) []byte {
	signers := h.Signers
	for _, k := range keys.List(h.rows) {
		if s := h.signers[k.Public]; s != nil && h.Signers == nil && k.InForce(size) {
			signers = append(signers, s)
		}
	}
	if signers == nil {
		signers = []note.Signer{h.signer}
	}
	return must(tlog.Sign(tlog.Checkpoint{Origin: h.cfg.Origin, Size: size, Root: root}, signers...))
}

// SignNote has the newest checkpoint's key sign any text as a note.
func (h *House) SignNote(text string) []byte {
	return must(note.Sign(&note.Note{Text: text}, h.signer))
}

// Publish returns the log as plain files (c2sp.org/tlog-tiles). Full tiles are
// shared with later calls.
func (h *House) Publish() fstest.MapFS {
	files := fstest.MapFS{"checkpoint": {Data: h.Checkpoint()}}
	for name, f := range h.tiles {
		files[name] = f
	}
	for name, f := range h.blobs {
		files[name] = f
	}
	if len(h.bundle) > 0 {
		files[tlog.EntriesPath(h.Size()/tlog.TileWidth, int(h.Size()%tlog.TileWidth))] = &fstest.MapFile{Data: bytes.Clone(h.bundle)}
	}
	for level := range 8 {
		if part := h.builder.Partial(level); len(part) > 0 {
			path := tlog.TilePath(level, h.Size()>>(8*(level+1)), len(part)/len(tlog.Hash{}))
			files[path] = &fstest.MapFile{Data: bytes.Clone(part)}
		}
	}
	return files
}

// Answer returns what the house answered a command with: the leaf at an index
// and its receipt under the present head, as indented JSON.
func (h *House) Answer(index uint64) []byte {
	var hashes []tlog.Hash
	for i := range h.leaves {
		hashes = append(hashes, tlog.LeafHash(h.leaves[i]))
	}
	receipt := tlog.AppendReceipt(nil, index, inclusion(hashes, index), h.Checkpoint())
	return must(json.MarshalIndent(map[string]any{"leaf": json.RawMessage(h.leaves[index]), "receipt": string(receipt)}, "", "  "))
}

// inclusion is PATH(m, D[n]) of RFC 6962, section 2.1.1, by its definition.
func inclusion(leaves []tlog.Hash, m uint64) []tlog.Hash {
	if len(leaves) == 1 {
		return nil
	}
	k := uint64(1)
	for 2*k < uint64(len(leaves)) {
		k *= 2
	}
	if m < k {
		return append(inclusion(leaves[:k], m), rootOf(leaves[k:]))
	}
	return append(inclusion(leaves[k:], m-k), rootOf(leaves[:k]))
}

func rootOf(leaves []tlog.Hash) tlog.Hash {
	var b tlog.Builder
	for _, h := range leaves {
		b.Add(h)
	}
	return b.Root()
}

// Origin is the log's name.
func (h *House) Origin() string { return h.cfg.Origin }

// Game is the latest definition of a game.
func (h *House) Game(id string) *slots.Definition { return h.games[id].Definition() }
