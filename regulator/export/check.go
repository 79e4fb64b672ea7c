package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"

	"countroom/games/books"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/ledger/dsse"
	"countroom/ledger/entry"
	"countroom/ledger/keys"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"
	"countroom/rngcert/chance"
	"countroom/rngcert/decision"
	"countroom/rngcert/epoch"
)

// Rejection is why an export is not what it should be. It is evidence against the house where the house signed for what
// is wrong; else anybody could have made it so.
type Rejection struct {
	Rule     string `json:"rule"` // short and stable
	Expected string `json:"expected"`
	Found    string `json:"found"`
	Evidence bool   `json:"evidence"`
}

func (r *Rejection) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s", r.Rule, r.Expected, r.Found)
}

// CheckOptions say what to check an export against.
type CheckOptions struct {
	VKey    string // verifier key of the house's checkpoints
	History []byte // of that key, where the house exchanged it: a saved answer
	Trust   verify.Trust
	// Certificate is one that was handed out alone, to be held against the export.
	Certificate []byte
	// Progress, if set, is called now and then with entries read and in all.
	Progress func(done, total uint64)
}

// Report is what an export was found to hold.
type Report struct {
	Manifest     *Manifest           `json:"manifest"`
	Certificate  *Certificate        `json:"certificate,omitempty"` // re-derived
	Cosignatures verify.Cosignatures `json:"cosignatures"`
	Key          string              `json:"exports_key"` // that signed it
	Rounds       uint64              `json:"rounds"`
	Outcomes     uint64              `json:"outcomes_recomputed"`
	Proven       uint64              `json:"draws_proven"`     // they follow from revealed secrets
	Unproven     uint64              `json:"draws_not_proven"` // the secret is not out, or a nonce is older than the export
	Tables       []string            `json:"tables"`           // recomputed from the leaves
	Unchecked    []string            `json:"unchecked"`
}

type checker struct {
	ctx     context.Context
	opts    CheckOptions
	c       *container
	report  *Report
	m       *Manifest
	note    []byte
	head    tlog.Checkpoint
	exports []dsse.Key

	outcomes *verify.Outcomes
	drawers  map[uint64]*chance.Drawer
	epochs   map[uint64]*seed
	nonces   map[entry.Ref][]players.Nonce
	games    map[uint64]bool
	calls    calls
	from, to entry.Time // of a span
	signed   bool       // the house signed for the bytes of all files
}

// seed is what an export has of an epoch.
type seed struct {
	commitment [32]byte
	committed  bool
	external   []byte
	activated  bool
}

// Check checks an export. What is wrong with it is a *Rejection; any other error says that it could not be read. Memory
// is bounded by the number of players and definitions in it, whatever its size.
func Check(ctx context.Context, in io.ReaderAt, size int64, opts CheckOptions) (*Report, error) {
	k := &checker{
		ctx: ctx, opts: opts, report: &Report{Tables: []string{}, Unchecked: []string{}}, outcomes: verify.NewOutcomes(),
		drawers: map[uint64]*chance.Drawer{}, epochs: map[uint64]*seed{}, nonces: map[entry.Ref][]players.Nonce{}, games: map[uint64]bool{}, calls: newCalls(),
	}
	err := k.check(in, size)
	var r *Rejection
	var b *Broken
	var f *verify.Finding
	switch {
	case errors.As(err, &r):
	case errors.As(err, &b):
		err = k.reject(b.Rule, b.Expected, fmt.Sprintf("%s, in entry %d", b.Found, b.Index))
	case errors.As(err, &f):
		err = k.reject(f.Rule, f.Expected, fmt.Sprintf("%s, in entry %d", f.Found, f.Index))
	case errors.Is(err, ErrContainer):
		err = k.reject("container", "a whole export, in its one form", err.Error())
	}
	return k.report, err
}

func (k *checker) reject(rule, expected, found string) error {
	return &Rejection{Rule: rule, Expected: expected, Found: clip(found), Evidence: k.signed}
}

func clip(s string) string {
	const most = 1000
	if len(s) > most {
		return fmt.Sprintf("%s and %d more bytes", s[:most], len(s)-most)
	}
	return s
}

