package house_test

import (
	"strings"
	"testing"

	"countroom/games/house"
	"countroom/games/house/housetest"
	"countroom/games/slots"
	"countroom/ledger"
)

// A definition that was changed under the version of an enabled one refuses to
// start; under a version of its own it can be put into play.
func TestAReleaseHasOneDefinition(t *testing.T) {
	dir := t.TempDir()
	housetest.Open(t, dir).Close()
	changed := *slots.Bundled()
	changed.MaxWin--
	with := func(_ *ledger.Config, hc *house.Config) { hc.Games = []*slots.Definition{&changed} }
	if err := refused(t, dir, with); !strings.Contains(err.Error(), "release 1.0.0 is in the log with another definition") {
		t.Errorf("refused with: %v", err)
	}
	changed.Version = "1.0.1"
	h := housetest.Open(t, dir, with)
	for i, on := range []bool{false, true} {
		req := operators([]string{"off", "on"}[i], "/v1/games/"+lamplight+"/state", "{}")
		if _, err := h.SetGameState(t.Context(), req, lamplight, on, "a new release"); err != nil {
			t.Fatal(err)
		}
	}
	audit(t, h)
}
