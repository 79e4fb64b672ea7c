//go:build !race

package worlds

const (
	defaultWorlds = 300
	twins         = 20
)