func (k *checker) check(in io.ReaderAt, size int64) (err error) {
	if k.c, err = openContainer(in, size); err != nil {
		return err
	}
	for _, step := range []func() error{k.checkpoint, k.statement, k.digests, k.seeds, k.enabled, k.leaves, k.called, k.bounds} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkpoint finds the head that all hangs on, and the house's keys.
func (k *checker) checkpoint() (err error) {
	v, err := tlog.NewVerifier(k.opts.VKey)
	if err != nil {
		return err
	}
	if k.note, err = k.c.read(checkpointName, checkpointMost); err != nil {
		return err
	}
	if k.head, err = tlog.Peek(k.note); err != nil {
		return k.reject("checkpoint", "a signed note of the three lines origin, size and root", err.Error())
	}
	if k.head.Origin != v.Name() {
		return k.reject("origin", "an export of "+v.Name(), "one of "+k.head.Origin)
	}
	data, err := k.c.read(keysName, keysMost)
	if err != nil {
		return err
	}
	var saved []struct {
		Leaf    json.RawMessage `json:"leaf"`
		Receipt string          `json:"receipt"`
	}
	if err := dsse.Strict(data, &saved); err != nil {
		return k.reject("keys", "a saved answer of entry 0 and the exchanges of keys", err.Error())
	}
	if len(saved) == 0 {
		return k.reject("keys", "entry 0 first", "nothing")
	}
	ring, err := verify.NewKeyring(k.opts.VKey)
	if err != nil {
		return err
	}
	var chain []json.RawMessage
	for i := range saved {
		r, err := tlog.ParseReceipt([]byte(saved[i].Receipt))
		if err != nil {
			return k.reject("keys", "receipts", err.Error())
		}
		if !bytes.Equal(r.Checkpoint, k.note) {
			return k.reject("keys", "receipts under the export's own checkpoint", "another")
		}
		if i == 0 {
			continue
		}
		record, err := books.Decode(saved[i].Leaf)
		if err != nil {
			return k.reject("keys", "canonical entries", err.Error())
		}
		role := ""
		switch e := record.(type) {
		case *keys.Introduced:
			role = e.Role
		case *keys.Retired:
			role = e.Role
		}
		if role == system.RoleCheckpoint {
			one, err := json.Marshal(saved[i])
			if err != nil {
				return err
			}
			chain = append(chain, one)
		}
	}
	if k.opts.History != nil {
		if err := ring.Follow(k.opts.History); err != nil {
			return k.reject("history", "a history that leads from the verifier key", err.Error())
		}
	}
	if len(chain) > 0 {
		b, err := json.Marshal(chain)
		if err != nil {
			return err
		}
		if err := ring.Follow(b); err != nil {
			return k.reject("keys", "a history that leads from the verifier key to the one that signed the checkpoint", err.Error())
		}
	}
	proofs, err := ring.ReceiptBy(data, k.opts.Trust)
	var f *verify.Finding
	switch {
	case errors.As(err, &f):
		return k.reject(f.Rule, f.Expected, f.Found)
	case err != nil && len(proofs) == len(saved):
		k.report.Unchecked = append(k.report.Unchecked, err.Error()) // too few cosignatures
	case err != nil:
		return k.reject("keys", "entries of the log with their receipts", err.Error())
	}
	k.report.Cosignatures = proofs[0].Cosignatures
	return k.exportsKeys(proofs)
}

// exportsKeys are the keys that may have signed: those of entry 0 and of the exchanges, unless they are retired.
func (k *checker) exportsKeys(proofs []verify.Proof) error {
	created, ok := proofs[0].Record.(*system.HouseCreated)
	if !ok || proofs[0].Index != 0 {
		return k.reject("keys", "entry 0 first", fmt.Sprintf("entry %d", proofs[0].Index))
	}
	var list []string
	if key := created.Key(system.RoleExports); key != nil {
		list = append(list, key.Public)
	}
	for i, p := range proofs[1:] {
		if p.Index <= proofs[i].Index {
			return k.reject("keys", "entries in the order of the log", fmt.Sprintf("entry %d after %d", p.Index, proofs[i].Index))
		}
		switch e := p.Record.(type) {
		case *keys.Introduced:
			if e.Role == system.RoleExports {
				if !slices.ContainsFunc(list, func(old string) bool { by := e.CrossSigned(k.head.Origin, old); return by.Old && by.New }) {
					return k.reject("keys", "a new key that the one before it signed", e.Public)
				}
				list = append(list, e.Public)
			}
		case *keys.Retired:
			if e.Role == system.RoleExports {
				list = slices.DeleteFunc(list, func(public string) bool { return public == e.Public })
			}
		default:
			return k.reject("keys", "exchanges of keys", p.Record.Type())
		}
	}
	for _, public := range list {
		key, err := dsse.ParseKey(public)
		if err != nil {
			return k.reject("keys", "a key for exports", err.Error())
		}
		k.exports = append(k.exports, key)
	}
	if len(k.exports) == 0 {
		return k.reject("keys", "a key for exports in entry 0", "none")
	}
	return nil
}

// open reads a bundle that one of the house's keys for exports signed.
func (k *checker) open(bundle []byte) (*dsse.Envelope, error) {
	e, err := dsse.Parse(bundle)
	if err != nil {
		return nil, k.reject("statement", "a Sigstore bundle with a signed in-toto statement", err.Error())
	}
	for _, key := range k.exports {
		if err = e.Verify(key); err == nil {
			k.report.Key = key.String()
			return e, nil
		}
	}
	return nil, k.reject("statement-signature", "a signature of the house's key for exports", err.Error())
}

// statement holds the manifest against what the house signed.
func (k *checker) statement() error {
	bundle, err := k.c.read(BundleName, dsse.Most)
	if err != nil {
		return err
	}
	e, err := k.open(bundle)
	if err != nil {
		return err
	}
	var p predicate
	s, err := e.Statement(PredicateType, &p)
	if err != nil {
		return k.reject("statement-type", "a statement of type "+PredicateType, err.Error())
	}
	data, err := k.c.read(ManifestName, manifestMost)
	if err != nil {
		return err
	}
	if digest := dsse.SHA256(data).SHA256; s.Digest(ManifestName) != digest {
		return k.reject("manifest-digest", s.Digest(ManifestName)+", as signed", digest)
	}
	if k.m, err = parseManifest(data); err != nil {
		return k.reject("manifest", "a manifest of format "+Format, err.Error())
	}
	k.report.Manifest = k.m
	want, err := k.m.statement(data)
	if err != nil {
		return err
	}
	k.signed = true
	defer func() { k.signed = false }() // for what is in the files it is still to be found out
	if !bytes.Equal(want, e.Payload) {
		return k.reject("statement", "the statement that the manifest has", string(e.Payload))
	}
	return k.consistent()
}

// consistent holds what the manifest says against itself and the checkpoint.
func (k *checker) consistent() error {
	m := k.m
	switch {
	case m.Format != Format:
		return k.reject("manifest", "format "+Format, m.Format)
	case len(m.Files) == 0 || m.Files[0].Name != leavesName:
		return k.reject("files", leavesName+" first", fmt.Sprintf("%d files", len(m.Files)))
	case m.Origin != k.head.Origin:
		return k.reject("origin", "an export of "+k.head.Origin, "one of "+m.Origin)
	case m.Checkpoint != headOf(k.head):
		return k.reject("manifest-checkpoint", fmt.Sprintf("size %d and root %x, as in the checkpoint", k.head.Size, k.head.Root), fmt.Sprintf("size %d and root %s", m.Checkpoint.Size, m.Checkpoint.Root))
	case m.Range.From > m.Range.To || m.Range.To > k.head.Size:
		return k.reject("range", fmt.Sprintf("a range within %d entries", k.head.Size), fmt.Sprintf("%d to %d", m.Range.From, m.Range.To))
	case m.Complete != m.Filter.None():
		return k.reject("complete", "a claim of completeness exactly where nothing was filtered out", strconv.FormatBool(m.Complete))
	case m.Complete && m.Entries != m.Range.To-m.Range.From:
		return k.reject("entries", strconv.FormatUint(m.Range.To-m.Range.From, 10), strconv.FormatUint(m.Entries, 10))
	}
	if err := m.Filter.Check(); err != nil {
		return k.reject("filter", "a filter", err.Error())
	}
	if m.Span != nil {
		var err error
		if k.from, k.to, err = m.Span.times(); err != nil {
			return k.reject("span", "a span of time", err.Error())
		}
	}
	return nil
}

// digests holds every file against the manifest, and the container against its files.
func (k *checker) digests() error {
	last := 2
	if k.m.Span != nil && k.m.Complete {
		last = 3
	}
	n := len(k.m.Files)
	if len(k.c.list) != n+last {
		return k.reject("files", fmt.Sprintf("the %d files of the manifest and %d more", n, last), strconv.Itoa(len(k.c.list)))
	}
	buf := make([]byte, bufferSize)
	for i := range k.c.list {
		e := &k.c.list[i]
		want := File{Name: e.name}
		if i < n {
			want = k.m.Files[i]
		} else {
			want.Name = []string{ManifestName, BundleName, CertificateName}[i-n]
		}
		if e.name != want.Name {
			return k.reject("files", want.Name+" as number "+strconv.Itoa(i+1), e.name)
		}
		if i < n && e.size != want.Bytes {
			return k.reject("digest", fmt.Sprintf("%s of %d bytes, as in the manifest", e.name, want.Bytes), strconv.FormatInt(e.size, 10))
		}
		r, err := k.c.open(e.name)
		if err != nil {
			return err
		}
		h, crc := newHash(), crc32.NewIEEE()
		for {
			if err := k.ctx.Err(); err != nil {
				return context.Cause(k.ctx)
			}
			got, err := r.Read(buf)
			h.Write(buf[:got])
			crc.Write(buf[:got])
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		if sum := hexOf(h); i < n && sum != want.SHA256 {
			return k.reject("digest", fmt.Sprintf("%s of SHA-256 %s, as in the manifest", e.name, want.SHA256), sum)
		}
		if crc.Sum32() != e.crc {
			return k.reject("container", fmt.Sprintf("the CRC %08x of %s", crc.Sum32(), e.name), fmt.Sprintf("%08x", e.crc))
		}
	}
	k.signed = true
	return nil
}

// lines reads a file line by line, each at most so long.
func lines(r io.Reader, each func(line []byte) error) error {
	in := bufio.NewReaderSize(r, lineMost)
	for {
		line, err := in.ReadSlice('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: expected lines of at most %d bytes, each with its end", tlog.ErrFormat, lineMost)
		}
		if err := each(line[:len(line)-1]); err != nil {
			return err
		}
	}
}

// proven reads a file of entries with their proofs, in the order of the log, and holds each proof.
func (k *checker) proven(name string, each func(p *proven, record entry.Record) error) error {
	r, err := k.c.open(name)
	if err != nil {
		return err
	}
	next := uint64(0)
	return lines(r, func(line []byte) error {
		if err := k.ctx.Err(); err != nil {
			return context.Cause(k.ctx)
		}
		p, err := parseProven(line, true)
		if err != nil {
			return k.reject("line", "an entry with its proof in "+name, err.Error())
		}
		if p.index < next {
			return k.reject("order", "entries in the order of the log in "+name, fmt.Sprintf("entry %d", p.index))
		}
		next = p.index + 1
		if err := p.includes(p.leaf, k.note); err != nil {
			return k.reject("inclusion", fmt.Sprintf("a proof of entry %d in %s", p.index, name), err.Error())
		}
		record, err := books.Decode(p.leaf)
		if err != nil {
			return k.reject("canonical", "the canonical form of an entry in "+name, fmt.Sprintf("entry %d: %v", p.index, err))
		}
		return each(&p, record)
	})
}

// seeds reads what is known of the secrets.
func (k *checker) seeds() error {
	return k.proven(seedsName, func(p *proven, record entry.Record) error {
		of := func(n uint64) *seed {
			if k.epochs[n] == nil {
				k.epochs[n] = new(seed)
			}
			return k.epochs[n]
		}
		switch e := record.(type) {
		case *epoch.CommittedV1:
			s := of(e.Epoch)
			s.commitment, s.committed = e.Commitment, true
		case *epoch.Committed:
			s := of(e.Epoch)
			s.commitment, s.committed = e.Commitment, true
		case *epoch.ActivatedV1:
			of(e.Epoch).activated = true
		case *epoch.Activated:
			s := of(e.Epoch)
			s.external, s.activated = e.External, true
		case *epoch.Closed:
			of(e.Epoch)
		case *epoch.Halted:
			of(e.Epoch)
		case *decision.Ended:
			of(e.Epoch)
		case *decision.Abandoned:
			of(e.Epoch)
		case *epoch.Revealed:
			s := of(e.Epoch)
			if !s.committed || !s.activated {
				return k.reject("seeds", fmt.Sprintf("the commitment and activation of epoch %d before its secret", e.Epoch), "none")
			}
			if c := chance.Commitment(k.head.Origin, e.Epoch, e.Secret, e.Salt); c != s.commitment {
				return k.reject("seed-commitment", hex.EncodeToString(s.commitment[:]), fmt.Sprintf("%x, of the secret in entry %d", c, p.index))
			}
			k.drawers[e.Epoch] = chance.NewDrawer(chance.DeriveKey(e.Secret, s.commitment, s.external), k.head.Origin)
		default:
			return k.reject("seeds", "entries of seed epochs in "+seedsName, record.Type())
		}
		return nil
	})
}

// enabled reads the definitions of what was played.
func (k *checker) enabled() error {
	definitions := map[string][]byte{}
	if err := k.proven(gamesName, func(p *proven, record entry.Record) error {
		e, ok := record.(*rounds.GameEnabled)
		if !ok {
			return k.reject("games", "entries game.enabled in "+gamesName, record.Type())
		}
		if f := k.outcomes.Enable(p.index, e); f != nil {
			return f
		}
		k.games[p.index] = true
		definitions[gamesFolder+hex.EncodeToString(e.Maths[:])+".json"] = bytes.Clone(e.Definition)
		return nil
	}); err != nil {
		return err
	}
	names := slices.Sorted(maps.Keys(definitions))
	i := 0
	for _, f := range k.m.Files {
		if len(f.Name) < len(gamesFolder) || f.Name[:len(gamesFolder)] != gamesFolder {
			continue
		}
		if i == len(names) || names[i] != f.Name {
			return k.reject("games", "the definitions in "+gamesName+", in order, and no other", f.Name)
		}
		data, err := k.c.read(f.Name, entry.MaxSize)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, definitions[f.Name]) {
			return k.reject("games", "the definition in its entry", f.Name)
		}
		i++
	}
	if i != len(names) {
		return k.reject("games", "a file "+names[i], "none")
	}
	return nil
}

// played is what a worker finds of a round.
type played struct {
	known bool
	found *verify.Finding
	draw  draw
}

type draw byte

const (
	drawSecret draw = iota // not known
	drawProven             // without a nonce
	drawOther
)

// worker recomputes rounds.
func (k *checker) worker() func(*batch) {
	o := k.outcomes.Another()
	return func(b *batch) {
		for i, record := range b.records[:len(b.leaves)] {
			r, ok := record.(*rounds.Settled)
			if !ok || b.failed[i] != nil {
				continue
			}
			p := &b.played[i]
			*p = played{}
			if p.known, p.found = o.Round(b.indexes[i], r); !p.known {
				continue
			}
			if d := k.drawers[r.Draw.Epoch]; d != nil {
				p.draw = drawOther
				if o.Draw(d, r, nil) == r.Draw.R {
					p.draw = drawProven
				}
			}
		}
	}
}

// comparer holds what is written to it against a file.
type comparer struct {
	name   string
	in     *bufio.Reader
	buf    [1 << 14]byte
	lines  int64
	at     int64
	differ string
}

func (c *comparer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && c.differ == "" {
		part := c.buf[:min(len(p), len(c.buf))]
		got, err := io.ReadFull(c.in, part)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return 0, err
		}
		if got < len(part) || !bytes.Equal(part, p[:len(part)]) {
			i := 0
			for i < got && part[i] == p[i] {
				i++
			}
			c.lines += int64(bytes.Count(part[:i], []byte{'\n'}))
			c.differ = fmt.Sprintf("other bytes in %s from byte %d, line %d on", c.name, c.at+int64(i), c.lines+1)
			break
		}
		c.lines += int64(bytes.Count(part, []byte{'\n'}))
		c.at += int64(len(part))
		p = p[len(part):]
	}
	return n, nil
}

