package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// A blob that nothing names, and what is no digest at all, are not there.
func TestUnknownBlobs(t *testing.T) {
	w := open(t)
	digest := sha256.Sum256([]byte("nothing"))
	name := hex.EncodeToString(digest[:])
	for _, path := range []string{name, strings.ToUpper(name), name[:62], name + "00", "xyz"} {
		w.get("/log/blob/"+path, auditorToken).refused(404, "not-found", "")
	}
}
