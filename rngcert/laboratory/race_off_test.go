//go:build !race

package laboratory_test

const raceEnabled = false