func (c *comparer) done() string {
	if c.differ == "" {
		if _, err := c.in.ReadByte(); err != io.EOF {
			c.differ = fmt.Sprintf("more in %s from byte %d on", c.name, c.at)
		}
	}
	return c.differ
}

// leaves reads the leaves in order, binds them to the checkpoint, and makes the tables of them again.
func (k *checker) leaves() error {
	in, err := k.c.open(leavesName)
	if err != nil {
		return err
	}
	var compared []*comparer
	again := k.m.Parquet == ParquetWriter
	if !again {
		k.report.Unchecked = append(k.report.Unchecked, fmt.Sprintf("the Parquet tables, whose bytes are those of %q; this program has %s: compare their rows with the CSV tables, which were recomputed", k.m.Parquet, ParquetWriter))
	}
	var missing error
	tables := newTables(k.m.Complete, func(name string) io.Writer {
		r, err := k.c.open(name)
		if err != nil {
			missing = cmp.Or(missing, err)
			return io.Discard
		}
		if !again && name[len(name)-1] != 'v' {
			return io.Discard
		}
		c := &comparer{name: name, in: bufio.NewReaderSize(r, bufferSize)}
		compared = append(compared, c)
		return c
	})
	bound := k.bindRange
	if !k.m.Complete {
		bound = k.bindEach
	}
	err = bound(in, tables)
	if closed := tables.close(); err == nil {
		err = cmp.Or(closed, missing)
	}
	if err != nil {
		return err
	}
	for _, c := range compared {
		if differ := c.done(); differ != "" {
			return k.reject("table", "the table that the leaves come to", differ)
		}
		k.report.Tables = append(k.report.Tables, c.name)
	}
	if k.m.Span != nil && k.m.Complete {
		return k.certificate(tables)
	}
	if k.opts.Certificate != nil {
		return &Rejection{Rule: "certificate", Expected: "an export of a whole span to hold it against", Found: fmt.Sprintf("entries %d to %d", k.m.Range.From, k.m.Range.To)}
	}
	return nil
}

