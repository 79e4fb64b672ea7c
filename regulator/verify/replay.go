package verify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"
	"time"

	"countroom/games/books"
	"countroom/games/certificates"
	"countroom/games/monitor"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/assessment"
	"countroom/rngcert/chance"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"

	"golang.org/x/mod/sumdb/note"
)

// LateReveal is how much log time may pass after a secret is due before a report
// warns.
const LateReveal = 5 * time.Minute

// replay goes through the log in order.
type replay struct {
	report  *Report
	opts    Options
	v       note.Verifier
	kept    []kept
	compare *compare
	// stranger is set while the checkpoint is not known to be signed by the log:
	// why the key at hand does not vouch for it.
	stranger error
	chain    Chain
	complete bool // the tree was checked to its end
	unread   bool // an entry is of a type that this version does not know

	games   machines
	builder tlog.Builder
	full    []tlog.Tile // full upper tiles that are not compared yet
	player  player      // for rounds that came before their game was known

	// The rules' own state, of use until stopped is set.
	stopped  string
	unknown  error
	rows     *book.Table
	active   *active // the latest process
	restores []restore
	seeds    *ecdsa.PublicKey
	outside  outside
	opened   map[uint64]opened // by epoch: secrets that others opened
	nonces   nonces
	blobs    blobs
	software software
	secrets  map[[32]byte]uint64 // revealed, with their epochs
	last     entry.Time
	ids      *set[uint64] // with what was to be seen of a round (displayed.showing)
	keys     *set[struct{}]
	draws    map[uint64]*draws // by epoch, until it is revealed
	pages    pages
	due      []secret // of closed epochs, in order
	totals   map[totalsKey]*Totals
	cash     map[string]*Cash
	at       struct { // of the latest round, which the next is likely to share
		totalsKey
		*Totals
		epoch uint64
		draws *draws
	}
	replayed  uint64
	missed    uint64 // rounds that could not be recomputed
	watch     *monitor.Watch
	displayed displayed
	alarms    map[string]uint64 // that monitors raised, by game
}

type totalsKey struct{ game, currency string }

// secret is one that should come out. overdue is the first entry's time at
// which it should have: a log that stood still is not late.
type secret struct {
	epoch   uint64
	due     entry.Time
	overdue entry.Time
}

func newReplay(report *Report, opts Options, v note.Verifier, all []kept) *replay {
	return &replay{
		report: report, opts: opts, v: v, kept: all, chain: Chain{Origin: v.Name()}, rows: book.NewTable(), ids: newSet[uint64](), keys: newSet[struct{}](), secrets: map[[32]byte]uint64{}, nonces: nonces{},
		opened: map[uint64]opened{}, draws: map[uint64]*draws{}, totals: map[totalsKey]*Totals{}, cash: map[string]*Cash{},
		watch: monitor.NewWatch(), alarms: map[string]uint64{}, displayed: displayed{seed: maphash.MakeSeed()},
	}
}

