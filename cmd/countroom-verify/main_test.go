package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"countroom/games/rounds"
	"countroom/ledger/entry"
	"countroom/ledger/system"
	"countroom/ledger/tlog"
	"countroom/regulator/evidence"
	"countroom/regulator/verify/logtest"
	"countroom/rngcert/epoch"
	"countroom/rngcert/escrow"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"countroom-verify": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// The transcripts in testdata run against these houses:
//
//	house DIR [fraud]   publishes a log of 300 rounds into DIR, with log.vkey,
//	                    another.vkey, answer.json and kept.checkpoint beside it,
//	                    all in the working directory
//	                    and escrow its seeds to regulator.pub and laboratory.pub
//	                    with the "frauds" escrow and escrow-false, and then write
//	                    epoch.json, an answer about epoch 2
//	house DIR rotated   the same, of a house that exchanges its checkpoint key on the
//	                    way, with new.vkey and history.json
//	exports             writes house.vkey, whole.zip, hour.zip with hour.certificate, player.zip,
//	                    and of hour.zip: bytes.zip, table.zip
//	house DIR abandoned the same, of a house whose officers abandon epoch 2 when one
//	                    round of it was played, with both.json, a round and its epoch
//	subjects            writes a log of a house that knows two players and erased one of
//	                    them, log with log.vkey; shown.jsonl, what it shows of them; and of
//	                    that: less, false, other and erased.jsonl, with first.ref and second.ref
//	serve DIR           serves DIR under $URL/log/, entries for the token in
//	                    token.key, with what a hostile house might try
func TestTranscripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"house":    publish,
			"serve":    serve,
			"exports":  exports,
			"subjects": subjectsOf,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

func write(ts *testscript.TestScript, name string, data []byte) {
	name = ts.MkAbs(name)
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o755))
	ts.Check(os.WriteFile(name, data, 0o644))
}

func publish(ts *testscript.TestScript, _ bool, args []string) {
	h := logtest.Empty(logtest.Config{Seed: 11, Limits: epoch.Limits{AgeSeconds: 60, Draws: 100, RevealDelaySeconds: 2}})
	if len(args) > 1 && strings.HasPrefix(args[1], "escrow") {
		escrowSeeds(ts, h, args[1] == "escrow-false")
	}
	h.Begin()
	who := []logtest.Player{h.Join(100_000), h.Join(100_000)}
	h.Play(who, 100)
	bet := uint64(0)
	fraud := ""
	if len(args) > 1 {
		fraud = args[1]
	}
	if fraud != "dropped" {
		bet = h.Spin(who[0], 100)
		write(ts, "answer.json", h.Answer(bet))
		write(ts, "kept.checkpoint", h.Checkpoint())
		cosign(ts, h, bet)
	}
	switch fraud {
	case "payout":
		h.Tamper = func(_ uint64, r entry.Record) {
			s := r.(*rounds.Settled)
			s.Payout.Amount += 5
			h.Settle(s)
		}
		h.Turn()
		h.Append(h.Round(who[0], 100))
	case "taken":
		h.Tamper = func(_ uint64, r entry.Record) { r.Head().Actor = "house" }
		h.Withdraw(who[1], 500)
	case "invented", "invented-revealed":
		h.Turn()
		h.Draw = func([32]byte, entry.Ref, uint64) [32]byte { return [32]byte{1, 2, 3} }
		h.Append(settled(h, who[0]))
	}
	h.Tamper, h.Draw = nil, nil
	if fraud == "rotated" {
		h.Officers()
		introduced := h.Introduce(system.RoleCheckpoint, "anna", "berta")
		retired := h.RetireKey(system.RoleCheckpoint, "anna", "berta")
		h.Spin(who[0], 100)
		write(ts, "history.json", fmt.Appendf(nil, `{"items":[%s,%s]}`, h.Answer(introduced), h.Answer(retired)))
		write(ts, "broken.json", fmt.Appendf(nil, `{"items":[%s]}`, h.Answer(3)))
		write(ts, "later.json", h.Answer(h.Size()-1))
		write(ts, "new.vkey", []byte(h.NewestVKey()+"\n"))
	}
	if fraud == "abandoned" {
		n := epoch.Now(h.Rows()).Active
		h.Officers()
		h.Halt(n)
		at := h.Abandon(n, "anna", "berta")
		write(ts, "both.json", fmt.Appendf(nil, `[%s,{"abandoned":%s}]`, h.Answer(bet), h.Answer(at)))
	}
	h.Play(who, 200)
	switch fraud {
	case "unknown":
		h.AppendLeaf([]byte(`{"actor":"house","type":"house.moved"}`))
	case "invented-revealed":
		h.Wait(time.Minute)
		h.Turn()
	case "withheld":
		for range 2 {
			h.Wait(time.Hour)
			h.Deposit(who[0], 100)
		}
	}
	for name, f := range h.Publish() {
		write(ts, filepath.Join(args[0], filepath.FromSlash(name)), f.Data)
	}
	for i := range h.Size() {
		if bytes.Contains(h.Leaf(i), []byte(`"epoch":2,"escrow"`)) {
			write(ts, "epoch.json", h.Answer(i))
		}
	}
	write(ts, "log.vkey", []byte(h.VKey+"\n"))
	conflicts(ts, h)
	write(ts, "another.vkey", []byte(logtest.New(logtest.Config{Seed: 12}).VKey))
}