// entry takes the next leaf.
func (k *checker) entry(b *batch, i int, tables *Tables) error {
	index := b.indexes[i]
	if k.opts.Progress != nil && index%(1<<14) == 0 {
		k.opts.Progress(index-k.m.Range.From, k.m.Range.To-k.m.Range.From)
	}
	if err := b.failed[i]; err != nil {
		if errors.Is(err, books.ErrUnknownType) {
			return fmt.Errorf("%w: entry %d: %w", verify.ErrUnchecked, index, err)
		}
		return k.reject("canonical", "the canonical form of an entry", fmt.Sprintf("entry %d: %v", index, err))
	}
	if err := k.calls.note(index, b.records[i]); err != nil {
		return k.reject("files", "an export within its limits", err.Error())
	}
	if err := tables.entry(index, b.records[i]); err != nil {
		return err
	}
	if at := b.records[i].Head().At; k.m.Span != nil && (at < k.from || at >= k.to) {
		return k.reject("span", fmt.Sprintf("entries from %s to before %s", k.m.Span.From, k.m.Span.To), fmt.Sprintf("entry %d of %s", index, at))
	}
	switch r := b.records[i].(type) {
	case *rounds.Settled:
		return k.round(index, r, &b.played[i])
	case *players.NonceSet:
		k.nonces[r.Player] = append(k.nonces[r.Player], players.Nonce{Epoch: r.Epoch, Nonce: r.Nonce})
	}
	return nil
}

