package api

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/players"
	"countroom/games/rounds"
	"countroom/games/slots"
	"countroom/ledger"
	"countroom/ledger/entry"
	"countroom/ledger/money"
	"countroom/ledger/tlog"
	"countroom/ledger/wallet"
	"countroom/rngcert/epoch"
	"countroom/rngcert/noise"
)

// shown says as which problem each exported error beneath this package is
// shown. Those that only a fault of the server can bring up here are internal.
var shown = map[string]struct {
	err    error
	name   string
	status int
}{
	"house.ErrPlayerExists":     {house.ErrPlayerExists, "player-exists", 409},
	"house.ErrCurrency":         {house.ErrCurrency, "other-currency", 422},
	"house.ErrBalanceFull":      {house.ErrBalanceFull, "balance-limit", 409},
	"house.ErrToken":            {house.ErrToken, "unauthorized", 401},
	"house.ErrKeyAbsent":        {house.ErrKeyAbsent, "internal-error", 500}, // of commands on the machine itself
	"house.ErrWords":            {house.ErrWords, "internal-error", 500},
	"house.ErrPeriodOver":       {house.ErrPeriodOver, "player-lost", 409},
	"house.ErrMoving":           {house.ErrMoving, "vault-moving", 503},
	"house.ErrAttributes":       {house.ErrAttributes, "too-many-attributes", 409},
	"house.ErrNotClosed":        {house.ErrNotClosed, "internal-error", 500}, // of commands on the machine itself
	"house.ErrNotEmpty":         {house.ErrNotEmpty, "internal-error", 500},
	"house.ErrGameState":        {house.ErrGameState, "game-unchanged", 409},
	"players.ErrUnknownPlayer":  {players.ErrUnknownPlayer, "unknown-player", 404},
	"players.ErrSuspended":      {players.ErrSuspended, "player-suspended", 409},
	"players.ErrErased":         {players.ErrErased, "player-erased", 409},
	"players.ErrClosed":         {players.ErrClosed, "player-closed", 409},
	"players.ErrUnchanged":      {players.ErrUnchanged, "player-unchanged", 409},
	"players.ErrUnknownSession": {players.ErrUnknownSession, "unknown-session", 404},
	"players.ErrSessionClosed":  {players.ErrSessionClosed, "session-over", 401},
	"players.ErrSessionExpired": {players.ErrSessionExpired, "session-over", 401},
	"rounds.ErrUnknownGame":     {rounds.ErrUnknownGame, "unknown-game", 404},
	"rounds.ErrGameDisabled":    {rounds.ErrGameDisabled, "game-disabled", 409},
	"wallet.ErrFunds":           {wallet.ErrFunds, "insufficient-funds", 409},
	"epoch.ErrNoEpoch":          {epoch.ErrNoEpoch, "no-seed-epoch", 503},
	"epoch.ErrHalted":           {epoch.ErrHalted, "seed-halted", 503},
	"house.ErrSealed":           {house.ErrSealed, "seed-sealed", 503},
	"house.ErrOpens":            {house.ErrOpens, "internal-error", 500}, // of commands on the machine itself
	"noise.ErrStopped":          {noise.ErrStopped, "entropy-failed", 503},
	"slots.ErrStake":            {slots.ErrStake, "stake-not-offered", 422},
	"slots.ErrDraw":             {slots.ErrDraw, "internal-error", 500},
	"slots.ErrDefinition":       {slots.ErrDefinition, "internal-error", 500},
	"ledger.ErrOverloaded":      {ledger.ErrOverloaded, "overloaded", 503},
	"ledger.ErrStopped":         {ledger.ErrStopped, "stopped", 503},
	"ledger.ErrNoSpace":         {ledger.ErrNoSpace, "no-space", 503},
	"ledger.ErrWitnesses":       {ledger.ErrWitnesses, "witnesses-silent", 503},
	"ledger.ErrSigner":          {ledger.ErrSigner, "signer-silent", 503},
	"ledger.ErrUnknownOutcome":  {ledger.ErrUnknownOutcome, "outcome-unknown", 503},
	"ledger.ErrKeyReused":       {ledger.ErrKeyReused, "key-reused", 409},
	"ledger.ErrPassive":         {ledger.ErrPassive, "passive", 503},
	"ledger.ErrNotFound":        {ledger.ErrNotFound, "not-found", 404},
	"ledger.ErrFork":            {ledger.ErrFork, "internal-error", 500},
	"entry.ErrJSON":             {entry.ErrJSON, "malformed-body", 400},
	"entry.ErrFormat":           {entry.ErrFormat, "internal-error", 500},
	"money.ErrOverflow":         {money.ErrOverflow, "internal-error", 500},
	"money.ErrUnbalanced":       {money.ErrUnbalanced, "internal-error", 500},
	"tlog.ErrFormat":            {tlog.ErrFormat, "internal-error", 500},
	"tlog.ErrSignature":         {tlog.ErrSignature, "internal-error", 500},
	"tlog.ErrProof":             {tlog.ErrProof, "internal-error", 500},
	"tlog.ErrRange":             {tlog.ErrRange, "internal-error", 500},
}

func TestEveryErrorHasItsProblem(t *testing.T) {
	declared := 0
	for _, pkg := range []string{
		"games/house", "games/players", "games/rounds", "games/slots", "ledger", "ledger/entry", "ledger/money",
		"ledger/tlog", "ledger/wallet", "rngcert/epoch", "rngcert/noise",
	} {
		for _, name := range exportedErrors(t, filepath.Join("..", pkg)) {
			declared++
			name = filepath.Base(pkg) + "." + name
			want, known := shown[name]
			if !known {
				t.Errorf("%s: nothing says as which problem it is shown", name)
				continue
			}
			r := refusalOf(fmt.Errorf("some context: %w", want.err))
			if r.name != want.name || r.status != want.status {
				t.Errorf("%s is shown as %d %s, want %d %s", name, r.status, r.name, want.status, want.name)
			}
			if (r.status == 503) != (r.outcome != "") || (r.status == 503) != (r.retry > 0) {
				t.Errorf("%s: a 503, and nothing else, says what became of the command and when to retry: %+v", name, r.problem)
			}
		}
	}
	if declared != len(shown) {
		t.Errorf("%d errors are declared, the table has %d", declared, len(shown))
	}
	if r := refusalOf(errors.New("secret of the house")); r.problem != internal || r.detail != "" {
		t.Errorf("an unknown error is shown as %+v", r)
	}
	if r := refusalOf(fmt.Errorf("%w: %w", ledger.ErrStopped, ledger.ErrFork)); r.name != "stopped" || r.detail != "" {
		t.Errorf("a stopped ledger is shown as %+v", r)
	}
}

func exportedErrors(t *testing.T, dir string) (names []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(token.NewFileSet(), f, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if strings.HasPrefix(id.Name, "Err") {
						names = append(names, id.Name)
					}
				}
			}
		}
	}
	return names
}

func TestProblemsAreExplained(t *testing.T) {
	w := open(t)
	names := map[string]bool{}
	for _, p := range problems {
		if names[p.name] || p.title == "" || p.about == "" {
			t.Errorf("%s: named twice or not explained", p.name)
		}
		names[p.name] = true
		page := w.get("/problems/"+p.name, "").want(200)
		if !strings.Contains(string(page.body), p.title) || page.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: %s", p.name, page.body)
		}
	}
	w.get("/problems/none", "").refused(404, "not-found", "")
}
