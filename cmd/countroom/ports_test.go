package main

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
)

var portsTaken atomic.Uint32

// freePorts finds so many ports in a row that nobody listens on, for a process to
// listen on later, and returns the first. They are below those that systems give to
// connections that are made (32768 and up on Linux), or one of the thousands of the
// tests could have it by then.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	const first, last = 10_000, 32_000
next:
	for range 1000 {
		// Processes begin at different places.
		at := first + (os.Getpid()*37+int(portsTaken.Add(uint32(n))))%(last-first-n)
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", at+i))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return at
	}
	t.Fatalf("no %d ports in a row are free", n)
	return 0
}

// freeAddress is an address to listen on later.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1))
}
