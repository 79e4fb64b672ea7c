package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"countroom/games/books"
	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// town is a house with players, some way into its second epoch, of 40 draws
// each, that tells the entries at which something was done to it.
type town struct {
	*logtest.House
	who    []logtest.Player
	before entry.Time // when an epoch had ended
}

func newTown() *town { return newTownBegun(nil) }

// newTownBegun is a town whose first entries were made in another way.
func newTownBegun(begin func(h *logtest.House)) *town {
	if begin == nil {
		begin = (*logtest.House).Begin
	}
	t := &town{House: logtest.Empty(logtest.Config{Seed: 3, Limits: epoch.Limits{AgeSeconds: 60, Draws: 40, RevealDelaySeconds: 5}})}
	begin(t.House)
	for range 3 {
		t.who = append(t.who, t.Join(500_000))
	}
	t.Play(t.who, 60)
	return t
}

// The published tree: every hash of it is checked against the entries.
func TestTamperedTree(t *testing.T) {
	h, _ := honest(600)
	flip := func(path string, at int) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			data := bytes.Clone(files[path].Data)
			data[at] ^= 1
			files[path] = &fstest.MapFile{Data: data}
		}
	}
	other, _ := honest(601)
	for name, c := range map[string]struct {
		change func(files fstest.MapFS)
		rule   string
		index  uint64
	}{
		"full tile":        {flip("tile/0/000", 33), "tile", 1},
		"partial tile":     {flip(tlog.TilePath(0, h.Size()/256, int(h.Size()%256)), 0), "tile", h.Size() / 256 * 256},
		"upper tile":       {flip(tlog.TilePath(1, 0, int(h.Size()/256)), 40), "tile", 256},
		"signed root":      {func(f fstest.MapFS) { f["checkpoint"].Data = h.Sign(h.Size(), tlog.Hash{1}) }, "signed-root", h.Size()},
		"signature":        {flip("checkpoint", len(h.Checkpoint())-10), "checkpoint-signature", 0},
		"another's key":    {func(f fstest.MapFS) { f["checkpoint"].Data = logtest.New(logtest.Config{Seed: 99}).Checkpoint() }, "checkpoint-signature", 0},
		"entries of other": {func(f fstest.MapFS) { f["tile/entries/001"] = other.Publish()["tile/entries/001"] }, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			files := h.Publish()
			c.change(files)
			r, err := Log(t.Context(), Dir(files), Options{VKey: h.VKey})
			if c.rule == "" {
				mustHold(t, r, err) // the two logs are the same up to there
				return
			}
			if err != nil || len(r.Findings) == 0 || r.Findings[0].Rule != c.rule || r.Findings[0].Index != c.index {
				t.Errorf("%v, %+v", err, r.Findings)
			}
		})
	}
}