// run streams the log: workers fetch bundles and do with each what needs no
// order, and this goroutine takes them in order.
func (r *replay) run(ctx context.Context, src Source, head tlog.Checkpoint) error {
	r.complete = false
	r.blobs = blobs{ctx, src}
	r.compare = newCompare(r.report, r.kept, head)
	r.builder.OnTile = func(t tlog.Tile) {
		if t.Level > 0 {
			t.Data = bytes.Clone(t.Data)
			r.full = append(r.full, t)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	from := r.builder.Size() / tlog.TileWidth * tlog.TileWidth // the bundle in which the log ended
	depth := 2*r.opts.Workers + 2
	free, todo, ordered := make(chan *bundle, depth), make(chan *bundle), make(chan *bundle, depth)
	for range depth {
		free <- &bundle{ready: make(chan struct{}, 1)}
	}
	running.Go(func() {
		defer close(todo)
		defer close(ordered)
		for base := from; base < head.Size; base += tlog.TileWidth {
			select {
			case b := <-free:
				b.base, b.width = base, int(min(head.Size-base, tlog.TileWidth))
				ordered <- b
				select {
				case todo <- b:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	for range r.opts.Workers {
		running.Go(func() {
			w := worker{src: src, games: &r.games}
			for b := range todo {
				w.work(ctx, b)
				b.ready <- struct{}{}
			}
		})
	}

	var buf []byte
	for b := range ordered {
		select {
		case <-b.ready:
		case <-ctx.Done():
			return unchecked("entries from %d on: %w", b.base, context.Cause(ctx))
		}
		if b.err != nil {
			return unchecked("entries from %d on: %w", b.base, b.err)
		}
		r.bundle(b)
		for _, t := range r.full {
			if err := r.tile(ctx, src, &buf, t.Level, t.Index, t.Data); err != nil {
				return err
			}
		}
		r.full = r.full[:0]
		done := b.base + uint64(b.width)
		if r.opts.Progress != nil && (done%(1<<14) == 0 || done == head.Size) {
			r.opts.Progress(done, head.Size)
		}
		free <- b
	}
	if r.builder.Size() != head.Size {
		return unchecked("entries from %d on: %w", r.builder.Size(), context.Cause(ctx))
	}
	for level := 1; level < 8; level++ {
		if part := r.builder.Partial(level); len(part) > 0 {
			if err := r.tile(ctx, src, &buf, level, head.Size>>(8*(level+1)), part); err != nil {
				return err
			}
		}
	}
	r.compare.root(head.Size, r.builder.Root())
	if root := r.builder.Root(); root != head.Root {
		r.report.find(Finding{
			Index: head.Size, Type: "tree", Rule: "signed-root",
			Expected: fmt.Sprintf("root %x of size %d, as signed", head.Root, head.Size), Found: fmt.Sprintf("%x, from the entries", root),
		})
	}
	r.complete = true
	return r.unknown
}

// tile compares one upper tile.
func (r *replay) tile(ctx context.Context, src Source, buf *[]byte, level int, n uint64, data []byte) error {
	const size = len(tlog.Hash{})
	f, err := checkTile(ctx, src, buf, level, n, len(data)/size, func(i int) []byte { return data[i*size : (i+1)*size] })
	if err != nil {
		return unchecked("%w", err)
	}
	r.tileDone(f)
	return nil
}

func (r *replay) tileDone(f *Finding) {
	if f != nil {
		r.report.find(*f)
	} else {
		r.report.Tiles++
	}
}

// bundle takes the entries of a bundle in order.
func (r *replay) bundle(b *bundle) {
	r.tileDone(b.tile)
	faults := b.faults
	for i := range b.width {
		index := b.base + uint64(i)
		if index < r.builder.Size() {
			continue // it was there when the log ended in this bundle
		}
		if r.compare.wants(index) {
			r.compare.root(index, r.builder.Root())
		}
		r.compare.leaf(index, b.leaves[i], b.hashes[i])
		if i < b.bad {
			r.chain.Entry(index, b.records[i])
		} else {
			r.chain.Leaf(index, b.leaves[i])
		}
		switch {
		case r.stopped != "":
		case i == b.bad:
			r.undecodable(index, b.leaves[i], b.badErr)
		default:
			for len(faults) > 0 && faults[0].at < i {
				faults = faults[1:]
			}
			n := 0
			for n < len(faults) && faults[n].at == i {
				n++
			}
			r.entry(index, b.records[i], b.played[i], &b.shown[i], faults[:n])
		}
		r.builder.Add(b.hashes[i])
	}
}

func (r *replay) undecodable(index uint64, leaf []byte, err error) {
	if errors.Is(err, books.ErrUnknownType) {
		r.unknown, r.unread = unchecked("entry %d: %w", index, err), true
		r.stop(index, "is of a type that this version does not know")
		return
	}
	r.report.find(*malformed(index, leaf, err))
	r.stop(index, "cannot be read")
}

// stop ends the replay of rules: what the books say after a broken rule means
// nothing.
func (r *replay) stop(index uint64, why string) {
	r.stopped = fmt.Sprintf("the rules from entry %d on, which %s; the tree was checked to its end", index, why)
}

// entry holds one entry against every rule.
func (r *replay) entry(index uint64, e entry.Record, played bool, shown *[32]byte, faults []fault) {
	h := e.Head()
	broken := func(rule, expected, found string) {
		r.report.find(Finding{Index: index, Type: e.Type(), Rule: rule, Expected: expected, Found: found})
	}
	if h.At < r.last {
		broken("time", "not before "+r.last.String(), h.At.String())
	} else {
		r.last = h.At
	}
	seen, added := r.ids.add(h.ID)
	if !added {
		broken("id-unique", "an id that no entry had", h.ID.String())
	}
	if !h.Request.IsZero() {
		if _, added := r.keys.add([16]byte(h.Request.Key[:16])); !added {
			broken("request-key-unique", "an idempotency key that no entry had", hex.EncodeToString(h.Request.Key[:]))
		}
	}
	for i := range faults {
		r.report.find(faults[i].Finding)
	}
	settled, round := e.(*rounds.Settled)
	if round && !played && settled.Enabled < index {
		played, *shown = r.player.round(&r.games, settled, broken)
	}
	r.caused(e, broken)
	r.answered(e, broken)
	r.before(index, e, broken)
	if err := books.Fold(r.rows, index, e); err != nil {
		var v *book.Violation
		if !errors.As(err, &v) {
			v = &book.Violation{Rule: "fold", Expected: "an entry that the books can take", Found: err.Error()}
		}
		broken(v.Rule, v.Expected, v.Found)
		r.stop(index, "breaks a rule of the books")
		return
	}
	if round {
		if played {
			*seen = r.displayed.showing(settled.Player, shown)
		} else {
			r.missed++
		}
		r.round(index, settled)
		r.watchRound(index, settled, broken)
	} else {
		r.report.Types[e.Type()]++
		r.after(index, e, broken)
	}
	if len(r.due) > 0 {
		for i := range r.due {
			if s := &r.due[i]; s.overdue == 0 && h.At >= s.due {
				s.overdue = h.At
			}
		}
	}
	r.software.entry(r.report, index, e)
	if r.replayed == 0 {
		r.report.First = h.At
	}
	r.replayed++
}

// before holds the rules that need the state before the entry.
func (r *replay) before(index uint64, e entry.Record, broken func(rule, expected, found string)) {
	writer := activeOf(e)
	if index == 1 && writer == nil {
		broken("active-first", "house.active as entry 1", e.Type())
	}
	if writer != nil {
		r.activated(index, writer, broken)
	}
	switch e := e.(type) {
	case *system.HouseCreated:
		if index == 0 {
			r.created(e, broken)
		}
	case *system.HouseRestored:
		r.restored(index, e, broken)
	case *system.AlarmRaised:
		r.alarm(index, e, broken)
	case *epoch.CommittedV1:
		r.seedSigned(e.Message, e.Signature, broken)
		r.outside.committed = nil
	case *rounds.Displayed:
		r.claimed(e, broken)
	case *assessment.Assessed:
		r.assessed(index, e, broken)
	case *certificates.Verified:
		if r.active != nil && e.Node != r.active.node {
			broken("software-node", r.active.node+", as in the latest house.active", e.Node)
		}
	case *certificates.Certified:
		r.certified(index, e, broken)
	case *epoch.Committed:
		r.seedSigned(e.Message, e.Signature, broken)
		r.announced(index, e, broken)
	case *epoch.Activated:
		r.came(index, e, broken)
	}
}

// seedSigned holds the signature of a seed statement.
func (r *replay) seedSigned(message func(origin string) ([]byte, error), signature []byte, broken func(rule, expected, found string)) {
	if r.seeds == nil {
		return // house.created was found to lack the key
	}
	msg, err := message(r.v.Name())
	digest := sha256.Sum256(msg)
	if err != nil || !ecdsa.VerifyASN1(r.seeds, digest[:], signature) {
		broken("seed-signature", "a signature of the seeds key in force", hex.EncodeToString(signature))
	}
}

// created holds entry 0 against the key that the log is checked by.
func (r *replay) created(e *system.HouseCreated, broken func(rule, expected, found string)) {
	if e.Origin != r.v.Name() {
		broken("origin", r.v.Name(), e.Origin)
	}
	key := func(role string) string {
		if k := e.Key(role); k != nil {
			return k.Public
		}
		return "none"
	}
	keysInOrder(e.Keys, broken)
	if r.seeds = p256(key(system.RoleSeeds)); r.seeds == nil {
		broken("seeds-key", "an ECDSA P-256 key, SubjectPublicKeyInfo in hex", key(system.RoleSeeds))
	}
}

// p256 reads a P-256 key, SubjectPublicKeyInfo in hex, or returns nil.
func p256(spki string) *ecdsa.PublicKey {
	der, err := hex.DecodeString(spki)
	if err != nil || hex.EncodeToString(der) != spki {
		return nil
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if k, ok := pub.(*ecdsa.PublicKey); err == nil && ok && k.Curve == elliptic.P256() {
		return k
	}
	return nil
}

// keysInOrder holds the list of the house's keys against the roles there are.
func keysInOrder(keys []system.Key, broken func(rule, expected, found string)) {
	left := []string{system.RoleCheckpoint, system.RoleSeeds, system.RoleExports}
	for _, k := range keys {
		i := slices.Index(left, k.Role)
		if i < 0 {
			broken("house-keys", "the roles checkpoint, seeds, exports in this order and each at most once", k.Role)
			return
		}
		left = left[i+1:]
		algorithm := "ecdsa-p256"
		if k.Role == system.RoleCheckpoint {
			algorithm = "ed25519"
		}
		if k.Algorithm != algorithm {
			broken("house-keys", algorithm+" for the role "+k.Role, k.Algorithm)
		}
		if k.Role == system.RoleExports && p256(k.Public) == nil {
			broken("house-keys", "an ECDSA P-256 key, SubjectPublicKeyInfo in hex", k.Public)
		}
	}
}

// alarm holds what an alarm says against the entries before it.
func (r *replay) alarm(index uint64, e *system.AlarmRaised, broken func(rule, expected, found string)) {
	if e.Alarm == system.AlarmExternalMissing {
		r.missing(index, e, broken)
		return
	}
	if e.Alarm == system.AlarmDisplayed {
		return // answered
	}
	if e.Alarm == system.AlarmSoftware {
		r.software.alarm(index, e, broken)
		return
	}
	if e.Alarm != system.AlarmKeyReused {
		if r.unknown == nil {
			r.unknown = unchecked("entry %d: an alarm %q, which this version does not know", index, e.Alarm)
		}
		return
	}
	if r.keys.get([16]byte(e.About[:16])) == nil {
		broken("alarm-about", "the key of an earlier entry", hex.EncodeToString(e.About[:]))
	}
	if e.Count == 0 {
		broken("alarm-count", "1 or more", "0")
	}
}

// round takes a settled round into the figures and the draws to be proven.
func (r *replay) round(index uint64, e *rounds.Settled) {
	k := totalsKey{e.Game, string(e.Stake.Currency)}
	if r.at.Totals == nil || r.at.totalsKey != k {
		t := r.totals[k]
		if t == nil {
			t = &Totals{Game: k.game, Currency: k.currency}
			r.totals[k] = t
		}
		r.at.totalsKey, r.at.Totals = k, t
	}
	r.at.Rounds++
	r.at.Stakes.add(e.Stake.Amount)
	r.at.Payouts.add(e.Payout.Amount)
	if r.at.draws == nil || r.at.epoch != e.Draw.Epoch {
		d := r.draws[e.Draw.Epoch]
		if d == nil {
			d = new(draws)
			r.draws[e.Draw.Epoch] = d
		}
		r.at.epoch, r.at.draws = e.Draw.Epoch, d
	}
	r.pages.add(r.at.draws, index, e)
}

// after takes the entry into what the report says, and holds the rules that
// need the state after it.
func (r *replay) after(index uint64, e entry.Record, broken func(rule, expected, found string)) {
	switch e := e.(type) {
	case *wallet.Deposited:
		r.cashIn(string(e.Amount.Currency)).Deposits.add(e.Amount.Amount)
	case *players.NonceSet:
		r.nonces.set(e)
	case *wallet.Withdrawn:
		r.cashIn(string(e.Amount.Currency)).Withdrawals.add(e.Amount.Amount)
	case *epoch.CommittedV1:
		r.report.Epochs.Committed++
		r.escrowed(index, &e.Statement, broken)
	case *epoch.Committed:
		r.report.Epochs.Committed++
		r.escrowed(index, &e.Statement, broken)
		if e.Minimum == 1 {
			r.report.Epochs.OneSource++
		}
	case *epoch.ActivatedV1:
		r.policy(epoch.PolicyNone)
	case *epoch.Activated:
		r.policy(e.Policy)
	case *epoch.Closed:
		r.report.Epochs.Closed++
		row := book.Get[epoch.Epoch](r.rows, epoch.Key(e.Epoch))
		r.due = append(r.due, secret{epoch: e.Epoch, due: e.At.Add(row.Limits.RevealDelay())})
	case *decision.Ended:
		r.decided(index, &e.Decision, false)
	case *decision.Abandoned:
		r.decided(index, &e.Decision, true)
	case *subjects.Recorded, *subjects.Erased:
		r.subject(index, e)
	case *subjects.Rewrapped:
		r.rewrapped(index, e)
	case *epoch.Revealed:
		r.revealed(e, broken)
	case *keys.Introduced, *keys.Retired:
		if k := keys.Current(r.rows, system.RoleSeeds); k != nil {
			r.seeds = p256(k.Public)
		}
	case *rounds.GameEnabled, *monitor.Alarmed, *monitor.Observed:
		r.watchEntry(index, e, broken)
	}
}

func (r *replay) cashIn(currency string) *Cash {
	c := r.cash[currency]
	if c == nil {
		c = &Cash{Currency: currency}
		r.cash[currency] = c
	}
	return c
}

// revealed proves every draw of an epoch whose secret came out.
func (r *replay) revealed(e *epoch.Revealed, broken func(rule, expected, found string)) {
	if i := slices.IndexFunc(r.due, func(s secret) bool { return s.epoch == e.Epoch }); i >= 0 {
		r.late(r.due[i], e.At, "was revealed")
		r.due = slices.Delete(r.due, i, i+1)
	}
	list := r.draws[e.Epoch]
	delete(r.draws, e.Epoch)
	if r.at.epoch == e.Epoch {
		r.at.draws = nil
	}
	row := book.Get[epoch.Epoch](r.rows, epoch.Key(e.Epoch))
	if c := chance.Commitment(r.v.Name(), e.Epoch, e.Secret, e.Salt); c != row.Commitment {
		broken("seed-commitment", hex.EncodeToString(row.Commitment[:])+", as committed in entry "+strconv.FormatUint(row.CommittedIndex, 10), hex.EncodeToString(c[:])+", of the revealed secret and salt")
		if list != nil {
			r.report.Unchecked = append(r.report.Unchecked, fmt.Sprintf("%d draws of epoch %d: its true secret is not known", list.n, e.Epoch))
		}
		return
	}
	if was, ok := r.secrets[e.Secret]; ok {
		broken("seed-once", "a secret that no epoch had", "that of epoch "+strconv.FormatUint(was, 10))
	}
	r.secrets[e.Secret] = e.Epoch
	r.report.Epochs.Revealed++
	if list == nil {
		return
	}
	drawer := chance.NewDrawer(chance.DeriveKey(e.Secret, row.Commitment, row.External), r.v.Name())
	proven, found := list.prove(drawer, r.nonces.in(e.Epoch), &r.games, r.opts.Workers)
	for _, f := range found {
		r.report.find(f)
	}
	r.report.Rounds.Proven += uint64(proven)
	r.pages.free(list)
}

// late warns of a secret that was due long before a time, and reports whether
// it was.
func (r *replay) late(s secret, at entry.Time, what string) bool {
	late := s.overdue != 0 && at > s.overdue.Add(LateReveal)
	if late {
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("late reveal: the secret of epoch %d was due at %s and %s at %s", s.epoch, s.due, what, at))
	}
	return late
}

// finish completes the report. It returns an error when a secret is being kept
// back: the draws of its epoch are then no longer merely young.
func (r *replay) finish() error {
	rep := r.report
	rep.Replayed, rep.Last = r.replayed, r.last
	err := cmp.Or(r.vouch(), r.proveOpened())
	if r.compare != nil {
		r.compare.settle(rep.Size, r.restores)
	}
	r.listKeys()
	for _, s := range r.due {
		if r.late(s, r.last, "had not come out") && err == nil {
			err = unchecked("the draws of epoch %d: its secret was due at %s and has not come out", s.epoch, s.due)
		}
	}
	err = cmp.Or(err, r.unprovable())
	for n, d := range r.draws {
		if row := book.Get[epoch.Epoch](r.rows, epoch.Key(n)); row == nil || row.AbandonedIndex == 0 {
			rep.Rounds.Unproven += uint64(d.n)
		}
	}
	for _, t := range r.totals {
		rep.Games = append(rep.Games, *t)
		rep.Types["round.settled"] += t.Rounds
	}
	rep.Rounds.Outcomes = rep.Types["round.settled"] - r.missed
	if r.stopped != "" {
		rep.Unchecked = append(rep.Unchecked, r.stopped)
	}
	if r.missed > 0 {
		rep.Unchecked = append(rep.Unchecked, fmt.Sprintf("the outcomes of %d rounds: the game's definition cannot be played", r.missed))
	}
	slices.SortFunc(rep.Games, func(a, b Totals) int {
		return cmp.Or(cmp.Compare(a.Game, b.Game), cmp.Compare(a.Currency, b.Currency))
	})
	r.watched()
	r.shownOtherwise()
	for _, c := range r.cash {
		rep.Cash = append(rep.Cash, *c)
	}
	slices.SortFunc(rep.Cash, func(a, b Cash) int { return cmp.Compare(a.Currency, b.Currency) })
	slices.SortStableFunc(rep.Findings, byIndex)
	return err
}

func byIndex(a, b Finding) int { return cmp.Compare(a.Index, b.Index) }
