package replay

import (
	"fmt"
	"strings"
	"testing"

	"countroom/ledger/tlog"
)

func question(t testing.TB) Question {
	t.Helper()
	if h := madeUp(); h.err != nil {
		t.Fatal(h.err)
	}
	q := *madeUp().question
	q.More = append([]string(nil), q.More...)
	return q
}

func TestTheSelfTestHolds(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Fatal(err)
	}
}

// state returns what the step with a title came to, "" when there is none.
func (r *Report) state(title string) State {
	for _, s := range r.Steps {
		if strings.Contains(s.Title, title) {
			return s.State
		}
	}
	return ""
}

// Each part of what is given matters, and what is wrong is said of the step that
// it is wrong in.
func TestWhatIsWrongIsNamed(t *testing.T) {
	const round, commitment, activation, revelation = 0, 1, 2, 3 // of More
	for name, c := range map[string]struct {
		change func(q *Question)
		step   string
		state  State
		all    State
	}{
		"nothing":            {func(q *Question) {}, "The seed gives", Holds, Holds},
		"no answer":          {func(q *Question) { q.Answer = "" }, "The answer can be read", Fails, Fails},
		"another leaf":       {func(q *Question) { q.Answer = strings.Replace(q.Answer, `"n":1,`, `"n":2,`, 1) }, "The entry is in the log", Fails, Fails},
		"no key":             {func(q *Question) { q.VKey = "" }, "The house signed", Open, Open},
		"no good key":        {func(q *Question) { q.VKey = "x" + q.VKey }, "The house signed", Open, Open},
		"another house's":    {func(q *Question) { q.VKey = otherKey(t) }, "The house signed", Fails, Fails},
		"no rules":           {func(q *Question) { q.More[round] = "" }, "The rules give", Open, Open},
		"no seed":            {func(q *Question) { q.More = q.More[:1] }, "The seed was fixed", Open, Open},
		"no secret":          {func(q *Question) { q.More = q.More[:3] }, "The seed gives", Open, Open},
		"a nonce not asked":  {func(q *Question) { q.Nonce = strings.Repeat("ab", 32) }, "The seed gives", Open, Open},
		"a nonce that is no": {func(q *Question) { q.Nonce = "xyz" }, "The seed gives", Open, Open},
		"rules that lie": {func(q *Question) {
			q.More[0] = strings.Replace(q.More[0], `"id":"lamplight-quay"`, `"id":"lamplight-kuay"`, 1)
		},
			"What else was given", Open, Open},
		"a seed that lies": {func(q *Question) { q.More[3] = strings.Replace(q.More[3], `"secret":"00`, `"secret":"01`, 1) }, "What else was given", Open, Open},
	} {
		q := question(t)
		c.change(&q)
		r := Check(&q)
		if r.state(c.step) != c.state || r.Verdict() != c.all {
			t.Errorf("%s: %s, and %q of %q: %+v", name, r.Verdict(), r.state(c.step), c.step, r.Steps)
		}
	}
}

