package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The shipped keepalived configuration gives a machine the virtual address while
// the balancer on it answers, and takes it away when it does not: the real
// program, in a network of its own.
func TestKeepalivedFollowsTheBalancer(t *testing.T) {
	for _, program := range []string{"keepalived", "curl", "ip", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("this test needs %s: make deps: %v", program, err)
		}
	}
	conf, err := filepath.Abs("../../deploy/keepalived/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// The balancer's place is taken by the test binary, which serves a directory.
	script := filepath.Join(dir, "story.sh")
	text := `set -eu
cd ` + dir + `
ip link set lo up
ip link add eth0 type veth peer name eth1
ip addr add 10.20.0.11/24 dev eth0
ip link set eth0 up
ip link set eth1 up
has() { ip -brief address show dev eth0 | grep -q 10.20.0.10; }
await() { n=0; until "$@"; do n=$((n+1)); [ $n -lt 3000 ] || { echo "in vain: $*"; cat log; exit 1; }; sleep 0.1; done; }
hasnt() { ! has; }
COUNTROOM_TEST_BALANCER=127.0.0.1:8000 "$1" & balancer=$!
setsid keepalived --dont-fork --log-console --pid=k.pid --vrrp_pid=v.pid --checkers_pid=c.pid --use-file="$2" >log 2>&1 & keepalived=$!
trap 'kill $keepalived; kill $balancer 2>/dev/null || true; wait' EXIT
await has
echo got the address
kill $balancer
await hasnt
echo gave the address up
`
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--net", "/bin/sh", script, os.Args[0], conf}
	if os.Getuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	var out bytes.Buffer
	cmd := exec.Command("unshare", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if err != nil || !strings.Contains(out.String(), "got the address\ngave the address up\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
