// Package house holds the use cases of a gaming house: seat a player, move
// money, take a bet, draw, settle, and keep the seeds turning. Each is a
// command of the ledger, decided on its one writer from the books alone.
package house

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/wallet"
	"countroom/rngcert/chance"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"

	"github.com/sigstore/sigstore/pkg/signature"
)

// Refusals of the house's own; those of the books and the ledger are theirs.
var (
	ErrPlayerExists = errors.New("a player of this id exists")
	ErrCurrency     = errors.New("the player's account is in another currency")
	ErrBalanceFull  = errors.New("the balance could leave the range of the ledger")
	ErrToken        = errors.New("not a session token of this house")
	ErrGameState    = errors.New("the game is in that state already")
)

// Sealer keeps seed secrets so that only this house can open them.
type Sealer interface {
	Seal(context []byte, secret, salt [32]byte) ([]byte, error)
	Open(context, sealed []byte) (secret, salt [32]byte, err error)
	Assurance() string
}

// Config is what a house is made of.
type Config struct {
	Origin  string // the log's name
	Node    string // this machine's name
	Release string // version of the software
	Keys    []system.Key
	// Members are those of the pair that this machine is of, by name; nil is a
	// single machine.
	Members func() []system.Member
	// Carry, on a pair, sees to it that the other machine can sign with a key, and is
	// asked before a key comes into force.
	Carry func(ctx context.Context, role, public string) error
	Games []*slots.Definition // what can be enabled; at first start all are

	Seeds   signature.Signer // ECDSA P-256, signs seed statements
	Exports signature.Signer // ECDSA P-256, signs what the house hands out
	// Signers are the keys at hand of a house that exchanges them, by their public
	// keys as in Keys, which then has them all. Without it Seeds is the one for seeds.
	Signers map[string]signature.Signer
	Sealer  Sealer
	// Secret returns a fresh 256-bit secret and the sources that it came from.
	Secret func(context.Context) ([32]byte, []epoch.Source, error)
	Limits epoch.Limits // of new epochs; zero means epoch.Default
	// SourcesMinimum is how many independent groups of sources a secret needs, 1
	// at the least.
	SourcesMinimum uint64
	External       External // what the outside adds to new seeds
	// Escrow, if set, seals the secret of an epoch to parties outside as well.
	Escrow func(n uint64, secret, salt [32]byte) (*epoch.Escrow, error)
	// Sources are those that Secret draws on; nil where nobody looks after them.
	Sources     Sources
	TendSources time.Duration // how often; default 5 seconds

	// Look returns the SHA-256 of the program's file and of the configuration in
	// force. Without it the house says nothing of its program, and cannot enter
	// production.
	Look func() (program, configuration [32]byte, err error)
	// Production: from the next start on, for ever, games need certificates.
	Production bool

	TokenKey   [32]byte      // session tokens are MACs under it
	VaultKey   [32]byte      // what of the vault is not about one player is encrypted under it
	SessionAge time.Duration // default 12 hours

	// VaultOldest is the key of the oldest period of the vault that is kept. What the
	// keys of players are wrapped with follows from it.
	VaultOldest Ratchet
	// KeepVaultOldest puts another one in its place for good, durably; the key before
	// must not be left anywhere.
	KeepVaultOldest func(Ratchet) error
	VaultPeriod     time.Duration // default RewrapEvery

	// SuspendOnAlarm takes a game out of play when its monitor raises an alarm.
	SuspendOnAlarm bool

	Log *slog.Logger
}

// House is an open house. Its methods may be called by any goroutine.
type House struct {
	cfg     Config
	ledger  *ledger.Ledger
	vault   *vault
	seeds   seeds
	ring    ring
	sources sources
	outside outside

	definitions map[string]*game // by game id: what can be enabled
	machines    sync.Map         // maths hash → *game: what was ever enabled
	enabled     sync.Map         // game id → *game: what was enabled last

	rewrapping sync.Mutex    // one at a time
	erased     atomic.Uint64 // how many players, since the start

	sessions *recent[entry.UUID, *seat]
	ids      *recent[string, entry.Ref]

	reused struct {
		sync.Mutex
		count uint64
		last  time.Time
	}
	settled atomic.Uint64

	monitors monitors
	alarmed  atomic.Uint64

	quit chan struct{}
	done sync.WaitGroup
}