// escrowSeeds has a house seal its seeds to regulator.pub and laboratory.pub, or
// something else in their place.
func escrowSeeds(ts *testscript.TestScript, h *logtest.House, falsely bool) {
	var to []*escrow.Recipient
	for _, name := range []string{"regulator.pub", "laboratory.pub"} {
		r, err := escrow.ParseRecipient([]byte(ts.ReadFile(name)))
		ts.Check(err)
		to = append(to, r)
	}
	h.Commitment = func(st *epoch.Statement, s *logtest.Secret) {
		secret := s.Secret
		if falsely {
			secret[0] ^= 1
		}
		box, err := escrow.Seal("logtest.example/house", st.Epoch, st.Commitment, secret, s.Salt, to...)
		ts.Check(err)
		st.Escrow = &epoch.Escrow{Recipients: box.Recipients, Sealed: box.Content}
	}
}

// cosign writes w1.vkey and w2.vkey, and the answer with the cosignature of w1 on
// its checkpoint (cosigned.json), with the one that it gave to another
// (forged.json), and with one of a time before the entry (early.json).
func cosign(ts *testscript.TestScript, h *logtest.House, bet uint64) {
	var w1 *tlog.Cosigner
	key := func(seed byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)) }
	for seed, name := range []string{"w2", "w1"} {
		vkey, err := tlog.CosignerVKey("witness.example/"+name, key(byte(seed)).Public().(ed25519.PublicKey))
		ts.Check(err)
		write(ts, name+".vkey", []byte(vkey+"\n"))
		w1, err = tlog.NewCosigner(vkey)
		ts.Check(err)
	}
	text, _, err := tlog.Text(h.Checkpoint())
	ts.Check(err)
	at := time.Date(2026, 3, 1, 12, 0, 2, 0, time.UTC)
	for name, c := range map[string]struct {
		text []byte
		at   time.Time
	}{
		"cosigned.json": {text, at}, "early.json": {text, at.Add(-time.Hour)}, "forged.json": {[]byte("another\n"), at},
	} {
		s := tlog.Cosignature{Name: w1.Name(), KeyHash: w1.KeyHash(), Time: uint64(c.at.Unix())}
		copy(s.Sig[:], ed25519.Sign(key(1), tlog.CosignedMessage(s.Time, c.text)))
		var answer map[string]any
		ts.Check(json.Unmarshal(h.Answer(bet), &answer))
		answer["receipt"] = answer["receipt"].(string) + string(s.AppendLine(nil))
		b, err := json.Marshal(answer)
		ts.Check(err)
		write(ts, name, b)
	}
}

// conflicts writes evidence as mirrors and witnesses keep it: fork.json of two
// roots of one size, shrunk.json, and witnessed.json.
func conflicts(ts *testscript.TestScript, h *logtest.House) {
	head := func(note []byte) evidence.Head {
		c, err := tlog.Peek(note)
		ts.Check(err)
		return evidence.Head{Checkpoint: c, Note: note, From: "https://house.example"}
	}
	one, two, small := head(h.Checkpoint()), head(h.Sign(h.Size(), tlog.Hash{1})), head(h.Sign(7, tlog.Hash{2}))
	at, vkeys := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), []string{h.NewestVKey()}
	fork, err := evidence.Compare(context.Background(), vkeys, at, one, two, nil)
	ts.Check(err)
	for name, f := range map[string]*evidence.File{"fork.json": fork, "shrunk.json": evidence.Smaller(vkeys, at, small, one)} {
		b, err := f.Append(nil)
		ts.Check(err)
		write(ts, name, b)
	}
	b, err := json.Marshal(map[string]any{"against": "two roots", "origin": one.Origin, "seen_at": "now", "recorded": string(one.Note), "submitted": string(two.Note), "old": one.Size, "proof": []string{}})
	ts.Check(err)
	write(ts, "witnessed.json", b)
}

