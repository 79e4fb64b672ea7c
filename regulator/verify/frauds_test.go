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
	"countroom/games/slots"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
)

// town is a house with players, some way into its second epoch, of 40 draws
// each, that tells the entries at which something was done to it.
type town struct {
	*logtest.House
	who []logtest.Player
}

func newTown() *town {
	t := &town{House: logtest.New(logtest.Config{Seed: 3, Limits: epoch.Limits{AgeSeconds: 60, Draws: 40, RevealDelaySeconds: 5}})}
	for range 3 {
		t.who = append(t.who, t.Join(500_000))
	}
	t.Play(t.who, 60)
	return t
}

// more lets play go on honestly until the epoch of the fraud is revealed.
func (t *town) more() {
	t.Play(t.who, 60)
	t.Wait(10 * time.Second)
	t.Play(t.who, 30)
}

// spin plays a round with change applied to its record before it is folded.
func (t *town) spin(change func(r *rounds.Settled)) uint64 {
	t.Turn()
	t.Tamper = func(_ uint64, r entry.Record) { change(r.(*rounds.Settled)) }
	r := t.Round(t.who[0], 100)
	t.Settle(r)
	index := t.Append(r)
	t.Tamper = nil
	return index
}

// leaf adds the next round with its leaf changed.
func (t *town) leaf(change func(leaf []byte) []byte) uint64 {
	t.Turn()
	t.TamperLeaf = func(_ uint64, leaf []byte) []byte { return change(leaf) }
	r := t.Round(t.who[0], 100)
	t.Settle(r)
	index := t.Append(r)
	t.TamperLeaf = nil
	return index
}

