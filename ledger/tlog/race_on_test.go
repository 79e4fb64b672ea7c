//go:build race

package tlog

// raceDetector says that allocations are not the program's own.
const raceDetector = true
