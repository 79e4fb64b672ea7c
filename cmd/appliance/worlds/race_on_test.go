//go:build race

package worlds

const (
	defaultWorlds = 60
	twins         = 5
)