// A fraud commits one and returns what a verifier must find: the rule and the
// entry. Everything else in the log is made to fit it, under the true key.
var frauds = []struct {
	name   string
	commit func(t *town) (index uint64)
	typ    string
	rule   string
	// what the finding must name
	expected, found string
}{
	{"the payout of a win is halved, postings to match", func(t *town) uint64 {
		t.Turn()
		for {
			r := t.Round(t.who[0], 100)
			if r.Payout.Amount == 0 {
				t.Spin(t.who[0], 100)
				t.Turn()
				continue
			}
			r.Payout.Amount = 7
			t.Settle(r)
			return t.Append(r)
		}
	}, "round.settled", "payout", "", "7"},
	{"another outcome is shown than was drawn", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) {
			d, _ := slots.Compile(slots.Bundled())
			var p books.Play
			p.Round(d, [32]byte{9}, 100)
			r.Outcome = p.Outcome
		})
	}, "round.settled", "outcome", `"stops":[`, `"stops":[`},
	{"two stops are swapped", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) {
			v := r.Draw.Values
			v[0], v[1] = v[1], v[0]
			a, b := strconv.Itoa(int(v[1].Value)), strconv.Itoa(int(v[0].Value))
			r.Outcome = bytes.Replace(r.Outcome, []byte("["+a+","+b+","), []byte("["+b+","+a+","), 1)
		})
	}, "round.settled", "draw-values", "as integer 1 of draw value", "as integer 1"},
	{"a drawn integer is changed", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Draw.Values[4].Value ^= 1 })
	}, "round.settled", "draw-values", "as integer 5 of draw value", "as integer 5"},
	{"a draw value is invented and the round played from it", func(t *town) uint64 {
		t.Turn()
		t.Draw = func(_ [32]byte, _ entry.Ref, _ uint64) [32]byte { return [32]byte{1, 2, 3} }
		index := t.Spin(t.who[0], 100)
		t.Draw = nil
		return index
	}, "round.settled", "draw", "from the epoch's revealed secret", "010203"},
	{"a round is drawn under another epoch's key", func(t *town) uint64 {
		t.Turn()
		next := epoch.Now(t.Rows()).Active + 1
		t.Draw = func(_ [32]byte, p entry.Ref, n uint64) [32]byte {
			d := slots.Bundled()
			return t.Secret(next).Drawer.Draw(d.ID, d.Version, p, n, 0, nil)
		}
		index := t.Spin(t.who[0], 100)
		t.Draw = nil
		return index
	}, "round.settled", "draw", "from the epoch's revealed secret", ""},
	{"the draw of another round is used again", func(t *town) uint64 {
		t.Turn()
		t.Draw = func(_ [32]byte, p entry.Ref, n uint64) [32]byte {
			d := slots.Bundled()
			return t.Secret(epoch.Now(t.Rows()).Active).Drawer.Draw(d.ID, d.Version, p, n-1, 0, nil)
		}
		index := t.Spin(t.who[0], 100)
		t.Draw = nil
		return index
	}, "round.settled", "draw", "from the epoch's revealed secret", ""},
	{"a draw is left out", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Draw.Number++ })
	}, "round.settled", "draw-number", "", ""},
	{"a player's round number is skipped", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Draw.N++ })
	}, "round.settled", "round-number", "", ""},
	{"a balance is one cent short", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Postings[1].Balance-- })
	}, "round.settled", "balance", "/cash at ", ""},
	{"postings do not balance", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Postings[1].Amount++; r.Postings[1].Balance++ })
	}, "round.settled", "postings-balanced", "sum to zero", "1 EUR left over"},
	{"a deposit comes from a game's hold", func(t *town) uint64 {
		index := t.Size()
		t.Tamper = func(_ uint64, r entry.Record) {
			p := &r.(*wallet.Deposited).Postings[0]
			p.Account = wallet.Hold(slots.Bundled().ID)
			p.Balance = wallet.Balance(t.Rows(), p.Account, "EUR") + p.Amount
		}
		t.Deposit(t.who[1], 1000)
		t.Tamper = nil
		return index
	}, "wallet.deposited", "postings", "house/cashier in EUR", "house/games/lamplight-quay in EUR"},
	{"money goes to another player than who deposited it", func(t *town) uint64 {
		index := t.Size()
		t.Tamper = func(_ uint64, r entry.Record) {
			p := &r.(*wallet.Deposited).Postings[1]
			p.Account = wallet.Cash(t.who[2].Ref)
			p.Balance = wallet.Balance(t.Rows(), p.Account, "EUR") + p.Amount
		}
		t.Deposit(t.who[1], 1000)
		t.Tamper = nil
		return index
	}, "wallet.deposited", "postings", "", ""},
	{"a stake that the game does not offer", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) {
			r.Stake.Amount = 60
			t.Settle(r)
		})
	}, "round.settled", "stake", "20 40 100 200 500 1000", "60"},
	{"a player stakes money he has not got", func(t *town) uint64 {
		t.Withdraw(t.who[0], t.Balance(t.who[0])-99)
		return t.spin(func(*rounds.Settled) {})
	}, "round.settled", "funds", "covers the stake of 100", "99"},
	{"an epoch is closed before its limits", func(t *town) uint64 {
		s := epoch.Now(t.Rows())
		return t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
	}, "seed.closed", "epoch-early", "only at its limits", "draws after "},
	{"an epoch is used beyond its limits", func(t *town) uint64 {
		for epoch.Now(t.Rows()).Draws < 40 {
			t.Spin(t.who[0], 100)
		}
		r := t.Round(t.who[0], 100)
		t.Settle(r)
		return t.Append(r)
	}, "round.settled", "epoch-over", "", ""},
	{"a committed epoch is skipped", func(t *town) uint64 {
		for epoch.Now(t.Rows()).Draws < 40 {
			t.Spin(t.who[0], 100)
		}
		s := epoch.Now(t.Rows())
		t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		t.Commit()
		return t.Size() - 1
	}, "seed.committed", "epoch-ahead", "", ""},
	{"an epoch is activated out of turn", func(t *town) uint64 {
		for epoch.Now(t.Rows()).Draws < 40 {
			t.Spin(t.who[0], 100)
		}
		s := epoch.Now(t.Rows())
		t.Append(&epoch.Closed{Draws: s.Draws, Epoch: s.Active, Reason: epoch.ByDraws})
		return t.Append(&epoch.Activated{Epoch: s.Active + 2, Policy: epoch.PolicyNone})
	}, "seed.activated", "epoch-activation", "", ""},
	{"another secret is revealed than was committed", func(t *town) uint64 {
		var index uint64
		t.Tamper = func(i uint64, r entry.Record) {
			if r, ok := r.(*epoch.Revealed); ok && r.Epoch == 2 {
				r.Secret[0] ^= 1
				index = i
			}
		}
		t.more()
		t.Tamper = nil
		return index
	}, "seed.revealed", "seed-commitment", "as committed in entry", ""},
	{"a commitment is signed by nobody", func(t *town) uint64 {
		var index uint64
		t.Tamper = func(i uint64, r entry.Record) {
			if r, ok := r.(*epoch.Committed); ok && index == 0 {
				r.Sources[0].Bytes = 1 << 20
				index = i
			}
		}
		t.more()
		t.Tamper = nil
		return index
	}, "seed.committed", "seed-signature", "", ""},
	{"the paytable is edited under the old hash", func(t *town) uint64 {
		disable(t)
		index := t.Size()
		t.Tamper = func(_ uint64, r entry.Record) {
			e := r.(*rounds.GameEnabled)
			e.Definition = bytes.Replace(e.Definition, []byte(`"max_win":`), []byte(`"max_win":1`), 1)
		}
		t.Enable()
		t.Tamper = nil
		return index
	}, "game.enabled", "game-maths", "the hash of the definition", ""},
	{"the largest payout is understated", func(t *town) uint64 {
		disable(t)
		index := t.Size()
		t.Tamper = func(_ uint64, r entry.Record) { r.(*rounds.GameEnabled).PayoutMax-- }
		t.Enable()
		t.Tamper = nil
		return index
	}, "game.enabled", "payout-max", "", ""},
	{"the longest leaf is misstated", func(t *town) uint64 {
		disable(t)
		index := t.Size()
		t.Tamper = func(_ uint64, r entry.Record) { r.(*rounds.GameEnabled).LeafMax++ }
		t.Enable()
		t.Tamper = nil
		return index
	}, "game.enabled", "leaf-max", "", ""},
	{"an idempotency key is used twice", func(t *town) uint64 {
		first := t.Request("operator")
		set := func(_ uint64, r entry.Record) { r.Head().Request = first }
		t.Tamper = set
		t.Deposit(t.who[0], 5)
		t.Deposit(t.who[0], 5)
		t.Tamper = nil
		return t.Size() - 1
	}, "wallet.deposited", "request-key-unique", "", ""},
	{"an id is used twice", func(t *town) uint64 {
		var old rounds.Settled
		for i := range t.Size() {
			if typ, _ := entry.TypeOf(t.Leaf(i)); typ == "round.settled" {
				entry.Decode(t.Leaf(i), &old)
			}
		}
		return t.spin(func(r *rounds.Settled) { r.ID = old.ID })
	}, "round.settled", "id-unique", "", ""},
	{"time goes back", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.At = r.At.Add(-time.Second) })
	}, "round.settled", "time", "not before 2026-", "2026-"},
	{"a round in a closed session", func(t *town) uint64 {
		t.Turn()
		t.Close(t.who[0])
		return t.spin(func(*rounds.Settled) {})
	}, "round.settled", "round-session", "", "session is closed"},
	{"a round in another player's session", func(t *town) uint64 {
		return t.spin(func(r *rounds.Settled) { r.Actor = "session/" + t.who[1].Session.String() })
	}, "round.settled", "round-session", "the session's player and game", ""},
	{"a leaf with white space", func(t *town) uint64 {
		return t.leaf(func(leaf []byte) []byte { return bytes.Replace(leaf, []byte(`,"id":`), []byte(`, "id":`), 1) })
	}, "round.settled", "canonical", "", ""},
	{"a leaf that is no entry", func(t *town) uint64 {
		return t.leaf(func([]byte) []byte { return []byte("hello") })
	}, "unknown", "canonical", "", ""},
	{"an outcome in other JSON of the same meaning", func(t *town) uint64 {
		return t.leaf(func(leaf []byte) []byte {
			return bytes.Replace(leaf, []byte(`"outcome":{"capped":false`), []byte(`"outcome":{"capped":false `), 1)
		})
	}, "round.settled", "outcome", "", ""},
	{"the house is created again", func(t *town) uint64 {
		return t.Append(&system.HouseCreated{Format: system.Format, Origin: "logtest.example/house"})
	}, "house.created", "house-created-first", "", ""},
	{"a process continues from a head that never was", func(t *town) uint64 {
		t.Tamper = func(_ uint64, r entry.Record) { r.(*system.HouseActive).Root[0] ^= 1 }
		t.Restart()
		t.Tamper = nil
		return t.Size() - 1
	}, "house.active", "active-root", "", ""},
}

