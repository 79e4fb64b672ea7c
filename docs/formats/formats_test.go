// Package formats_test holds the documents of this folder to the code: each
// example is a file that the test makes from fixed inputs, and what the texts
// show and name is compared with it.
//
// go test ./docs/formats -update writes examples, vectors and their copies in
// the texts anew.
package formats_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"countroom/games/books"
	"countroom/ledger/entry"
	"countroom/ledger/tlog"
	"countroom/regulator/verify"
)

var update = flag.Bool("update", false, "write the examples, the vectors and the blocks that show them anew")

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFilesAreWhatTheStoryGives(t *testing.T) {
	files := tell(t).files()
	files["vectors/chance.json"] = read(t, "../../rngcert/chance/testdata/vectors.json")
	files["vectors/external.json"] = read(t, "../../rngcert/chance/testdata/external.json")
	files["vectors/escrow.json"] = read(t, escrowFile)
	if *update {
		for _, dir := range []string{"examples", "vectors"} {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		for name, b := range files {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range files {
		if got := read(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes; a format must not change under one name", name)
		}
	}
	for _, dir := range []string{"examples", "vectors"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && files[filepath.ToSlash(path)] == nil {
				t.Errorf("%s: nothing makes this file", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// types are the record types that books.New knows, read from its source.
func types(t *testing.T) (list []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../games/books/books.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if fn, ok := n.(*ast.FuncDecl); ok {
			return fn.Name.Name == "New"
		}
		if c, ok := n.(*ast.CaseClause); ok {
			for _, e := range c.List {
				if lit, ok := e.(*ast.BasicLit); ok {
					list = append(list, must(strconv.Unquote(lit.Value)))
				}
			}
		}
		return true
	})
	if len(list) < 17 {
		t.Fatalf("only %d types were found", len(list))
	}
	return list
}

func TestEachRecordTypeHasAnExampleThatDecodes(t *testing.T) {
	for _, typ := range types(t) {
		leaf := read(t, "examples/"+typ+".json")
		r, err := books.Decode(leaf)
		if err != nil {
			t.Errorf("%s: %v", typ, err)
			continue
		}
		if again, err := entry.Append(nil, r); err != nil || !bytes.Equal(again, leaf) {
			t.Errorf("%s: written again it is %s (%v)", typ, again, err)
		}
		if jcs, err := entry.Canonical(leaf); err != nil || !bytes.Equal(jcs, leaf) {
			t.Errorf("%s: its RFC 8785 form is %s (%v)", typ, jcs, err)
		}
		if r.Type() != typ {
			t.Errorf("%s: decodes as %s", typ, r.Type())
		}
	}
}

func TestTheExampleLogHolds(t *testing.T) {
	vkey := strings.TrimSpace(string(read(t, "examples/log.vkey")))
	answer := read(t, "examples/answer.json")
	r, err := verify.Log(t.Context(), verify.Dir(os.DirFS("examples/log")), verify.Options{VKey: vkey, Known: []verify.Known{{Name: "answer.json", Data: answer}}})
	if err != nil || !r.OK() || len(r.Unchecked) > 0 {
		t.Fatalf("%v: findings %+v, unchecked %q", err, r.Findings, r.Unchecked)
	}
	if len(r.Warnings) != 5 || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, ": program, configuration or games on ") }) || !strings.Contains(r.Warnings[0], ": the log was restored from a back-up of size ") || !strings.Contains(r.Warnings[1], ": epoch 5 came into use with nothing from outside") {
		t.Errorf("warnings %q, expected one of the restore, one of the downgrade, one of a screen, one of another program", r.Warnings)
	}
	if r.Rounds.Proven != 4 || r.Rounds.Unproven != 0 || r.Rounds.Outcomes != 4 || r.Known != 1 || r.Epochs.Revealed != 5 || r.Epochs.Abandoned != 1 {
		t.Errorf("rounds %+v, epochs %+v, known %d", r.Rounds, r.Epochs, r.Known)
	}
	if o := r.Outside; o.None != 4 || o.Witness != 1 || o.Beacon != 1 || o.Downgraded != 1 || len(o.Chains) != 1 || len(o.Witnesses) != 2 {
		t.Errorf("outside %+v", o)
	}
	for _, typ := range types(t) {
		if r.Types[typ] == 0 && !strings.HasPrefix(typ, "chance.") { // those come after 16,384 rounds
			t.Errorf("no %s in the log", typ)
		}
	}
	proofs, err := verify.Receipt(answer, vkey)
	if err != nil || len(proofs) != 1 || !bytes.Equal(proofs[0].Leaf, read(t, "examples/round.settled.json")) {
		t.Errorf("the answer proves %v (%v)", proofs, err)
	}
	var a struct{ Receipt string }
	if err := json.Unmarshal(answer, &a); err != nil || a.Receipt != string(read(t, "examples/receipt.txt")) {
		t.Errorf("the answer's receipt is %q (%v)", a.Receipt, err)
	}
	if _, err := tlog.ParseReceipt([]byte(a.Receipt)); err != nil {
		t.Error(err)
	}
}

// documents are the texts of this folder.
func documents(t *testing.T) map[string]string {
	t.Helper()
	names := must(filepath.Glob("*.md"))
	if len(names) < 8 {
		t.Fatalf("only %q", names)
	}
	docs := map[string]string{}
	for _, name := range names {
		docs[name] = string(read(t, name))
	}
	return docs
}

// shown is a line that only links to an example, and the block under it.
var shown = regexp.MustCompile("(?m)^(\\[[^\\]]*\\]\\((examples/[^)]+)\\):\n\n```[a-z]*\n)((?s:.*?))```$")

func TestDocumentsShowTheFiles(t *testing.T) {
	seen := map[string]bool{}
	for name, text := range documents(t) {
		fresh := shown.ReplaceAllStringFunc(text, func(block string) string {
			m := shown.FindStringSubmatch(block)
			seen[m[2]] = true
			file := strings.TrimSuffix(string(read(t, m[2])), "\n") + "\n"
			if m[3] == file {
				return block
			}
			if !*update {
				t.Errorf("%s: the block is not what stands in %s", name, m[2])
			}
			return m[1] + file + "```"
		})
		if *update && fresh != text {
			if err := os.WriteFile(name, []byte(fresh), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, typ := range types(t) {
		if !seen["examples/"+typ+".json"] {
			t.Errorf("no document shows a %s", typ)
		}
	}
}

// sections splits entries.md by its headings; those of types are "### type".
func sections(text string) map[string]string {
	m := map[string]string{}
	for _, part := range strings.Split(text, "\n### ")[1:] {
		head, body, _ := strings.Cut(part, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		m[strings.Trim(head, "`")] = body
	}
	return m
}

var tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")

// header are the members that all entries have, and those of entries that a
// request caused; entries.md tells of them once.
var header = []string{"actor", "at", "id", "type", "fingerprint", "key"}

// members lists the members of a value: "draw.epoch", "postings[].account".
// What is of another document's form is not entered.
func members(prefix string, v *entry.Value) (list []string) {
	switch {
	case prefix == "definition" || prefix == "outcome":
		return []string{prefix}
	case v.Kind == entry.KindObject:
		for i := range v.Members {
			name := v.Members[i].Name
			if prefix != "" {
				name = prefix + "." + name
			}
			list = append(list, members(name, &v.Members[i].Value)...)
		}
		return list
	case v.Kind == entry.KindArray && len(v.Items) > 0:
		return members(prefix+"[]", &v.Items[0])
	}
	return []string{prefix}
}

// allMembers are the members of all entries of a type, since some are optional,
// in the order in which they stand in a leaf.
func allMembers(leaves [][]byte, typ string) (all []string) {
	for _, leaf := range leaves {
		if must(entry.TypeOf(leaf)) != typ {
			continue
		}
		v := must(entry.Parse(leaf))
		for _, name := range members("", &v) {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	all = slices.DeleteFunc(all, func(name string) bool { // an empty list in one, with elements in another
		return slices.ContainsFunc(all, func(other string) bool { return strings.HasPrefix(other, name+"[]") })
	})
	slices.SortFunc(all, func(a, b string) int { return slices.Compare(strings.Split(a, "."), strings.Split(b, ".")) })
	return all
}

func TestEntriesNamesEveryMember(t *testing.T) {
	log := tell(t)
	told := sections(documents(t)["entries.md"])
	for _, typ := range types(t) {
		example := read(t, "examples/"+typ+".json")
		v := must(entry.Parse(example))
		want := slices.DeleteFunc(allMembers(append(slices.Clone(log.leaves), example), typ), func(name string) bool { return slices.Contains(header, name) })
		var got []string
		for _, m := range tableRow.FindAllStringSubmatch(told[typ], -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: entries.md has the members\n%q, the leaf\n%q", typ, got, want)
		}
		if _, asked := v.Get("key"); asked != strings.Contains(told[typ], "Caused by a request") {
			t.Errorf("%s: whether a request causes it is told otherwise", typ)
		}
	}
}

var ruleName = regexp.MustCompile(`(?:book\.Broken|\bbroken|\bdiffer)\("([a-z-]+)"|(?:Rule: +|Difference\{\s*)"([a-z-]+)"`)

// rulesInCode are the rules that the sources under a folder can report, but for those under the folders left out.
func rulesInCode(t *testing.T, folder string, without ...string) map[string]bool {
	t.Helper()
	rules := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("../..", folder), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains(without, d.Name()) {
			return fs.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		for _, m := range ruleName.FindAllStringSubmatch(string(read(t, path)), -1) {
			rules[m[1]+m[2]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// Every rule that a fold or the verifier can report is in entries.md, and
// entries.md speaks of no other. So it is with the rules of a vault's files and
// its page; those of export.md are held by the frauds on exports.
func TestDocumentsNameEveryRule(t *testing.T) {
	log := map[string]bool{}
	for _, root := range []string{"ledger", "games", "rngcert", "regulator"} {
		maps.Copy(log, rulesInCode(t, root, "export", "vault"))
	}
	for _, c := range []struct {
		page   string
		told   string
		inCode map[string]bool
		least  int
	}{
		{"entries.md", `(?m)^- \*\*([a-z-]+)\*\*`, log, 50},
		{"../vault-deliveries.md", "(?m)^- `([a-z-]+)`: ", rulesInCode(t, "regulator/vault"), 15},
	} {
		if len(c.inCode) < c.least {
			t.Fatalf("%s: only %d rules were found", c.page, len(c.inCode))
		}
		inText := map[string]bool{}
		for _, m := range regexp.MustCompile(c.told).FindAllStringSubmatch(string(read(t, c.page)), -1) {
			inText[m[1]] = true
		}
		for _, name := range slices.Sorted(maps.Keys(c.inCode)) {
			if !inText[name] {
				t.Errorf("%s does not tell the rule %s", c.page, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(inText)) {
			if !c.inCode[name] {
				t.Errorf("%s tells a rule %s, which no code has", c.page, name)
			}
		}
	}
}

// Every relative link of the repository's documents leads somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	links := 0
	check := func(path string) {
		for _, m := range link.FindAllStringSubmatch(string(read(t, path)), -1) {
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
	check("../../README.md")
	for _, dir := range []string{"..", "../../deploy"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".md") {
				check(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if links < 20 {
		t.Errorf("only %d links", links)
	}
}