func (k *checker) round(index uint64, r *rounds.Settled, p *played) error {
	k.report.Rounds++
	if !p.known {
		return k.reject("games", fmt.Sprintf("the definition that entry %d enabled", r.Enabled), "none")
	}
	if p.found != nil {
		return p.found
	}
	k.report.Outcomes++
	switch p.draw {
	case drawSecret:
		k.report.Unproven++
	case drawProven, drawOther:
		row := players.Player{Nonces: k.nonces[r.Player]}
		nonce := row.NonceAt(r.Draw.Epoch)
		switch {
		case nonce == nil && p.draw == drawProven:
			k.report.Proven++
			return nil
		case nonce == nil && (k.m.Range.From > 0 || !k.m.Complete):
			k.report.Unproven++ // the nonce may be older than the export
			return nil
		}
		want := k.outcomes.Draw(k.drawers[r.Draw.Epoch], r, nonce)
		if want != r.Draw.R {
			return k.reject("draw", hex.EncodeToString(want[:])+", from the epoch's revealed secret", fmt.Sprintf("%x in entry %d", r.Draw.R, index))
		}
		k.report.Proven++
	}
	return nil
}

// bindRange takes all leaves of the range under one proof.
func (k *checker) bindRange(in io.Reader, tables *Tables) error {
	data, err := k.c.read(rangeName, proofMost)
	if err != nil {
		return err
	}
	proof, err := parseRangeProof(data)
	if err != nil {
		return k.reject("range-proof", "the hashes beside the range", err.Error())
	}
	leaves := ranges.NewEmptyRange(k.m.Range.From)
	next := k.m.Range.From
	err = stream(k.ctx, func(yield func(index uint64, leaf []byte) error) error {
		return lines(in, func(line []byte) error {
			if next == k.m.Range.To {
				return k.reject("entries", strconv.FormatUint(k.m.Entries, 10), "more leaves")
			}
			next++
			return yield(next-1, line)
		})
	}, hashing(k.worker), func(b *batch, i int) error {
		if err := leaves.Append(b.hashes[i][:], nil); err != nil {
			return err
		}
		return k.entry(b, i, tables)
	})
	if err != nil {
		return k.malformed(err)
	}
	if next != k.m.Range.To {
		return k.reject("entries", strconv.FormatUint(k.m.Entries, 10), fmt.Sprintf("%d leaves", next-k.m.Range.From))
	}
	root, err := proof.root(leaves, k.head.Size)
	if err != nil {
		return k.reject("range-proof", "the hashes beside the range", err.Error())
	}
	if root != k.head.Root {
		return k.reject("range-proof", fmt.Sprintf("leaves and hashes that lead to the root %x", k.head.Root), hex.EncodeToString(root[:]))
	}
	return nil
}

