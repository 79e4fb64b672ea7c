package saved

import (
	"os"
	"strings"
	"testing"
)

func example(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/formats/examples/answer.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswersAreFoundAtAnyDepth(t *testing.T) {
	one := example(t)
	for text, want := range map[string]int{one: 1, " \n" + one + "\n": 1, `[` + one + `,{"a":{"b":[` + one + `]}}]`: 2} {
		found, err := Read([]byte(text))
		if err != nil || len(found) != want {
			t.Errorf("%d answers found, %v, want %d", len(found), err, want)
		}
		for _, a := range found {
			if len(a.Leaf) == 0 || len(a.Receipt.Checkpoint) == 0 {
				t.Error("an answer is empty")
			}
		}
	}
	for name, text := range map[string]string{
		"no JSON": "receipt", "no answer": `{"leaf":{}}`, "a leaf that is no object": `{"leaf":"x","receipt":"y"}`,
		"no receipt": `{"leaf":{},"receipt":"y"}`, "more than fits": `[` + strings.Repeat(" ", Most) + `]`,
	} {
		if found, err := Read([]byte(text)); err == nil {
			t.Errorf("%s: %d answers were found", name, len(found))
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(example(f)))
	f.Add([]byte(`[{"leaf":{},"receipt":""},{"x":[]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := Read(data)
		if (err == nil) != (len(found) > 0) && err == nil {
			t.Error("neither answers nor an error")
		}
	})
}
