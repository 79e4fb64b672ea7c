package countroom_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The house has floors; arrows point down. Packages are named by the longest
// prefix that matches. The test parses the files itself: what the go command
// lists can be cached over a breach.
var floors = map[string]int{
	"ledger/money": 0, "ledger/entry": 0, "ledger/tlog": 0, "ledger/book": 0,
	"ledger/dsse":     0, // signed statements beside the log
	"rngcert/uniform": 0, // words to integers: the rule that games and chance share

	"ledger/system": 1, "ledger/replica/core": 1, "ledger/wallet": 1, "ledger/officers": 1, "ledger/keys": 1,
	"games": 1, "rngcert": 1,

	"games/books": 2, "games/play": 2, "games/certificates": 2, "games/trial": 2, "ledger": 2, "hardware": 2,

	"games/house": 3, "api": 3, "regulator": 3,

	"cmd": 4,
	// Support for tests, which starts the real thing.
	"api/browsertest": 4, "games/house/housetest": 4, "ledger/book/booktest": 4, "ledger/dsse/cosigntest": 4, "regulator/mirror/stock/stocktest": 4,
}

// sideways are the arrows within a floor that lead out of a family (the first
// element of the path).
var sideways = [][2]string{
	{"api", "games/house"},
	{"api", "regulator"},
	{"rngcert/decision", "ledger/officers"}, // an epoch ends early by two of them
	{"games/subjects", "ledger/officers"},   // a subject is erased by two of them
	{"games/subjects", "ledger/wallet"},     // and has no money
}

