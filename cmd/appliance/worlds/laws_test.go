package worlds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/subjects"
	"countroom/ledger"
	"countroom/ledger/book"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/store"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/verify"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"

	"golang.org/x/mod/sumdb/note"
)

// violation is a law that was broken, and how.
type violation struct{ law, what string }

func (v *violation) String() string { return v.law + ": " + v.what }

// The laws that are checked.
const (
	lawLost     = "nothing acknowledged is lost"
	lawTwice    = "nothing happens twice, nothing that was refused happens"
	lawOneRoot  = "every signed checkpoint is of the one log"
	lawGuard    = "the guard's record is durable before a signature is out, and holds the store to it"
	lawOneDraw  = "a round has one outcome, whatever was drawn for it and lost"
	lawBound    = "no round is drawn before what came into its epoch from outside is durable and signed"
	lawBooks    = "the books are what the entries make of them"
	lawMoney    = "postings sum to zero and no player owes"
	lawReads    = "reads show what was answered"
	lawAnswers  = "answers fit what was asked"
	lawStopped  = "what cannot be done is answered with 503, when to retry, and what became of it"
	lawVerifier = "the verifier finds nothing, and nothing is left unproven"
	lawEntropy  = "a source of entropy that fails is told of before the next seed"
	lawHalted   = "from the halt of a seed to the decision of two officers nobody plays"
	lawVault    = "who is a player, and what is known of him, opens with the keys on the disk, until two officers have erased him"
	lawLiveness = "when the faults are over everybody gets to the end"
)

func broken(law, format string, args ...any) *violation {
	return &violation{law, fmt.Sprintf(format, args...)}
}

// evidence is what outsiders, and recorders at the edges of the house, hold.
type evidence struct {
	census   census
	commands []*command
	answers  []*answer
	vkey     string
	vkeys    []string // that answers may be signed by

	mu     sync.Mutex
	signed map[uint64]tlog.Hash // all that was ever signed
	most   uint64               // the largest size in it

	signedBy []signedBy       // the same, by their keys
	drawn    map[round]string // all that was ever handed to a commit
	caught   *violation       // by a recorder

	unplugged []unplugged
}

// unplugged is a read of a source of entropy that failed.
type unplugged struct {
	source string
	by     *process
	size   uint64 // of the log when the read failed
}

// unplug remembers that a process's source failed. It has taken its sources then,
// so no seed is on its way into the log.
func (e *evidence) unplug(p *process, source string) {
	p.mu.Lock()
	u := unplugged{source, p, p.store.Head().Size}
	p.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unplugged = append(e.unplugged, u)
}

// entropyIsTold wants each failure of a source in the log before the process
// commits to another seed, unless it was said already.
func entropyIsTold(l *finalLog, e *evidence) *violation {
	// The processes that came to write, by where they say so. One whose word for it was
	// lost committed to no seed either.
	var begun []uint64
	var ids []entry.UUID
	for i, r := range l.records {
		switch r.(type) {
		case *system.HouseActive, *system.PairActive:
			begun, ids = append(begun, uint64(i)), append(ids, r.Head().ID)
		}
	}
	type owed struct {
		source string
		end    uint64
	}
	var due []owed
	rows := book.Memory{}
	for i, r := range l.records {
		index := uint64(i)
		for _, u := range e.unplugged {
			at := slices.Index(ids, u.by.active)
			if u.size != index || at < 0 {
				continue
			}
			now := noise.Now(rows)
			if out := now.Failure(u.source); out != nil && out.Said && begun[at] < index {
				continue
			}
			end := l.head.Size
			if at+1 < len(begun) {
				end = begun[at+1]
			}
			due = append(due, owed{u.source, end})
		}
		switch r := r.(type) {
		case *noise.Failed:
			due = slices.DeleteFunc(due, func(o owed) bool { return o.source == r.Source })
		case *epoch.Committed:
			for _, o := range due {
				if index < o.end {
					return broken(lawEntropy, "source %s failed, and entry %d commits to another seed without a word of it", o.source, index)
				}
			}
		}
		if err := books.Fold(rows, index, r); err != nil {
			return broken(lawBooks, "entry %d: %v", i, err)
		}
	}
	return nil
}

// round is what a draw is decided by.
type round struct {
	epoch  uint64
	player entry.Ref
	game   string
	n      uint64
}