func disable(t *town) {
	t.Append(&rounds.GameDisabled{Game: slots.Bundled().ID})
}

// Every fraud that an insider with all keys commits is found where he
// committed it, in an otherwise consistent log.
func TestFrauds(t *testing.T) {
	for _, f := range frauds {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			h := newTown()
			index := f.commit(h)
			h.more()
			r, err := check(t, h.House)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(r.Findings, func(g Finding) bool { return g.Rule == f.rule })
			if i < 0 {
				t.Fatalf("findings %+v", r.Findings)
			}
			g := r.Findings[i]
			if g.Index != index || g.Type != f.typ || !strings.Contains(g.Expected, f.expected) || !strings.Contains(g.Found, f.found) || g.Expected == "" || g.Found == "" {
				t.Errorf("entry %d: %+v", index, g)
			}
			for _, g := range r.Findings {
				if g.Type == "tree" || g.Type == "tile" || g.Type == "checkpoint" || g.Index < index {
					t.Errorf("a false accusation: %+v", g)
				}
			}
		})
	}
}

// What only those outside can prove: the house tells one story to them and
// another, itself flawless, to the verifier.
func TestRewrittenHistory(t *testing.T) {
	honest := func() *town { return newTown() }
	saved := honest()
	lost := saved.Spin(saved.who[0], 1000)
	receipt, checkpoint := saved.Answer(lost), saved.Checkpoint()
	saved.Play(saved.who, 10)

	another := honest() // the same up to the bet, which it drops
	another.Play(another.who, 20)
	short := honest()

	for _, c := range []struct {
		name  string
		log   *town
		known Known
		rules []string
		index uint64
	}{
		{"a bet was dropped, a receipt kept", another, Known{"receipt.json", receipt}, []string{"receipt-leaf", "fork"}, lost},
		{"history was rewritten, a checkpoint kept", another, Known{"checkpoint", checkpoint}, []string{"fork"}, lost + 1},
		{"the log was cut off, a receipt kept", short, Known{"receipt.json", receipt}, []string{"log-shorter"}, lost},
		{"the log was cut off, a checkpoint kept", short, Known{"checkpoint", checkpoint}, []string{"log-shorter"}, lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := check(t, c.log.House)
			mustHold(t, r, err)
			if r, err = check(t, c.log.House, c.known); err != nil {
				t.Fatal(err)
			}
			var rules []string
			for _, f := range r.Findings {
				rules = append(rules, f.Rule)
				if !strings.Contains(f.Expected, c.known.Name) {
					t.Errorf("does not name what was kept: %+v", f)
				}
			}
			if !slices.Equal(rules, c.rules) || r.Findings[0].Index != c.index && c.rules[0] != "log-shorter" {
				t.Errorf("%+v", r.Findings)
			}
		})
	}
	t.Run("nothing was changed", func(t *testing.T) {
		r, err := check(t, saved.House, Known{"receipt.json", receipt}, Known{"checkpoint", checkpoint})
		mustHold(t, r, err)
		if r.Known != 2 {
			t.Errorf("compared %d", r.Known)
		}
	})
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
		if _, err := check(t, h, Known{"notes.txt", []byte("I lost!")}); !errors.Is(err, ErrUnchecked) || !strings.Contains(err.Error(), "notes.txt") {
			t.Error(err)
		}
	})
}

// A secret that stays in the drawer while the log goes on is warned of, and its
// rounds are not said to be proven; one that waits for a house that stood still
// is not.
func TestLateReveal(t *testing.T) {
	run := func(gap, after time.Duration) *Report {
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
		r, err := check(t, h.House)
		mustHold(t, r, err)
		return r
	}
	if r := run(10*time.Second, 6*time.Minute); len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "late reveal") || r.Rounds.Unproven == 0 {
		t.Errorf("late: %q, %+v", r.Warnings, r.Rounds)
	}
	if r := run(10*time.Hour, time.Second); len(r.Warnings) != 0 {
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
		"another's house": {logtest.New(logtest.Config{Seed: 99}).Answer(1), "checkpoint-signature"},
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
	s := newSet()
	key := func(i int) (k [16]byte) {
		k[i%16] = byte(i >> 8)
		k[(i+5)%16] ^= byte(i)
		k[15], k[14], k[13] = byte(i), byte(i>>8), byte(i>>16)
		return k
	}
	for i := range 100_000 {
		if !s.add(key(i)) {
			t.Fatalf("key %d was taken for another", i)
		}
	}
	for i := range 100_000 {
		if s.add(key(i)) {
			t.Fatalf("key %d was forgotten", i)
		}
	}
}
