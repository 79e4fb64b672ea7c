package worlds

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"countroom/hardware/entropy"
	"countroom/ledger/store"
	"countroom/ledger/tlog"
	"countroom/rngcert/epoch"

	"github.com/sigstore/sigstore/pkg/signature"
)

// weather is how a world is: what is configured, and how likely each fault is.
type weather struct {
	limits     epoch.Limits
	sessionAge time.Duration
	queueMost  int
	cacheRows  int
	indexRun   int

	sources, minimum int // of entropy, each a group of its own, and how many must be healthy

	clients, commands int
	crashesMost       int
	haste             int // of turns against requests

	// In a thousand.
	crash, syncFails, guardFails, fileFails, entropyFails, step, turnsBad, lose, impatient int

	now weatherNow
}

func newWeather(rnd *rand.Rand) weather {
	// Most worlds know some kinds of faults only.
	some := func(most int) int {
		if rnd.IntN(3) == 0 {
			return 0
		}
		return 1 + rnd.IntN(most)
	}
	pick := func(list ...int) int { return list[rnd.IntN(len(list))] }
	w := weather{
		limits: epoch.Limits{
			AgeSeconds: uint64(pick(2, 5, 20, 60)), Draws: uint64(pick(3, 10, 30, 1000)), RevealDelaySeconds: uint64(pick(0, 1, 5, 20)),
		},
		sessionAge: time.Duration(pick(10, 60, 43200)) * time.Second,
		queueMost:  pick(1, 2, 4, 16384), cacheRows: pick(4, 16, 1<<12), indexRun: pick(8, 40, 200, 12288),
		clients: 3 + rnd.IntN(6), commands: 200 + rnd.IntN(201), crashesMost: 1 + rnd.IntN(6),
		haste: 1 + rnd.IntN(8),
		crash: 1 + rnd.IntN(6),
	}
	w.sources = pick(1, 2, 3)
	w.minimum = 1 + rnd.IntN(w.sources)
	if rnd.IntN(8) == 0 { // a calm one
		return w
	}
	w.syncFails, w.guardFails, w.fileFails = some(10), some(5), some(20)
	w.entropyFails, w.step, w.turnsBad = some(60), some(8), some(6)
	w.lose, w.impatient = some(100), some(30)
	return w
}

// weatherNow are the faults that last.
type weatherNow struct {
	silent  bool   // the signer fails
	full    fill   // of the disk
	reading uint64 // other than 0: reads fail, which of them follows from it
}

type fill int

const (
	fillNone fill = iota
	fillLow       // below the reserve
	fillHard      // not a byte is left
)

// reserve is what the store keeps for recovery. Pebble's memtables decide how
// much it takes to open one.
const reserve = 192 << 20

func (f weatherNow) room() uint64 {
	switch f.full {
	case fillLow:
		return reserve - 1
	case fillHard:
		return 0
	}
	return 1 << 40
}

func (f weatherNow) write() error {
	if f.full == fillHard {
		return syscall.ENOSPC
	}
	return nil
}

var (
	errSync    = errors.New("injected: the sync failed")
	errGuard   = errors.New("injected: the guard's record cannot be written")
	errFile    = errors.New("injected: the file cannot be written")
	errSilent  = errors.New("injected: the signer does not answer")
	errEntropy = errors.New("injected: the source is unplugged")
	errRead    = errors.New("injected: short read")
)

// fails decides whether a read fails while reads do: which, and not when or by
// whom.
func (f weatherNow) fails(what []byte, one uint64) error {
	if f.reading == 0 {
		return nil
	}
	h := fnv.New64a()
	h.Write(what)
	if (h.Sum64()^f.reading*0x9e3779b97f4a7c15)%one == 0 {
		return errRead
	}
	return nil
}

// readFile fails reads of the store's files while it is opened. Later, Pebble
// would try again for ever in the background; then it is the store whose reads
// fail.
func (f weatherNow) readFile(name string, at int64, opening bool) error {
	if !opening {
		return nil
	}
	return f.fails([]byte(name), 16)
}

// wrapStore puts the recorder of what is drawn, and failing reads, on the store.
func (p *process) wrapStore(s store.Store) store.Store {
	p.mu.Lock()
	p.storing, p.store = true, s
	p.mu.Unlock()
	return p.w.sabotage.store(p.w, &watchedStore{Store: s, p: p})
}

type watchedStore struct {
	store.Store
	p *process
}

func (s *watchedStore) Commit(ctx context.Context, b *store.Batch) error {
	s.p.recordDrawn(b)
	return s.Store.Commit(ctx, b)
}

// wrapGroup puts the recorder on what a machine of a pair proposes to the others, too:
// what was drawn and lost was in no store.
func (p *process) wrapGroup(s store.Store) store.Store { return &proposed{s, p} }

type proposed struct {
	store.Store
	p *process
}