// hashing has a worker take the hashes of leaves, too.
func hashing(worker func() func(*batch)) func() func(*batch) {
	return func() func(*batch) {
		work := worker()
		return func(b *batch) {
			b.hash()
			work(b)
		}
	}
}

// bindEach takes the leaves that a filter left, each under its own proof.
func (k *checker) bindEach(in io.Reader, tables *Tables) error {
	section, err := k.c.open(proofsName)
	if err != nil {
		return err
	}
	proofs := bufio.NewReaderSize(section, lineMost)
	next, count := k.m.Range.From, uint64(0)
	err = stream(k.ctx, func(yield func(index uint64, leaf []byte) error) error {
		return lines(in, func(leaf []byte) error {
			line, err := proofs.ReadSlice('\n')
			if err != nil {
				return k.reject("line", "a proof of each leaf in "+proofsName, err.Error())
			}
			p, err := parseProven(line[:len(line)-1], false)
			if err != nil {
				return k.reject("line", "a proof in "+proofsName, err.Error())
			}
			if p.index < next || p.index >= k.m.Range.To {
				return k.reject("order", "entries of the range, in the order of the log", fmt.Sprintf("entry %d", p.index))
			}
			if err := p.includes(leaf, k.note); err != nil {
				return k.reject("inclusion", fmt.Sprintf("a proof of entry %d", p.index), err.Error())
			}
			next, count = p.index+1, count+1
			return yield(p.index, leaf)
		})
	}, k.worker, func(b *batch, i int) error {
		if b.failed[i] == nil && !k.m.Filter.takes(b.leaves[i], b.records[i]) {
			return k.reject("filter", fmt.Sprintf("entries of the filter %+v", k.m.Filter), fmt.Sprintf("entry %d", b.indexes[i]))
		}
		return k.entry(b, i, tables)
	})
	if err != nil {
		return k.malformed(err)
	}
	if _, err := proofs.ReadByte(); err != io.EOF {
		return k.reject("line", "a leaf of each proof", "more proofs")
	}
	if count != k.m.Entries {
		return k.reject("entries", strconv.FormatUint(k.m.Entries, 10), strconv.FormatUint(count, 10))
	}
	return nil
}