// learn takes note of the verifier key that a house goes by. The newest is tried first.
func (e *evidence) learn(vkey string) {
	if e.vkey == vkey {
		return
	}
	e.vkey, e.vkeys = vkey, append([]string{vkey}, e.vkeys...)
}

func (e *evidence) catch(v *violation) {
	if v != nil && e.caught == nil {
		e.caught = v
	}
}

// sign remembers a signature that is about to leave the signer, and looks what
// a power cut would leave of the guard's record now.
func (e *evidence) sign(c tlog.Checkpoint, d disk, vkey string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.signed == nil {
		e.signed = map[uint64]tlog.Hash{}
	}
	if root, ok := e.signed[c.Size]; ok && root != c.Root {
		e.catch(broken(lawOneRoot, "two roots were signed at size %d: %x and %x", c.Size, root, c.Root))
	}
	e.signed[c.Size], e.most = c.Root, max(e.most, c.Size)
	e.signedBy = append(e.signedBy, signedBy{c.Size, vkey})
	e.catch(guarded(c, d))
}

func guarded(c tlog.Checkpoint, d disk) *violation {
	left := cut(d.small, lossAll, nil)
	f, err := left.Open(guardName)
	if err != nil {
		return broken(lawGuard, "size %d is signed, and a power cut would leave no record: %v", c.Size, err)
	}
	g, err := ledger.NewGuard(guardFile{f, &process{dead: true}}, origin)
	if err != nil {
		return broken(lawGuard, "size %d is signed, and a power cut would leave a record that cannot be read: %v", c.Size, err)
	}
	if last := g.Last(); last.Size < c.Size || last.Size == c.Size && last.Root != c.Root {
		return broken(lawGuard, "size %d is signed, and a power cut would leave a record of size %d", c.Size, last.Size)
	}
	return nil
}

// recordDrawn remembers the rounds in a batch that is about to be committed, whether
// or not it will be there after a crash.
func (p *process) recordDrawn(b *store.Batch) {
	if p.isDead() {
		return
	}
	e := &p.w.evidence
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.drawn == nil {
		e.drawn = map[round]string{}
	}
	for i, leaf := range b.Leaves {
		record, err := books.Decode(leaf)
		if err != nil {
			e.catch(broken(lawBooks, "entry %d: %v", b.Prev.Size+uint64(i), err))
			return
		}
		if r, ok := record.(*system.HouseActive); ok {
			p.active = r.Head().ID
		}
		r, ok := record.(*rounds.Settled)
		if !ok {
			continue
		}
		key := round{r.Draw.Epoch, r.Player, r.Game, r.Draw.N}
		if p.bound < key.epoch {
			if at, chosen := p.activated(key.epoch); chosen && (at == 0 || at >= e.most) {
				e.catch(broken(lawBound, "entry %d is a round of epoch %d, whose activation is entry %d of the store (0: none), and size %d is signed", b.Prev.Size+uint64(i), key.epoch, at, e.most))
			}
			p.bound = key.epoch
		}
		draw := fmt.Sprintf("%x %v", r.Draw.R, r.Draw.Values)
		if was, ok := e.drawn[key]; ok && was != draw {
			e.catch(broken(lawOneDraw, "round %d of %s in epoch %d was drawn as %s and as %s", key.n, key.player, key.epoch, was, draw))
		}
		e.drawn[key] = draw
	}
}

// activated is the entry by which an epoch came into use, as the store has it, and
// whether that is more than the commitment says.
func (p *process) activated(n uint64) (index uint64, chosen bool) {
	value, err := p.store.Row([]byte(epoch.Key(n)))
	must(err)
	if value == nil {
		return 0, true
	}
	row, err := books.Kinds.Decode(epoch.Key(n), value)
	must(err)
	e := row.(*epoch.Epoch)
	return e.ActivatedIndex, e.Policy != epoch.PolicyNone
}