// What could not be looked at is no evidence.
func TestUnchecked(t *testing.T) {
	h, _ := honest(600)
	for name, c := range map[string]struct {
		change func(files fstest.MapFS)
		says   string
	}{
		"no checkpoint":          {func(f fstest.MapFS) { delete(f, "checkpoint") }, "checkpoint"},
		"checkpoint is no note":  {func(f fstest.MapFS) { f["checkpoint"].Data = []byte("hello") }, "checkpoint"},
		"endless checkpoint":     {func(f fstest.MapFS) { f["checkpoint"].Data = make([]byte, 1<<20) }, "longer than"},
		"no bundle":              {func(f fstest.MapFS) { delete(f, "tile/entries/001") }, "entries from 256 on"},
		"no tile":                {func(f fstest.MapFS) { delete(f, "tile/0/001") }, "entries from 256 on"},
		"no upper tile":          {func(f fstest.MapFS) { delete(f, tlog.TilePath(1, 0, int(h.Size()/256))) }, "tile/1/000"},
		"bundle cut short":       {func(f fstest.MapFS) { f["tile/entries/000"] = &fstest.MapFile{Data: []byte{0, 9, 1}} }, "malformed"},
		"bundle of fewer":        {func(f fstest.MapFS) { f["tile/entries/000"] = &fstest.MapFile{Data: []byte{0, 1, '1'}} }, "1 entries, want 256"},
		"tile of another length": {func(f fstest.MapFS) { f["tile/0/000"] = &fstest.MapFile{Data: make([]byte, 32)} }, "32 bytes, want 8192"},
		"a size beyond the log":  {func(f fstest.MapFS) { f["checkpoint"].Data = h.Sign(1<<62, tlog.Hash{}) }, "entries from"},
	} {
		t.Run(name, func(t *testing.T) {
			files := h.Publish()
			c.change(files)
			r, err := Log(t.Context(), Dir(files), Options{VKey: h.VKey})
			if !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), c.says) || !r.OK() {
				t.Errorf("%v, %+v", err, r.Findings)
			}
		})
	}
	t.Run("unknown type", func(t *testing.T) {
		h, who := honest(10)
		h.AppendLeaf([]byte(`{"actor":"house","at":"2027-01-01T00:00:00.000000Z","type":"house.moved"}`))
		h.Play(who, 10)
		r, err := check(t, h)
		if !errors.Is(err, ErrUnchecked) || !errors.Is(err, books.ErrUnknownType) || !r.OK() || len(r.Unchecked) != 1 {
			t.Errorf("%v, %+v", err, r)
		}
	})
	t.Run("verifier key", func(t *testing.T) {
		if _, err := Log(t.Context(), Dir(h.Publish()), Options{VKey: "house"}); !errors.Is(err, ErrUnchecked) {
			t.Error(err)
		}
	})
	t.Run("known file", func(t *testing.T) {
		// Nobody can make evidence against a house without its key.
		another := logtest.New(logtest.Config{Seed: 99})
		for name, data := range map[string][]byte{
			"notes.txt":                     []byte("I lost!"),
			"a receipt that was altered":    bytes.Replace(h.Answer(2), []byte("slots"), []byte("dices"), 1),
			"a receipt of another house":    another.Answer(1),
			"a checkpoint of another house": another.Checkpoint(),
		} {
			r, err := check(t, h, Known{name, data})
			if !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), name) || !r.OK() {
				t.Errorf("%s: %v, %+v", name, err, r.Findings)
			}
		}
	})
}

// A secret that stays in the drawer while the log goes on is warned of, and its
// rounds are not said to be proven nor the log to hold; one that waits for a house that stood still
// is not.
func TestLateReveal(t *testing.T) {
	run := func(gap, after time.Duration) (*Report, error) {
		h := newTown()
		s := epoch.Now(h.Rows())
		for s = epoch.Now(h.Rows()); s.Draws < 40; s = epoch.Now(h.Rows()) {
			h.Spin(h.who[0], 100)
		}
		h.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		h.Wait(gap)
		h.Deposit(h.who[0], 1)
		h.Wait(after)
		h.Deposit(h.who[0], 1)
		return check(t, h.House)
	}
	r, err := run(10*time.Second, 6*time.Minute)
	if !errors.Is(err, ErrUnchecked) || !r.OK() || len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "late reveal") || r.Rounds.Unproven == 0 {
		t.Errorf("late: %v, %q, %+v", err, r.Warnings, r.Rounds)
	}
	r, err = run(10*time.Hour, time.Second)
	if mustHold(t, r, err); len(r.Warnings) != 0 {
		t.Errorf("a pause: %q", r.Warnings)
	}
}

