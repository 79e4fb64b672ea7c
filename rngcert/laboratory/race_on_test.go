//go:build race

package laboratory_test

const raceEnabled = true
