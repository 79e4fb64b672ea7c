// Package worlds runs whole houses from one seed each: clients that retry, the
// API, the house, its writer, store, guard, signer, entropy and clock, in one
// process, wired by package appliance as the server is. What can happen to a
// house happens by the seed: the process dies anywhere, the power goes and takes
// what was not synced or tears it, syncs and signatures are slow or fail, the
// disk is full, reads fail, clocks step, the entropy dies, the beacon is silent, secrets of
// seeds do not open any more, an operator halts a seed and two officers decide about it, keys of the vault's
// periods are given up and a player is erased, requests and answers get lost. Laws are checked all along and from the remains; when the faults end,
// everybody must get to the end of his script.
//
// The same seed is the same world, byte for byte: log, guard and all that any
// client heard. Go's scheduler cannot leak into it, because nothing goes on
// alone. The world runs in a testing/synctest bubble; wherever something leaves
// the program or a command is queued, the goroutine that got there waits for its
// turn; and when all wait, the seed says what happens next. Two things would let
// goroutines race all the same, and are kept apart: at most one request at a time
// waits for a signature in a read, and only one goroutine at a time uses random
// bytes. Pebble's own files differ in identities that it makes up; a disk's bytes
// are therefore not compared, what is read from them is.
//
// A failing world prints its seed and the end of its story. The whole of it:
//
//	go test ./cmd/appliance/worlds -run TestWorlds -seed 17 -tell
//
// What is not here: the power does not go within Pebble's own background work
// (flushes, compactions, manifests), whose syncs are never held up, because Pebble
// holds locks there that a bubble would wait on for ever; package pebble's tests
// fail each of its operations in turn. Machines are one, and networks only lose
// and repeat.
package worlds