// receive reads an accepted answer, or an entry, and proves it.
func (e *evidence) receive(body []byte) (*answer, *violation) {
	var text struct {
		Index   uint64
		Leaf    json.RawMessage
		Receipt string
	}
	if err := json.Unmarshal(body, &text); err != nil {
		return nil, broken(lawAnswers, "%v: %s", err, body)
	}
	r, err := tlog.ParseReceipt([]byte(text.Receipt))
	if err != nil {
		return nil, broken(lawAnswers, "%v", err)
	}
	head, err := tlog.Peek(r.Checkpoint)
	if err != nil {
		return nil, broken(lawAnswers, "%v", err)
	}
	a := &answer{body: body, index: text.Index, leaf: text.Leaf, size: head.Size, note: r.Checkpoint}
	for _, vkey := range e.vkeys {
		var key note.Verifier
		if key, err = tlog.NewVerifier(vkey); err == nil {
			_, err = r.Verify(a.leaf, key)
		}
		if err == nil {
			break
		}
	}
	if err != nil || r.Index != a.index {
		return nil, broken(lawAnswers, "the receipt of entry %d (%d) does not hold: %v", a.index, r.Index, err)
	}
	if a.record, err = books.Decode(a.leaf); err != nil {
		return nil, broken(lawAnswers, "entry %d: %v", a.index, err)
	}
	e.answers = append(e.answers, a)
	return a, nil
}

// sameAnswer holds the answer to a repeated request against the first.
func sameAnswer(cmd *command, first, again *answer) *violation {
	if first.index != again.index || !bytes.Equal(first.leaf, again.leaf) {
		return broken(lawTwice, "%s %q was answered with entry %d and, when it was repeated, with entry %d", cmd.kind, cmd.key, first.index, again.index)
	}
	return nil
}

// unavailable judges an answer that says that something could not be done, and
// returns what it says became of the command.
func unavailable(a *attempt) (outcome string, v *violation) {
	h, body := a.heard.Header(), a.heard.Body.Bytes()
	var problem struct{ Type, Outcome string }
	if h.Get("Content-Type") != "application/problem+json" || json.Unmarshal(body, &problem) != nil {
		return "", broken(lawStopped, "%s %q: %d without a problem: %s", a.cmd.kind, a.cmd.key, a.heard.Code, body)
	}
	want := []string{"not-accepted", "outcome-unknown"}
	if a.cmd.method == http.MethodGet {
		want = append(want, "")
	}
	if !slices.Contains(want, problem.Outcome) {
		return "", broken(lawStopped, "%s %q: %d says that the outcome is %q", a.cmd.kind, a.cmd.key, a.heard.Code, problem.Outcome)
	}
	// Of a failing disk the house cannot say more than that it failed.
	if a.heard.Code == http.StatusInternalServerError && a.process.readsFailed && problem.Outcome != "not-accepted" {
		return problem.Outcome, nil
	}
	if a.heard.Code != http.StatusServiceUnavailable {
		return "", broken(lawStopped, "%s %q is answered with %d: %s", a.cmd.kind, a.cmd.key, a.heard.Code, body)
	}
	if n, err := strconv.Atoi(h.Get("Retry-After")); err != nil || n < 1 || n > 60 {
		return "", broken(lawStopped, "%s %q: 503 with Retry-After %q", a.cmd.kind, a.cmd.key, h.Get("Retry-After"))
	}
	return problem.Outcome, nil
}

// judge holds the log, as it stands in the store, against all evidence.
func (w *world) judge() *violation {
	e := &w.evidence
	e.mu.Lock()
	defer e.mu.Unlock()
	e.learn(w.process.app.Ledger.VKey())
	snap, err := w.process.app.Store.Snapshot()
	if err != nil {
		return broken(lawBooks, "%v", err)
	}
	defer snap.Close()
	l := &finalLog{head: snap.Head()}
	var tree tlog.Builder
	l.roots = append(l.roots, tree.Root())
	err = snap.Leaves(0, l.head.Size, func(_ uint64, leaf []byte) error {
		l.leaves = append(l.leaves, bytes.Clone(leaf))
		record, err := books.Decode(l.leaves[len(l.leaves)-1])
		l.records = append(l.records, record)
		tree.Add(tlog.LeafHash(leaf))
		l.roots = append(l.roots, tree.Root())
		return err
	})
	if err != nil {
		return broken(lawBooks, "%v", err)
	}
	w.log = l
	for _, law := range []func(*finalLog, *evidence) *violation{
		nothingLost, func(_ *finalLog, e *evidence) *violation { return e.caught }, oneRoot, nothingTwice, moneyIsKept, entropyIsTold, playIsHalted, keysAreInForce, func(l *finalLog, _ *evidence) *violation { return booksAreFolds(l, snap) },
	} {
		if v := law(l, e); v != nil {
			return v
		}
	}
	if l.head.Size == 0 {
		return nil // it had no room to be founded
	}
	if w.vault, err = readVault(w.process.disk, snap); err != nil {
		return broken(lawVault, "%v", err)
	}
	if v := w.keysAreAtHand(); v != nil {
		return v
	}
	return everybodyIsKnown(l, e, &w.vault)
}