// game is a compiled definition.
type game struct {
	machine   *slots.Machine
	id        string
	release   string
	canonical []byte
	maths     [32]byte
	bounds    slots.Bounds
	leafMax   uint64
}

// Books are the books of a gaming house, for the ledger.
func Books() ledger.Books {
	return ledger.Books{Version: books.Version, Kinds: books.Kinds, Decode: books.Decode, Fold: books.Fold, Index: index}
}

// Index groups: what a player's reference leads to.
const (
	roundsOf       ledger.Group = 'r'
	transactionsOf ledger.Group = 't'
	personOf       ledger.Group = 's' // what was recorded of him; with no reference, of anybody
)

// PlayerGroups are all index groups that a player's reference leads to entries
// by.
var PlayerGroups = []ledger.Group{roundsOf, transactionsOf, personOf}

func index(dst []ledger.IndexRow, i uint64, r entry.Record) []ledger.IndexRow {
	switch r := r.(type) {
	case *system.HouseActive, *system.PairActive:
		return append(dst, ledger.IndexRow{Group: actives, Index: i})
	case *rounds.Settled:
		return append(dst, ledger.IndexRow{Group: roundsOf, Name: r.Player, Index: i})
	case *wallet.Deposited:
		return append(dst, ledger.IndexRow{Group: transactionsOf, Name: r.Player, Index: i})
	case *wallet.Withdrawn:
		return append(dst, ledger.IndexRow{Group: transactionsOf, Name: r.Player, Index: i})
	case *subjects.Erased:
		return append(dst, ledger.IndexRow{Group: personOf, Name: r.Player, Index: i})
	case *subjects.Recorded:
		return append(dst, ledger.IndexRow{Group: personOf, Name: r.Player, Index: i}, ledger.IndexRow{Group: personOf, Index: i})
	}
	return dst
}

// selfTest holds the generator of draws against known answers before anything
// is played, or replaced by a machine that takes over. A test replaces it.
var selfTest = chance.SelfTest