func (s *proposed) Commit(ctx context.Context, b *store.Batch) error {
	s.p.recordDrawn(b)
	return s.Store.Commit(ctx, b)
}

func (s *watchedStore) Row(key []byte) ([]byte, error) {
	if err := s.p.faults().fails(key, 8); err != nil {
		return nil, err
	}
	return s.Store.Row(key)
}

func (s *watchedStore) Vault(key []byte) ([]byte, error) {
	if err := s.p.faults().fails(key, 8); err != nil {
		return nil, err
	}
	return s.Store.Vault(key)
}

func (s *watchedStore) Index(key []byte) ([]byte, error) {
	if err := s.p.faults().fails(key, 8); err != nil {
		return nil, err
	}
	return s.Store.Index(key)
}

func (s *watchedStore) Leaf(index uint64) ([]byte, error) {
	if err := s.p.faults().fails([]byte{byte(index >> 8), byte(index)}, 8); err != nil {
		return nil, err
	}
	return s.Store.Leaf(index)
}

func (p *process) wrapSigner(s signature.Signer) signature.Signer {
	return p.w.sabotage.signer(p.w, &watchedSigner{s, p})
}

// watchedSigner is a signer that can be slow and silent, and it remembers what
// it let go.
type watchedSigner struct {
	signature.Signer
	p *process
}

func (s *watchedSigner) SignMessage(message io.Reader, opts ...signature.SignOption) ([]byte, error) {
	body, err := io.ReadAll(message)
	if err != nil {
		return nil, err
	}
	if err := s.p.turn(turnSign, ""); err != nil {
		return nil, err
	}
	sig, err := s.Signer.SignMessage(bytes.NewReader(body), opts...)
	if err == nil && !s.p.isDead() {
		c, err := tlog.ParseCheckpointBody(body)
		if err != nil {
			return nil, err
		}
		s.p.w.evidence.sign(c, s.p.disk, vkeyOf(s.Signer))
	}
	return sig, err
}

// source is a source of entropy in one life.
type source struct {
	p     *process
	name  string
	noise *rand.ChaCha8
}

func (w *world) sources(p *process) (list []entropy.Source) {
	for i := range w.weather.sources {
		s := source{p, fmt.Sprint("world-", i+1), rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, w.seed, w.lives, i)))}
		list = append(list, w.sabotage.source(s))
	}
	return list
}

func (s source) Name() string { return s.name }

func (s source) Kind() entropy.Kind {
	return entropy.Kind{Assurance: "software", Group: s.name, MinEntropyPerByte: 4}
}

func (s source) Read(_ context.Context, b []byte) error {
	if err := s.p.turn(turnEntropy, s.name); err != nil {
		return err
	}
	_, err := s.noise.Read(b)
	return err
}

// verdict is what whoever gets a turn meets there.
func (w *world) verdict(kind turnKind) error {
	chance, err := 0, error(nil)
	switch kind {
	case turnSync:
		chance, err = w.weather.syncFails, errSync
	case turnGuard:
		chance, err = w.weather.guardFails, errGuard
	case turnFile:
		chance, err = w.weather.fileFails, errFile
	case turnEntropy:
		chance, err = w.weather.entropyFails, errEntropy
	case turnBeacon:
		chance, err = w.outside.fails, errBeacon
	case turnSign:
		if w.weather.now.silent {
			return errSilent
		}
	}
	if chance > 0 && w.rnd.IntN(1000) < chance {
		w.evidence.census.faults[string(kind)]++
		return err
	}
	return nil
}

// Names of faults for the census; the others are those of their turns.
const (
	faultSigner = "signer"
	faultDisk   = "disk"
	faultReads  = "reads"
	faultClock  = "clock"
)

// turnWeather begins or ends a fault that lasts.
func (w *world) turnWeather() {
	now := &w.weather.now
	what := ""
	switch w.rnd.IntN(3) {
	case 0:
		now.silent = !now.silent
		what = faultSigner
	case 1:
		was := now.full
		now.full = fillNone
		if was == fillNone {
			now.full = fillLow + fill(w.rnd.IntN(2))
		}
		what = faultDisk
	case 2:
		was := now.reading
		now.reading = 0
		if was == 0 {
			now.reading = 1 + w.rnd.Uint64N(1<<40)
		}
		what = faultReads
	}
	w.evidence.census.faults[what]++
	w.say("weather: signer silent %v, disk %d, reads fail %v", now.silent, now.full, now.reading != 0)
	w.applyWeather()
}

func (w *world) applyWeather() {
	if p := w.process; p != nil {
		p.mu.Lock()
		p.weather = w.weather.now
		p.mu.Unlock()
		p.readsFailed = p.readsFailed || w.weather.now.reading != 0
		p.unsound = p.unsound || w.weather.now != weatherNow{}
	}
}