func otherKey(t testing.TB) string {
	t.Helper()
	vkey, err := tlog.VKey("self-test.example", make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

// A house that signs what it should not is found out by the round itself.
func TestAHouseThatSignsFalseRounds(t *testing.T) {
	for name, c := range map[string]struct{ from, to, step string }{
		"a payout that is not the rules'":   {`"payout":{"amount":`, `"payout":{"amount":1`, "The money moved"},
		"numbers that are not the draw's":   {`"values":[[32,`, `"values":[[33,`, "The draw gives"},
		"an outcome that is not the rules'": {`"capped":false`, `"capped":true`, "The rules give"},
		"a draw that is not the seed's":     {`"r":"`, `"r":"0`, "The seed gives"},
		"a commitment after the round":      {"", "", "The seed was fixed"},
		"a secret that was not bound":       {`"secret":"00`, `"secret":"01`, "The seed gives"},
	} {
		q, err := makeUpWith(func(leaves [][]byte) {
			for i, leaf := range leaves {
				text := strings.Replace(string(leaf), c.from, c.to, 1)
				if c.to == `"r":"0` && text != string(leaf) { // of the same length
					at := strings.Index(text, `"r":"0`) + len(`"r":"0`)
					text = text[:at+63] + text[at+64:]
				}
				leaves[i] = []byte(text)
			}
			if c.from == "" {
				leaves[1], leaves[4] = leaves[4], leaves[1]
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		r := Check(q)
		if r.state(c.step) != Fails {
			// A wrong draw without a nonce may be a nonce that was not given.
			if c.step != "The seed gives" || r.state(c.step) != Open || c.from != `"r":"` {
				t.Errorf("%s: %q of %q: %+v", name, r.state(c.step), c.step, r.Steps)
			}
		}
		if q.Nonce = strings.Repeat("cd", 32); c.from == `"r":"` && Check(q).state(c.step) != Fails {
			t.Errorf("%s, with a nonce: %+v", name, Check(q).Steps)
		}
	}
}

func TestAnAbandonedSeedProvesNothing(t *testing.T) {
	q, err := makeUpWith(func(leaves [][]byte) { leaves[4] = []byte(`{"epoch":1,"type":"seed.abandoned"}`) })
	if err != nil {
		t.Fatal(err)
	}
	r := Check(q)
	if r.Verdict() != Open || !strings.Contains(fmt.Sprint(r.Steps), "by nobody") {
		t.Errorf("%s: %+v", r.Verdict(), r.Steps)
	}
}

func TestTwoCheckpoints(t *testing.T) {
	q := question(t)
	_, note, ok := strings.Cut(strings.ReplaceAll(q.More[0], `\n`, "\n"), "\n\n")
	note = strings.TrimSuffix(note, `"}`)
	if !ok {
		t.Fatal("no checkpoint")
	}
	if r := Consistent(q.VKey, note, note, nil); r.Verdict() != Holds {
		t.Errorf("a checkpoint and itself: %+v", r.Steps)
	}
	if r := Consistent(q.VKey, note, strings.Replace(note, "\n5\n", "\n6\n", 1), nil); r.Verdict() != Fails {
		t.Errorf("one that was changed: %+v", r.Steps)
	}
	if r := Consistent("", note, note, nil); r.Verdict() != Open {
		t.Errorf("without a key: %+v", r.Steps)
	}
	other, err := makeUpWith(func(leaves [][]byte) { leaves[4] = []byte(`{"type":"seed.revealed"}`) })
	if err != nil {
		t.Fatal(err)
	}
	_, fork, _ := strings.Cut(strings.ReplaceAll(other.More[0], `\n`, "\n"), "\n\n")
	if r := Consistent(q.VKey, note, strings.TrimSuffix(fork, `"}`), nil); r.Verdict() != Fails || !strings.Contains(fmt.Sprint(r.Steps), "two histories") {
		t.Errorf("a fork: %+v", r.Steps)
	}
	if n, err := Size(note); err != nil || n != 5 {
		t.Errorf("size %d, %v", n, err)
	}
	if list, err := ParseHashes(strings.Repeat("ab", 32) + "\n\n" + strings.Repeat("cd", 32)); err != nil || len(list) != 2 {
		t.Errorf("hashes %v, %v", list, err)
	}
	if _, err := ParseHashes("xyz"); err == nil {
		t.Error("a hash that is none was read")
	}
}

func FuzzCheck(f *testing.F) {
	q := question(f)
	f.Add(q.VKey, q.Answer, q.More[0], q.More[1], q.Nonce)
	f.Add(q.VKey, q.More[0], q.Answer, q.More[3], strings.Repeat("ab", 32))
	f.Add("", "{}", "[]", "", "0")
	f.Fuzz(func(t *testing.T, vkey, answer, one, two, nonce string) {
		r := Check(&Question{VKey: vkey, Answer: answer, More: []string{one, two}, Nonce: nonce})
		if len(r.Steps) == 0 {
			t.Error("nothing was said")
		}
		// That nobody but the made-up house can have something said to hold.
		if r.Verdict() == Holds && !strings.Contains(q.VKey, strings.TrimSpace(vkey)) {
			t.Errorf("it holds under %q", vkey)
		}
	})
}

func FuzzConsistent(f *testing.F) {
	q := question(f)
	f.Add(q.VKey, "a\n1\nx\n", "a\n2\ny\n", strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, vkey, one, two, hashes string) {
		list, err := ParseHashes(hashes)
		if err != nil {
			return
		}
		Consistent(vkey, one, two, list)
		_, _ = Size(one)
	})
}