// finalLog is a log as it is found in a store.
type finalLog struct {
	head    store.Head
	leaves  [][]byte
	records []entry.Record
	roots   []tlog.Hash // by size
}

func nothingLost(l *finalLog, e *evidence) *violation {
	for _, a := range e.answers {
		if a.index >= l.head.Size {
			return broken(lawLost, "entry %d was answered, the log has %d", a.index, l.head.Size)
		}
		if !bytes.Equal(l.leaves[a.index], a.leaf) {
			return broken(lawLost, "entry %d was answered as %s, the log has %s", a.index, a.leaf, l.leaves[a.index])
		}
	}
	return nil
}

func oneRoot(l *finalLog, e *evidence) *violation {
	if l.head.Size > 0 && l.head.Root != l.roots[l.head.Size] {
		return broken(lawOneRoot, "the head of size %d has the root %x, the leaves %x", l.head.Size, l.head.Root, l.roots[l.head.Size])
	}
	for size, root := range e.signed {
		if size > l.head.Size {
			return broken(lawOneRoot, "size %d was signed, the log has %d", size, l.head.Size)
		}
		if root != l.roots[size] {
			return broken(lawOneRoot, "size %d was signed with the root %x, the log has %x", size, root, l.roots[size])
		}
	}
	return nil
}

func nothingTwice(l *finalLog, e *evidence) *violation {
	at := map[[32]byte]int{}
	for i, r := range l.records {
		h := r.Head()
		if h.Request.IsZero() {
			continue
		}
		if first, ok := at[h.Request.Key]; ok {
			return broken(lawTwice, "entries %d and %d answer one key", first, i)
		}
		at[h.Request.Key] = i
	}
	for _, cmd := range e.commands {
		if cmd.reuses != nil {
			continue
		}
		i, there := at[cmd.hash()]
		switch {
		case cmd.accepted != nil && (!there || uint64(i) != cmd.accepted.index):
			return broken(lawTwice, "%s %q was accepted as entry %d; in the log its key is at %d, %v", cmd.kind, cmd.key, cmd.accepted.index, i, there)
		case cmd.accepted == nil && there && cmd.inside == 0 && !cmd.open:
			return broken(lawTwice, "%s %q was refused each time; entry %d answers it", cmd.kind, cmd.key, i)
		}
	}
	return nil
}

// hash is the command's key as the log knows it.
func (cmd *command) hash() [32]byte {
	scope := "operator"
	if strings.HasPrefix(cmd.kind, "spin") {
		for _, done := range cmd.client.done {
			if r, ok := done.accepted.record.(*players.Created); ok {
				scope = r.Player.String()
			}
		}
	}
	return entry.RequestKey(scope, cmd.key)
}

func moneyIsKept(l *finalLog, _ *evidence) *violation {
	balances := map[string]int64{}
	for i, r := range l.records {
		var sum int64
		for _, p := range postings(r) {
			sum += p.Amount
			balances[p.Account] += p.Amount
			if b := balances[p.Account]; b != p.Balance {
				return broken(lawMoney, "entry %d leaves %s with %d, its postings add up to %d", i, p.Account, p.Balance, b)
			}
			if p.Balance < 0 && strings.HasPrefix(p.Account, "player/") {
				return broken(lawMoney, "entry %d leaves %s with %d", i, p.Account, p.Balance)
			}
		}
		if sum != 0 {
			return broken(lawMoney, "the postings of entry %d sum to %d", i, sum)
		}
	}
	return nil
}

// postings are those of an entry; all worlds have one currency.
func postings(r entry.Record) []money.Posting {
	switch r := r.(type) {
	case *rounds.Settled:
		return r.Postings
	case *wallet.Deposited:
		return r.Postings
	case *wallet.Withdrawn:
		return r.Postings
	}
	return nil
}