func (k *checker) malformed(err error) error {
	if errors.Is(err, tlog.ErrFormat) {
		return k.reject("line", "leaves, one a line", err.Error())
	}
	return err
}

// called holds the files against what the leaves call for.
func (k *checker) called() error {
	for enabled := range k.calls.games {
		if !k.games[enabled] {
			return k.reject("games", fmt.Sprintf("entry %d in %s", enabled, gamesName), "none")
		}
	}
	if len(k.games) != len(k.calls.games) {
		return k.reject("games", fmt.Sprintf("%d entries in %s", len(k.calls.games), gamesName), strconv.Itoa(len(k.games)))
	}
	for n := range k.calls.epochs {
		if s := k.epochs[n]; s == nil || !s.committed || !s.activated {
			return k.reject("seeds", fmt.Sprintf("commitment and activation of epoch %d in %s", n, seedsName), "none")
		}
	}
	want := []string{leavesName, rangeName, checkpointName, keysName, gamesName, seedsName}
	if !k.m.Complete {
		want = slices.Delete(want, 1, 2)
	}
	if k.m.Span != nil {
		want = append(want, boundsName)
	}
	if !k.m.Complete {
		want = append(want, proofsName)
	}
	for _, t := range tableNames {
		want = append(want, t+".csv", t+".parquet")
	}
	for _, f := range k.m.Files {
		if len(f.Name) > len(gamesFolder) && f.Name[:len(gamesFolder)] == gamesFolder {
			want = append(want, f.Name) // held against their entries before
		}
	}
	for _, digest := range slices.SortedFunc(maps.Keys(k.calls.blobs), func(a, b [32]byte) int { return slices.Compare(a[:], b[:]) }) {
		want = append(want, blobsFolder+hex.EncodeToString(digest[:]))
	}
	for i, f := range k.m.Files {
		if i >= len(want) || f.Name != want[i] {
			return k.reject("files", fmt.Sprint(want), f.Name+" as number "+strconv.Itoa(i+1))
		}
		if len(f.Name) > len(blobsFolder) && f.Name[:len(blobsFolder)] == blobsFolder && f.Name[len(blobsFolder):] != f.SHA256 {
			return k.reject("documents", "a document of the digest that is its name", f.Name)
		}
	}
	if len(k.m.Files) != len(want) {
		return k.reject("files", fmt.Sprint(want), strconv.Itoa(len(k.m.Files)))
	}
	return nil
}