// Open opens the house over its ledger. An empty log gets its first entries:
// the house, its keys and its games. Over a passive ledger it reads only, until
// the ledger is promoted and TakeOver is called.
func Open(ctx context.Context, l *ledger.Ledger, cfg Config) (*House, error) {
	if err := selfTest(); err != nil {
		return nil, err
	}
	if cfg.Limits == (epoch.Limits{}) {
		cfg.Limits = epoch.Default
	}
	if err := cfg.Limits.Check(); err != nil {
		return nil, fmt.Errorf("seed epochs: %w", err)
	}
	if err := cfg.External.Check(); err != nil {
		return nil, fmt.Errorf("external: %w", err)
	}
	cfg.SourcesMinimum = max(cfg.SourcesMinimum, 1)
	if cfg.SessionAge == 0 {
		cfg.SessionAge = 12 * time.Hour
	}
	if cfg.SessionAge < time.Microsecond || cfg.SessionAge > players.SessionLongest {
		return nil, fmt.Errorf("session age %v: expected at most %v", cfg.SessionAge, players.SessionLongest)
	}
	if cfg.VaultPeriod == 0 {
		cfg.VaultPeriod = RewrapEvery
	}
	if cfg.TendSources == 0 {
		cfg.TendSources = tendEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	h := &House{
		cfg: cfg, ledger: l, vault: newVault(cfg.VaultKey, cfg.VaultOldest), definitions: map[string]*game{},
		sessions: newRecent[entry.UUID, *seat](1 << 17), ids: newRecent[string, entry.Ref](1 << 17),
		quit: make(chan struct{}),
	}
	h.seeds.init(h)
	h.ring.init(&cfg)
	h.sources.init(h)
	h.outside.init(h)
	h.monitors.h = h
	for _, d := range cfg.Games {
		g, err := compile(d)
		if err != nil {
			return nil, fmt.Errorf("game %s: %w", d.ID, err)
		}
		h.definitions[g.id] = g
	}
	if err := h.load(ctx); err != nil { // nothing is written before it is certain that all keys belong to this log
		return nil, err
	}
	if l.Passive() {
		return h, nil
	}
	if l.Size() > 0 {
		if err := h.seeds.load(ctx); err != nil {
			return nil, err
		}
	}
	if !l.ReadOnly() {
		if err := h.begin(ctx, false); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// compile prepares a definition and proves its worst case.
func compile(d *slots.Definition) (*game, error) {
	m, err := slots.Compile(d)
	if err != nil {
		return nil, err
	}
	g := &game{machine: m, id: d.ID, release: d.Version, canonical: d.Canonical(), maths: d.Hash(), bounds: m.Bounds()}
	if g.bounds.Draws > rounds.MaxDrawn {
		return nil, fmt.Errorf("a round may draw %d integers, at most %d are recorded", g.bounds.Draws, rounds.MaxDrawn)
	}
	g.leafMax, err = rounds.LeafMax(g.id, g.bounds.Draws, g.bounds.Bytes)
	return g, err
}

// start makes this process the log's writer. A new house is founded with all
// games that were configured, in the one command: there is no half of it.
func (h *House) start(ctx context.Context, planned bool) error {
	signed := h.ledger.Signed()
	reason, err := h.why(planned)
	if err != nil {
		return err
	}
	restored, err := h.restored(ctx)
	if err != nil {
		return err
	}
	var found *certificates.Verified
	if h.cfg.Look != nil {
		if found, err = h.found(certificates.AtStart); err != nil {
			return err
		}
	} else if h.cfg.Production {
		return errors.New("production: expected a house that can look at its own program")
	}
	checkRow := h.vault.seal(vaultCheck, []byte(h.cfg.Origin))
	var games []func(*ledger.Tx) *rounds.GameEnabled
	if signed == nil {
		for _, d := range h.cfg.Games {
			games = append(games, h.enabling("house", h.definitions[d.ID], "first start"))
		}
	}
	_, err = h.ledger.Update(ctx, ledger.Command{Reads: []string{system.StateKey, noise.StateKey, subjects.StateKey, vaultPeriod, vaultRewrapping}, Run: func(tx *ledger.Tx) error {
		fresh := tx.Size() == 0
		if fresh {
			if _, err := tx.Append(&system.HouseCreated{Header: byHouse(), Format: system.Format, Keys: h.cfg.Keys, Origin: h.cfg.Origin}); err != nil {
				return err
			}
			tx.PutVault(vaultCheck, checkRow)
		}
		if _, err := tx.Append(h.active(tx.Size(), signed, reason)); err != nil {
			return err
		}
		for _, enabling := range games {
			if _, err := tx.Append(enabling(tx)); err != nil {
				return err
			}
		}
		if restored != nil {
			if err := h.noteRestored(tx, restored); err != nil {
				return err
			}
		}
		if err := h.beginPeriods(tx, fresh); err != nil {
			return err
		}
		if found != nil {
			if err := h.verified(tx, found); err != nil {
				return err
			}
		}
		if h.cfg.Production && !certificates.Now(tx).Production {
			_, err := tx.Append(&certificates.Production{Header: byHouse()})
			return err
		}
		return nil
	}})
	if err != nil {
		return fmt.Errorf("becoming the writer: %w", err)
	}
	if signed == nil {
		for _, d := range h.cfg.Games {
			h.keepGame(h.definitions[d.ID])
		}
	}
	return nil
}

// vaultCheck is the row that tells whether the vault key is the right one.
const vaultCheck = "vault/check"

// checkVault refuses to go on with a vault key that opens nothing: known
// players would be strangers.
func (h *House) checkVault(context.Context) error {
	var row *ledger.VaultRow
	err := h.ledger.Peek(func(rows ledger.Durable) error {
		row = book.Get[ledger.VaultRow](rows, vaultCheck)
		return nil
	})
	if err != nil {
		return err
	}
	if row == nil {
		return h.vault.check(nil)
	}
	return h.vault.check(row.Value)
}

// checkIdentity refuses to go on a log that belongs to other keys.
func (h *House) checkIdentity(context.Context) error {
	var leaf []byte
	err := h.ledger.Peek(func(d ledger.Durable) (err error) {
		leaf, err = d.Leaf(0)
		return err
	})
	if err != nil {
		return err
	}
	var created system.HouseCreated
	if err := entry.Decode(leaf, &created); err != nil {
		return fmt.Errorf("entry 0: %w", err)
	}
	if created.Origin != h.cfg.Origin {
		return fmt.Errorf("the log belongs to %q, this house is configured as %q", created.Origin, h.cfg.Origin)
	}
	return h.checkKeys()
}

func byHouse() entry.Header { return entry.Header{Actor: "house"} }

// loadGames compiles what the log enabled.
func (h *House) loadGames(context.Context) error {
	return h.ledger.Peek(func(d ledger.Durable) error {
		for _, g := range h.definitions {
			if r := book.Get[rounds.Release](d, rounds.ReleaseKey(g.id, g.release)); r != nil && r.Maths != g.maths {
				return fmt.Errorf("game %s: release %s is in the log with another definition (maths %x): a changed one needs a new version", g.id, g.release, r.Maths)
			}
		}
		all := book.Get[rounds.Games](d, rounds.GamesKey)
		if all == nil {
			return nil
		}
		for _, id := range all.IDs {
			if err := h.loadGame(d, id); err != nil {
				return fmt.Errorf("game %s: %w", id, err)
			}
		}
		return nil
	})
}

func (h *House) loadGame(d ledger.Durable, id string) error {
	known := book.Get[rounds.Game](d, rounds.GameKey(id))
	if known == nil {
		return errors.New("its row cannot be read")
	}
	if g, ok := h.machines.Load(known.Maths); ok {
		h.keepGame(g.(*game))
		return nil
	}
	leaf, err := d.Leaf(known.Enabled)
	if err != nil {
		return err
	}
	var r rounds.GameEnabled
	if err := entry.Decode(leaf, &r); err != nil {
		return fmt.Errorf("entry %d: %w", known.Enabled, err)
	}
	definition, err := slots.Parse(r.Definition)
	if err != nil {
		return fmt.Errorf("entry %d: %w", known.Enabled, err)
	}
	g, err := compile(definition)
	if err != nil {
		return fmt.Errorf("entry %d: %w", known.Enabled, err)
	}
	h.keepGame(g)
	return nil
}

func (h *House) keepGame(g *game) {
	h.machines.Store(g.maths, g)
	h.enabled.Store(g.id, g)
}

// Close stops what the house does by itself; the ledger is closed after it.
func (h *House) Close() {
	h.reused.Lock() // so that no alarm is begun that is not waited for
	close(h.quit)
	h.reused.Unlock()
	h.done.Wait()
	h.seeds.destroy()
}

// Request is an outside command's idempotency.
type Request struct {
	Key       string // as the client chose it, 1 to 255 printable characters
	Method    string
	Path      string
	Principal string // "operator", or the session's
	Body      []byte // canonical JSON
}

func (r *Request) entry(scope string) entry.Request {
	return entry.Request{
		Key:         entry.RequestKey(scope, r.Key),
		Fingerprint: entry.RequestFingerprint(r.Key, r.Method, r.Path, r.Principal, r.Body),
	}
}

// operatorScope is the scope of operators' idempotency keys.
const operatorScope = "operator"

// update runs a command and looks after alarms.
func (h *House) update(ctx context.Context, cmd ledger.Command) (ledger.Receipt, error) {
	r, err := h.ledger.Update(ctx, cmd)
	if errors.Is(err, ledger.ErrKeyReused) {
		h.noteReuse(cmd.Request.Key)
	}
	return r, err
}

// Refuse answers a request that cannot become a command: the look-up of its key
// still comes before the reason why. The session is nil for an operator's
// request. The error is why, unless the key was used before: an earlier answer
// to the very same request is given again.
func (h *House) Refuse(ctx context.Context, req Request, session *Session, why error) (ledger.Receipt, error) {
	scope := operatorScope
	if session != nil {
		scope = session.s.scope
	}
	return h.update(ctx, ledger.Command{Request: req.entry(scope), Run: func(*ledger.Tx) error { return why }})
}

// noteReuse raises an alarm entry, at most once a minute.
func (h *House) noteReuse(key [32]byte) {
	h.reused.Lock()
	defer h.reused.Unlock()
	select {
	case <-h.quit:
		return
	default:
	}
	h.reused.count++
	now := time.Now()
	if now.Sub(h.reused.last) < time.Minute {
		return
	}
	count := h.reused.count
	h.reused.count, h.reused.last = 0, now
	h.done.Add(1)
	go func() {
		defer h.done.Done()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := h.ledger.Update(ctx, ledger.Command{Run: func(tx *ledger.Tx) error {
			_, err := tx.Append(&system.AlarmRaised{Header: byHouse(), Alarm: system.AlarmKeyReused, About: key, Count: count})
			return err
		}})
		if err != nil {
			h.cfg.Log.Error("an alarm was not recorded", "alarm", system.AlarmKeyReused, "error", err)
		}
	}()
}

// Session tokens: base64url of the session's id and its MAC under the house's
// token key. They are never stored, and a retry gets the same one.

func (h *House) token(id entry.UUID) string {
	return base64.RawURLEncoding.EncodeToString(append(id[:], h.tokenMAC(id)...))
}

func (h *House) tokenMAC(id entry.UUID) []byte {
	m := hmac.New(sha256.New, h.cfg.TokenKey[:])
	m.Write([]byte("countroom/session-token/v1"))
	m.Write(id[:])
	return m.Sum(nil)
}

func (h *House) openToken(token string) (id entry.UUID, err error) {
	if len(token) != base64.RawURLEncoding.EncodedLen(16+32) {
		return id, ErrToken
	}
	var b [48]byte
	// The decoder passes over line ends, and then there are fewer bytes.
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(token)); err != nil || n != len(b) {
		return id, ErrToken
	}
	id = entry.UUID(b[:16])
	if !hmac.Equal(b[16:], h.tokenMAC(id)) {
		return id, ErrToken
	}
	return id, nil
}

// seat is what never changes about a session, with the keys of the rows that
// its spins touch.
type seat struct {
	id       entry.UUID
	player   entry.Ref
	game     string
	currency money.Currency

	actor, scope, principal, cash, hold string

	reads []string
	next  atomic.Uint64 // the round number that its next spin will probably have
	// account is the player's row as it was seen last, for his nonces.
	account atomic.Pointer[players.Player]
}

// Seat finds the session of a token. That it is still open is for the commands
// to decide, so that a retry after its end gets its old answer.
func (h *House) Seat(ctx context.Context, token string) (Session, error) {
	id, err := h.openToken(token)
	if err != nil {
		return Session{}, err
	}
	if s, ok := h.sessions.get(id); ok {
		return Session{s}, nil
	}
	s := &seat{id: id}
	err = h.ledger.View(ctx, func(rows book.Reader) error {
		row := book.Get[players.Session](rows, players.SessionKey(id))
		if row == nil {
			return ErrToken
		}
		p, err := players.Find(rows, row.Player)
		if err != nil {
			return err
		}
		s.player, s.game, s.currency = row.Player, row.Game, p.Currency
		s.account.Store(p)
		s.next.Store(rounds.Next(rows, row.Player, row.Game))
		return nil
	})
	if err != nil {
		return Session{}, err
	}
	s.actor, s.scope = players.SessionKey(id), s.player.String()
	s.principal = "player/" + s.scope + "/" + s.game
	s.cash, s.hold = wallet.Cash(s.player), wallet.Hold(s.game)
	s.reads = []string{
		certificates.StateKey,
		players.SessionKey(id), players.PlayerKey(s.player), rounds.GameKey(s.game), rounds.CountKey(s.player, s.game),
		wallet.Key(s.cash, s.currency), wallet.Key(s.hold, s.currency), epoch.StateKey, noise.StateKey,
	}
	h.sessions.put(id, s)
	return Session{s}, nil
}

// Session is a session that a token was found to stand for.
type Session struct{ s *seat }

// Player is the session's player.
func (s Session) Player() entry.Ref { return s.s.player }

// Principal is who a session's requests come from: the player at the game, so
// that a retry through a later session gets its old answer.
func (s Session) Principal() string { return s.s.principal }

// Game is the session's game.
func (s Session) Game() string { return s.s.game }

func random[T ~[16]byte | ~[32]byte | ~[12]byte]() (b T) {
	switch p := any(&b).(type) {
	case *[16]byte:
		rand.Read(p[:])
	case *[32]byte:
		rand.Read(p[:])
	case *[12]byte:
		rand.Read(p[:])
	default:
		panic("random: no such width")
	}
	return b
}