func booksAreFolds(l *finalLog, s store.Reader) *violation {
	rows := book.Memory{}
	for i, r := range l.records {
		if err := books.Fold(rows, uint64(i), r); err != nil {
			return broken(lawBooks, "entry %d: %v", i, err)
		}
	}
	stored := 0
	err := s.ScanRows(nil, func(row store.Row) error {
		stored++
		want, ok := rows[string(row.Key)]
		if !ok {
			return fmt.Errorf("row %s is in the store and follows from no entry", row.Key)
		}
		b, err := entry.AppendObject(nil, want)
		if err == nil && !bytes.Equal(b, row.Value) {
			err = fmt.Errorf("row %s is %s in the store, the entries make it %s", row.Key, row.Value, b)
		}
		return err
	})
	if err != nil {
		return broken(lawBooks, "%v", err)
	}
	if stored != len(rows) {
		return broken(lawBooks, "the store has %d rows, the entries make %d", stored, len(rows))
	}
	return nil
}

// everythingIsRevealed reports whether no secret is left that decided a draw.
func (w *world) everythingIsRevealed() bool {
	p := w.process
	if p == nil || !p.welcomed {
		return false
	}
	value, err := p.app.Store.Row([]byte(epoch.StateKey))
	must(err)
	row, err := books.Kinds.Decode(epoch.StateKey, value)
	must(err)
	now := row.(*epoch.State)
	signed := p.app.Ledger.Signed()
	return now.Active == 0 && now.Halted == 0 && now.Revealed >= now.Closed && signed != nil && signed.Size == p.app.Store.Head().Size
}

// lastJudgement lets a regulator verify the published log, with all that the
// clients kept.
func (w *world) lastJudgement() *violation {
	w.settle()
	if v := w.judge(); v != nil {
		return v
	}
	e := &w.evidence
	opts := verify.Options{VKey: e.vkey, Workers: 1}
	for i, a := range e.answers {
		opts.Known = append(opts.Known, verify.Known{Name: fmt.Sprint("answer ", i), Data: a.body})
	}
	report, err := verify.Log(context.Background(), site{w.process.handler, w.regulator}, opts)
	lost := w.log.unprovable()
	switch {
	case err != nil && !(lost > 0 && errors.Is(err, verify.ErrUnprovable)):
		return broken(lawVerifier, "%v", err)
	case report.Rounds.Unprovable != lost || lost > 0 && err == nil:
		return broken(lawVerifier, "%d rounds are said to be unprovable, of %d: %v", report.Rounds.Unprovable, lost, err)
	case !report.OK():
		return broken(lawVerifier, "%+v", report.Findings[0])
	case len(report.Unchecked) > 0 || report.Rounds.Unproven > 0:
		return broken(lawVerifier, "%d rounds not proven; %v", report.Rounds.Unproven, report.Unchecked)
	case report.Known != uint64(len(e.answers)):
		return broken(lawVerifier, "%d of %d receipts were compared", report.Known, len(e.answers))
	}
	e.census.entries, e.census.lives, e.census.epochs = int(report.Size), w.lives, int(report.Epochs.Revealed)
	for _, r := range w.log.records {
		switch r.(type) {
		case *subjects.Rewrapped:
			e.census.periods++
		case *subjects.Erased:
			e.census.erased++
		}
	}
	w.say("the log has %d entries, root %s; the guard %x", report.Size, report.Root, content(w.process.disk.small, guardName))
	return nil
}

// site is the log as it is published.
type site struct {
	http.Handler
	token string
}

func (s site) Read(_ context.Context, buf []byte, path string, limit int) ([]byte, error) {
	r := httptest.NewRequest(http.MethodGet, "/log/"+path, nil)
	r.Header.Set("Authorization", "Bearer "+s.token)
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, r)
	switch {
	case rec.Code == http.StatusNotFound:
		return buf, fs.ErrNotExist
	case rec.Code != http.StatusOK:
		return buf, fmt.Errorf("%s: %d %s", path, rec.Code, rec.Body)
	case rec.Body.Len() > limit:
		return buf, fmt.Errorf("%s: %d bytes", path, rec.Body.Len())
	}
	return append(buf, rec.Body.Bytes()...), nil
}
