package appliance

import (
	"strings"
	"testing"
)

func FuzzRing(f *testing.F) {
	f.Add([]byte("checkpoint file:/keys/checkpoint-2.pem\nseeds pkcs11:token=house;object=seeds-2\n"))
	f.Add([]byte(""))
	f.Add([]byte("checkpoint file:x"))
	f.Add([]byte("doors file:x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseRing(b)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, k := range list {
			again.WriteString(k.Role + " " + k.uri + "\n")
		}
		if again.String() != string(b) {
			t.Errorf("%q was read as %q", b, again.String())
		}
	})
}