func settled(h *logtest.House, p logtest.Player) *rounds.Settled {
	r := h.Round(p, 100)
	h.Settle(r)
	return r
}

func serve(ts *testscript.TestScript, _ bool, args []string) {
	folder := ts.MkAbs(args[0])
	files := http.StripPrefix("/log/", http.FileServerFS(os.DirFS(folder)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/elsewhere/"):
			http.Redirect(w, r, "http://localhost:1/log/checkpoint", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/endless/"):
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, strings.Repeat("endless ", 1<<10)); err != nil {
					return
				}
			}
		case strings.HasPrefix(r.URL.Path, "/log/tile/entries/") && r.Header.Get("Authorization") != "Bearer let-me-in":
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.HasPrefix(r.URL.Path, "/log/tile/entries/") && r.Header.Get("Authorization") != "":
			w.WriteHeader(http.StatusTeapot) // the token went where it is not needed
		default:
			files.ServeHTTP(w, r)
		}
	}))
	ts.Defer(s.Close)
	ts.Setenv("URL", s.URL)
	write(ts, "token.key", []byte("let-me-in\n"))
}

// Flags may stand anywhere, and --known takes several files.
func TestArguments(t *testing.T) {
	dir := t.TempDir()
	for line, want := range map[string]string{
		"log https://h --vkey k":                              "log https://h k []",
		"--vkey k log https://h":                              "log https://h k []",
		"log --vkey=k https://h":                              "log https://h k []",
		"-vkey k log DIR":                                     "log DIR k []",
		"log https://h --known a b --vkey k":                  "log https://h k [a b]",
		"log --known a --vkey k --known b c https://h":        "log https://h k [a b c]",
		"log --vkey k --known a b DIR":                        "log DIR k [a b]",
		"log --vkey k --known=a -- https://h":                 "log https://h k [a]",
		"receipt - --vkey k":                                  "receipt - k []",
		"receipt --vkey k -- -odd.json":                       "receipt -odd.json k []",
		"log https://h --vkey k --workers 4 --json --token t": "log https://h k []",
		"help":                          "help   []",
		"receipt --help":                "help   []",
		"log --version":                 "version   []",
		"":                              "!expected a command",
		"check x":                       "!unknown command",
		"log":                           "!one URL or DIR",
		"log https://h":                 "!--vkey",
		"log a b --vkey k":              "!got 2 arguments",
		"log a --vkey":                  "!--vkey: expected a value",
		"log a --vkey --json":           "!--vkey: expected a value",
		"log a --colour":                "!unknown flag --colour",
		"log a --workers none":          "!expected 1 to 1024",
		"log a --vkey k --save d":       "!URL of a house only",
		"log a --vkey k --token t":      "!URL of a house only",
		"receipt a --vkey k --known b":  "!no flags but --vkey",
		"receipt a --vkey k --quorum 1": "!at most the 0 witnesses",
		"receipt a --vkey k --quorum none --witness w": "!--quorum none",
		"receipt --vkey k --witness a+1+b c+2+d file":  "receipt file k []",
		"receipt a b --vkey k":                         "!one FILE",
		"log a --vkey k --known b --known":             "!--known: expected a value",
	} {
		var args []string
		for _, f := range strings.Fields(line) {
			args = append(args, strings.ReplaceAll(f, "DIR", dir))
		}
		a, err := parse(args)
		if bad, isBad := strings.CutPrefix(want, "!"); isBad {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("%s: %+v, %v", line, a, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if got := fmt.Sprintf("%s %s %s %v", a.command, a.subject, a.vkey, a.known); got != strings.ReplaceAll(want, "DIR", dir) {
			t.Errorf("%s: %s", line, got)
		}
	}
}

func TestProgressIsShownWhenItTakesLong(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	p.next = time.Now().Add(time.Hour)
	p.show(1, 2)
	p.next = time.Time{}
	p.show(512, 1024)
	p.next = time.Now().Add(time.Hour)
	p.show(600, 1024)
	p.clear()
	if out.String() != "512 of 1024 entries (50%)\n" {
		t.Errorf("%q", out.String())
	}
}