// never are the arrows that would break a law, whatever the floors say.
var never = []struct{ from, to, why string }{
	{"ledger", "games", "the ledger knows nothing of the meaning of entries (books are handed to it)"},
	{"ledger", "api", "the ledger serves no requests"},
	{"ledger", "hardware", "keys and devices reach the ledger as interfaces"},
	{"hardware", "ledger", "a device knows nothing of what it signs"},
	{"rngcert", "games", "chance knows neither stake nor game (law 6)"},
	{"api", "hardware", "only cmd names a device"},
	{"api", "ledger/store", "only cmd names a store"},
	{"games/house", "ledger/store", "only cmd names a store"},
	{"games/house", "hardware", "only cmd names a device"},
	{"regulator/witness", "games", "a witness shares formats with a house, and nothing else"},
	{"regulator/witness", "ledger/store", "a witness shares formats with a house, and nothing else"},
	{"regulator/witness", "hardware", "only cmd names a device"},
	{"regulator/mirror", "ledger/store", "a mirror is plain files"},
	{"regulator/mirror", "hardware", "a mirror signs nothing"},
	{"regulator/mirror", "api", "a mirror shares formats with a house, and no server"},
	{"regulator/watch", "regulator/mirror/stock", "a watcher is in the verifier, which links no Trillian (law 10)"},
	{"regulator/portal", "regulator/mirror/stock", "a house feeds nobody's Trillian"},
	{"regulator/verify", "api", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/verify", "hardware", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/verify", "ledger/store", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/verify", "ledger/trillian", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/verify", "games/house", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/export", "api", "who checks an export shares formats and rules, never servers (law 10)"},
	{"regulator/export", "hardware", "who checks an export shares formats and rules, never servers (law 10)"},
	{"regulator/export", "ledger/store", "who checks an export shares formats and rules, never servers (law 10)"},
	{"regulator/export", "ledger/trillian", "who checks an export shares formats and rules, never servers (law 10)"},
	{"regulator/export", "games/house", "who checks an export shares formats and rules, never servers (law 10)"},
	{"regulator/replay", "ledger/store", "it runs in a reader's browser"},
	{"regulator/replay", "regulator/verify", "it runs in a reader's browser, which has to load it"},
	{"regulator/portal", "ledger/store", "a portal reads the log as the ledger shows it"},
	{"regulator/portal", "hardware", "only cmd names a device"},
	{"regulator/vault", "api", "who checks a vault shares formats and rules, never servers (law 10)"},
	{"regulator/vault", "hardware", "who checks a vault shares formats and rules, never servers (law 10)"},
	{"regulator/vault", "ledger/store", "who checks a vault shares formats and rules, never servers (law 10)"},
	{"regulator/vault", "ledger/trillian", "who checks a vault shares formats and rules, never servers (law 10)"},
	{"regulator/vault", "games/house", "who checks a vault shares formats and rules, never servers (law 10)"},
	{"regulator/disclosure", "api", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/disclosure", "hardware", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/disclosure", "ledger/store", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/disclosure", "ledger/trillian", "a verifier shares formats and rules, never servers (law 10)"},
	{"regulator/disclosure", "games/house", "a verifier shares formats and rules, never servers (law 10)"},
	{"ledger/store", "ledger/trillian", "the store keeps bytes"},
}

// neverExactly are forbidden imports of one package, not of those below it.
var neverExactly = []struct{ from, to, why string }{
	{"regulator/verify", "ledger", "a verifier shares formats and rules, never the writer (law 10)"},
	{"regulator/export", "ledger", "who checks an export shares formats and rules, never the writer (law 10)"},
	{"regulator/disclosure", "ledger", "a verifier shares formats and rules, never the writer (law 10)"},
	{"regulator/vault", "ledger", "who checks a vault shares formats and rules, never the writer (law 10)"},
	{"regulator/replay", "ledger", "it runs in a reader's browser"},
}

// pureNever are the packages that floors 0 and 1 may not import: time and
// random words are arguments there.
var pureNever = map[string]string{
	"os": "opens files", "net": "opens sockets", "net/http": "opens sockets", "math/rand": "is a random source", "math/rand/v2": "is a random source",
	"crypto/rand": "is a random source", "syscall": "reaches the system", "golang.org/x/sys/unix": "reaches the system", "os/exec": "starts processes",
}

// clocks are calls of package time that read a clock or wait.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

func floorOf(pkg string) (floor int, ok bool) {
	best := -1
	for prefix, f := range floors {
		if (pkg == prefix || strings.HasPrefix(pkg, prefix+"/")) && len(prefix) > best {
			best, floor, ok = len(prefix), f, true
		}
	}
	return floor, ok
}

func under(pkg, prefix string) bool { return pkg == prefix || strings.HasPrefix(pkg, prefix+"/") }

func family(pkg string) string {
	f, _, _ := strings.Cut(pkg, "/")
	return f
}

type imported struct {
	file, pkg string
	imports   []string
	source    string
}

// sources parses every Go file that is not a test.
func sources(t *testing.T) (files []imported) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		one := imported{file: path, pkg: filepath.ToSlash(filepath.Dir(path)), source: string(src)}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			one.imports = append(one.imports, p)
		}
		files = append(files, one)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestArrowsPointDown(t *testing.T) {
	files := sources(t)
	if len(files) < 50 {
		t.Fatalf("only %d files were found", len(files))
	}
	for _, f := range files {
		if f.pkg == "." {
			continue
		}
		floor, ok := floorOf(f.pkg)
		if !ok {
			t.Errorf("%s: package %s has no floor", f.file, f.pkg)
			continue
		}
		for _, imp := range f.imports {
			if floor <= 1 {
				if why, bad := pureNever[imp]; bad {
					t.Errorf("%s imports %s, which %s; floor %d is pure", f.file, imp, why, floor)
				}
			}
			to, ours := strings.CutPrefix(imp, "countroom/")
			if !ours {
				continue
			}
			for _, n := range never {
				if under(f.pkg, n.from) && under(to, n.to) && floor < 4 {
					t.Errorf("%s imports %s: %s", f.file, to, n.why)
				}
			}
			for _, n := range neverExactly {
				if under(f.pkg, n.from) && to == n.to {
					t.Errorf("%s imports %s: %s", f.file, to, n.why)
				}
			}
			below, ok := floorOf(to)
			switch {
			case !ok:
				t.Errorf("%s imports %s, which has no floor", f.file, to)
			case below > floor:
				t.Errorf("%s (floor %d) imports %s (floor %d): arrows point down", f.file, floor, to, below)
			case below == floor && family(to) != family(f.pkg) && !slices.ContainsFunc(sideways, func(s [2]string) bool { return under(f.pkg, s[0]) && under(to, s[1]) }):
				t.Errorf("%s imports %s: sideways out of its family", f.file, to)
			}
		}
	}
}

func TestPureFloorsReadNoClock(t *testing.T) {
	for _, f := range sources(t) {
		if floor, ok := floorOf(f.pkg); !ok || floor > 1 || !slices.Contains(f.imports, "time") {
			continue
		}
		for _, call := range clocks {
			if strings.Contains(f.source, "time."+call+"(") {
				t.Errorf("%s calls time.%s: time is an argument on floors 0 and 1", f.file, call)
			}
		}
	}
}

// verifierNever are modules that must not be linked into the verifier, however
// deep.
var verifierNever = []string{
	"github.com/labstack/echo", "github.com/cockroachdb/pebble", "github.com/google/trillian", "github.com/jackc/pgx",
	"github.com/sigstore/sigstore", "github.com/prometheus/client_golang", "google.golang.org/grpc", "k8s.io/klog",
}

// Law 10: what countroom-verify is made of, all the way down through our own
// packages.
func TestTheVerifierLinksNoServer(t *testing.T) {
	never := []string{"api", "hardware", "ledger/store", "ledger/trillian", "ledger/replica", "games/house", "regulator/witness", "regulator/mirror/stock", "cmd/appliance"}
	followed := follow(t, "cmd/countroom-verify", func(path string, f imported) {
		refuse(t, path, f, verifierNever, never)
		if strings.Contains(f.source, "net.Listen(") || strings.Contains(f.source, "http.ListenAndServe") || strings.Contains(f.source, "http.Server{") {
			t.Errorf("%s: %s opens a listener", path, f.file)
		}
	})
	if followed < 8 {
		t.Fatalf("only %d packages were followed", followed)
	}
}

// witnessNever are modules that a regulator's witness does without.
var witnessNever = []string{
	"github.com/labstack/echo", "github.com/cockroachdb/pebble", "github.com/google/trillian", "github.com/jackc/pgx", "go.etcd.io",
}

// A witness is small enough to be read: it holds a house to one history and
// shares with it no store, no sequencer and no rule.
func TestTheWitnessLinksNoHouse(t *testing.T) {
	never := []string{"api", "games", "ledger/store", "ledger/trillian", "ledger/replica", "ledger/wallet", "ledger/system", "regulator/verify", "cmd/appliance"}
	followed := follow(t, "cmd/countroom-witness", func(path string, f imported) { refuse(t, path, f, witnessNever, never) })
	if followed < 4 {
		t.Fatalf("only %d packages were followed", followed)
	}
}

// follow shows every file of a program, all the way down through our own
// packages, and returns how many packages these were.
func follow(t *testing.T, program string, file func(path string, f imported)) int {
	t.Helper()
	byPkg := map[string][]imported{}
	for _, f := range sources(t) {
		byPkg[f.pkg] = append(byPkg[f.pkg], f)
	}
	if len(byPkg[program]) == 0 {
		t.Fatalf("%s is gone", program)
	}
	seen := map[string]bool{}
	var visit func(pkg, path string)
	visit = func(pkg, path string) {
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		for _, f := range byPkg[pkg] {
			file(path, f)
			for _, imp := range f.imports {
				if to, ours := strings.CutPrefix(imp, "countroom/"); ours {
					visit(to, path+" → "+to)
				}
			}
		}
	}
	visit(program, program)
	return len(seen)
}

// refuse reports what a file of a program must not import.
func refuse(t *testing.T, path string, f imported, modules, packages []string) {
	t.Helper()
	for _, imp := range f.imports {
		for _, bad := range modules {
			if under(imp, bad) {
				t.Errorf("%s: %s imports %s", path, f.file, imp)
			}
		}
		to, ours := strings.CutPrefix(imp, "countroom/")
		if !ours {
			continue
		}
		for _, bad := range packages {
			if under(to, bad) {
				t.Errorf("%s: %s imports %s", path, f.file, to)
			}
		}
		if to == "ledger" {
			t.Errorf("%s: %s imports the writer", path, f.file)
		}
	}
}

// Every package says what it is for.
func TestEveryPackageHasAComment(t *testing.T) {
	commented := map[string]bool{}
	for _, f := range sources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), f.file, f.source, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		commented[f.pkg] = commented[f.pkg] || file.Doc != nil
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}
