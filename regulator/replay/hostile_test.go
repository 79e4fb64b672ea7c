package replay

import (
	"slices"
	"strings"
	"testing"
)

// What somebody may paste into the page at /verify who wants the reader's browser
// to hang, or to say that all is well. Each is refused by a step that says why.
func TestHostileAnswers(t *testing.T) {
	another, err := makeUpWith(func(leaves [][]byte) {
		for i := range leaves {
			leaves[i] = []byte(strings.Replace(string(leaves[i]), `"actor":"house"`, `"actor":"hause"`, 1))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	good := question(t).Answer
	receipt := good[strings.Index(good, `"receipt":"`)+len(`"receipt":"`):]
	receipt = receipt[:strings.IndexByte(receipt, '"')]
	at := strings.Index(good, receipt)
	lines := strings.Split(receipt, `\n`)
	withReceipt := func(change func(lines []string) []string) string {
		return good[:at] + strings.Join(change(slices.Clone(lines)), `\n`) + good[at+len(receipt):]
	}
	// The lines of the checkpoint begin with the origin.
	origin := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "self-test.example") })
	if origin < 0 {
		t.Fatalf("no checkpoint in %q", lines)
	}
	const read, included, signed = "The answer can be read", "The entry is in the log", "The house signed"
	for name, c := range map[string]struct {
		answer string
		step   string
		why    string
	}{
		"cut off in the leaf":          {good[:len(good)/3], read, "expected"},
		"cut off before the end":       {good[:len(good)-2], read, "expected"},
		"nothing but space":            {strings.Repeat(" ", 1<<20), read, "expected"},
		"longer than an answer is":     {`{"a":"` + strings.Repeat("x", 3<<20) + `"}`, read, "at most"},
		"nested too deeply":            {strings.Repeat("[", 1<<20), read, "levels"},
		"nested in objects":            {strings.Repeat(`{"leaf":`, 1<<17), read, "levels"},
		"receipts without end":         {"[" + strings.Repeat(`{"leaf":{},"receipt":""},`, 50_000) + "0]", read, "expected"},
		"a name twice":                 {`{"leaf":{},"leaf":{},"receipt":"x"}`, read, "once"},
		"text that is no UTF-8":        {"{\"leaf\":{\"a\":\"\xff\"},\"receipt\":\"\"}", read, "UTF-8"},
		"a leaf without a type":        {strings.Replace(good, `"type":"round.settled"`, `"tipe":"round.settled"`, 1), read, "type"},
		"a page of HTML":               {"<html><script>alert(1)</script>", read, "expected"},
		"a receipt of nothing":         {withReceipt(func([]string) []string { return nil }), read, "receipt"},
		"a receipt cut off":            {withReceipt(func(l []string) []string { return l[:3] }), read, "receipt"},
		"a receipt with an extra line": {withReceipt(func(l []string) []string { return slices.Insert(l, 1, "extra") }), read, "receipt"},
		"an index that is not so":      {withReceipt(func(l []string) []string { l[1] = "index 999999"; return l }), included, "do not lead"},
		"an extra line of the log's":   {withReceipt(func(l []string) []string { return slices.Insert(l, origin+3, "extension") }), included, "the three lines"},
		"a signature that is cut":      {withReceipt(func(l []string) []string { i := len(l) - 2; l[i] = l[i][:len(l[i])-8]; return l }), signed, "did not sign"},
		"a signature without end":      {withReceipt(func(l []string) []string { i := len(l) - 2; l[i] += strings.Repeat("A", 1<<16); return l }), read, ""},
		"another log's signature": {withReceipt(func(l []string) []string {
			theirs := strings.Split(another.Answer, `\n`)
			l[len(l)-2] = theirs[len(theirs)-2]
			return l
		}), signed, "did not sign"},
		"another house's under no name": {withReceipt(func(l []string) []string { l[origin] = "another.example"; return l }), signed, "did not sign"},
	} {
		t.Run(name, func(t *testing.T) {
			q := question(t)
			q.Answer = c.answer
			r := Check(&q)
			if r.Verdict() != Fails {
				t.Fatalf("%s: %+v", r.Verdict(), r.Steps)
			}
			last := r.Steps[len(r.Steps)-1]
			for _, s := range r.Steps {
				if s.State == Fails {
					last = s
					break
				}
			}
			if !strings.Contains(last.Title, c.step) || !strings.Contains(last.Text, c.why) {
				t.Errorf("%q says %q, expected %q with %q", last.Title, last.Text, c.step, c.why)
			}
			if len(last.Text) > 2000 {
				t.Errorf("the step repeats %d bytes of what was pasted", len(last.Text))
			}
			// What comes beside a good answer is left aside by name, and does not undo it.
			q = question(t)
			q.More = append(q.More, c.answer)
			if r := Check(&q); r.Verdict() == Fails || (r.state("What else was given") != Open) != (strings.TrimSpace(c.answer) == "") {
				t.Errorf("beside a good answer: %s, %+v", r.Verdict(), r.Steps)
			}
		})
	}
}