// bounds holds the range of a span against the entries on both sides of it.
func (k *checker) bounds() error {
	if k.m.Span == nil {
		return nil
	}
	var seen []uint64
	r := k.m.Range
	if err := k.proven(boundsName, func(p *proven, record entry.Record) error {
		seen = append(seen, p.index)
		switch at := record.Head().At; {
		case p.index+1 == r.From && at >= k.from:
			return k.reject("span", "the entry before the range to be before "+k.m.Span.From, at.String())
		case p.index == r.To && at < k.to:
			return k.reject("span", "the entry after the range not to be before "+k.m.Span.To, at.String())
		}
		return nil
	}); err != nil {
		return err
	}
	var want []uint64
	if r.From > 0 {
		want = append(want, r.From-1)
	}
	if want = append(want, r.To); !slices.Equal(seen, want) {
		return k.reject("span", fmt.Sprintf("the entries %d in %s", want, boundsName), fmt.Sprint(seen))
	}
	return nil
}

// certificate derives the certificate again, and holds those that the house signed against it.
func (k *checker) certificate(tables *Tables) error {
	c, err := tables.certificate(k.m)
	if err != nil {
		return err
	}
	k.report.Certificate = c
	bundle, err := k.c.read(CertificateName, dsse.Most)
	if err != nil {
		return err
	}
	if err := k.certified(bundle, c); err != nil || k.opts.Certificate == nil {
		return err
	}
	return k.certified(k.opts.Certificate, c)
}

// certified holds a certificate of the span, under whichever checkpoint, against what the leaves come to.
func (k *checker) certified(bundle []byte, c *Certificate) error {
	var said Certificate
	e, err := k.open(bundle)
	if err == nil {
		_, err = e.Statement(SpanPredicateType, &said)
	}
	if err != nil {
		return &Rejection{Rule: "certificate", Expected: "a statement of type " + SpanPredicateType + " that the house's key for exports signed", Found: clip(err.Error())}
	}
	again := *c
	if again.Checkpoint = said.Checkpoint; said.Span != c.Span {
		return &Rejection{Rule: "certificate", Expected: "one of the span of the export, " + c.Span.From + " to " + c.Span.To, Found: said.Span.From + " to " + said.Span.To}
	}
	want, err := again.statement(k.m.Files[0].SHA256)
	if err != nil {
		return err
	}
	if !bytes.Equal(want, e.Payload) {
		return k.reject("certificate", string(want), string(e.Payload))
	}
	return nil
}
