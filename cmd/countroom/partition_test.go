package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The machine that writes is cut off from the other members, and not from its
// clients. The other machine goes on; the one that was cut off acknowledges
// nothing, says truly that it does not know what became of a command, and is
// soon not ready; the command is found by its key, once, wherever it is asked.
func TestAPairIsCutApart(t *testing.T) {
	for _, program := range []string{"nft", "curl", "ip", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("this test needs %s: make deps: %v", program, err)
		}
	}
	args := []string{"--net", "--mount", "/bin/sh", "testdata/partition.sh", os.Args[0], t.TempDir()}
	if os.Getuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	var out bytes.Buffer
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), "COUNTROOM_TEST_MAIN=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	const story = `founded: 201
cut off, b: 201
cut off, a: 503"type":"/problems/outcome-unknown"
cut off, a again: 503"type":"/problems/passive"
asked of b: 201 201
healed, a: 201 201
the same answers
the same heads
`
	if err != nil || !strings.HasSuffix(out.String(), story) {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), story)
	}
}