// After a broken rule of the books the report says what it did not look at.
func TestReportSaysWhatWasNotChecked(t *testing.T) {
	h := newTown()
	index := h.spin(func(r *rounds.Settled) { r.Draw.Number++ })
	h.more()
	r, err := check(t, h.House)
	if err != nil || len(r.Findings) != 1 || len(r.Unchecked) != 1 || !strings.Contains(r.Unchecked[0], strconv.FormatUint(index, 10)) || r.Replayed != index {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestReceiptAlone(t *testing.T) {
	h, who := honest(20)
	index := h.Spin(who[0], 100)
	good := h.Answer(index)
	proofs, err := Receipt(good, h.VKey)
	if err != nil || len(proofs) != 1 || proofs[0].Index != index || proofs[0].Record.Type() != "round.settled" || proofs[0].Checkpoint.Size != h.Size() {
		t.Fatalf("%v, %+v", err, proofs)
	}
	list := slices.Concat([]byte(`{"items":[`), good, []byte(","), h.Answer(2), []byte("]}"))
	if proofs, err = Receipt(list, h.VKey); err != nil || len(proofs) != 2 {
		t.Errorf("a list: %v, %d", err, len(proofs))
	}
	var answer struct {
		Leaf    json.RawMessage `json:"leaf"`
		Receipt string          `json:"receipt"`
	}
	json.Unmarshal(good, &answer)
	with := func(leaf, receipt string) []byte {
		b, _ := json.Marshal(map[string]any{"leaf": json.RawMessage(leaf), "receipt": receipt})
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		rule string // or "" when it could not be checked
	}{
		"stake changed":   {with(strings.Replace(string(answer.Leaf), "100", "20", 1), answer.Receipt), "inclusion"},
		"index changed":   {with(string(answer.Leaf), strings.Replace(answer.Receipt, "index ", "index 1", 1)), "inclusion"},
		"size changed":    {with(string(answer.Leaf), strings.Replace(answer.Receipt, "\n"+strconv.FormatUint(h.Size(), 10)+"\n", "\n999\n", 1)), "checkpoint-signature"},
		"another's house": {logtest.New(logtest.Config{Seed: 99, Origin: "logtest.example/other"}).Answer(1), "checkpoint-signature"},
		"another's key":   {logtest.New(logtest.Config{Seed: 99}).Answer(1), ""}, // it may be one that the house has exchanged its own for
		"no receipt":      {with(string(answer.Leaf), ""), ""},
		"not JSON":        {[]byte("receipt"), ""},
		"a problem":       {[]byte(`{"type":"about:blank","title":"Unauthorized","status":401}`), ""},
		"name twice":      {bytes.Replace(good, []byte(`"leaf"`), []byte(`"receipt"`), 1), ""},
	} {
		_, err := Receipt(c.data, h.VKey)
		var f *Finding
		if c.rule == "" && !errors.Is(err, ErrUnchecked) || c.rule != "" && (!errors.As(err, &f) || f.Rule != c.rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The house signed an entry that breaks the format.
	h.AppendLeaf([]byte(`{"actor":"house","type":"round.settled"}`))
	var f *Finding
	if _, err := Receipt(h.Answer(h.Size()-1), h.VKey); !errors.As(err, &f) || f.Rule != "canonical" {
		t.Errorf("malformed entry: %v", err)
	}
	h.AppendLeaf([]byte(`{"actor":"house","type":"house.moved"}`))
	if _, err := Receipt(h.Answer(h.Size()-1), h.VKey); !errors.Is(err, ErrUnchecked) || !errors.Is(err, books.ErrUnknownType) {
		t.Errorf("unknown type: %v", err)
	}
}

func TestSumsDoNotWrap(t *testing.T) {
	var s Sum
	for range 5000 {
		s.add(money.Max)
	}
	if want := "45035996273704955000"; s.String() != want {
		t.Errorf("%s, want %s", s, want)
	}
}

// The set knows every key again, also those of a kind that a house could choose.
func TestSet(t *testing.T) {
	s := newSet[int]()
	key := func(i int) (k [16]byte) {
		k[i%16] = byte(i >> 8)
		k[(i+5)%16] ^= byte(i)
		k[15], k[14], k[13] = byte(i), byte(i>>8), byte(i>>16)
		return k
	}
	for i := range 100_000 {
		if s.get(key(i)) != nil {
			t.Fatalf("key %d is in before it was added", i)
		}
		of, added := s.add(key(i))
		if !added {
			t.Fatalf("key %d was taken for another", i)
		}
		*of = i
	}
	for i := range 100_000 {
		if of := s.get(key(i)); of == nil || *of != i {
			t.Fatalf("key %d was forgotten, or is another's", i)
		}
		if of, added := s.add(key(i)); added || *of != i {
			t.Fatalf("key %d was added again", i)
		}
	}
}
