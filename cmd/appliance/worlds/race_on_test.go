//go:build race

package worlds

const (
	defaultWorlds = 20
	twins         = 2
)
