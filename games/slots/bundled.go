package slots

import _ "embed"

//go:embed data/lamplight-quay.json
var lamplightQuay []byte

// Bundled returns the definition of the game that comes with this package,
// Lamplight Quay: 20 lines, free spins.
func Bundled() *Definition {
	d, err := Parse(lamplightQuay)
	if err != nil {
		panic(err) // the file is part of the program and a test reads it
	}
	return d
}
