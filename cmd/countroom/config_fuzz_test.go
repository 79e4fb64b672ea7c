package main

import (
	"os"
	"testing"
)

// Whatever a configuration file holds, reading and checking it gives an answer,
// and what passes can be written and read again.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile("../../deploy/countroom.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{"", "listen: 127.0.0.1:1", "epoch: {age: 3s}", "epoch: [1]", "a: &a [*a]", "--- x\n--- y", "queue_most: 1e9", "session_age: -1"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := defaults()
		if c.read(b) != nil || c.check() != nil {
			return
		}
		if c.limits().Check() != nil || c.Data == "" {
			t.Fatalf("%q passed the check as %+v", b, c)
		}
	})
}
