package slots

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBundledGameIsTheCertifiedOne(t *testing.T) {
	d := Bundled()
	golden(t, d.ID+".canonical.json", d.Canonical())
	golden(t, d.ID+".sha256", fmt.Appendf(nil, "%x\n", d.Hash()))
}

// The writer of canonical JSON is checked against encoding/json, which sorts
// the names of maps and, for ASCII strings and integers, writes what RFC 8785
// asks for.
func TestCanonicalIsJCS(t *testing.T) {
	for _, d := range []*Definition{Bundled(), parse(t, small)} {
		dec := json.NewDecoder(bytes.NewReader(d.Canonical()))
		dec.UseNumber()
		var v any
		if err := dec.Decode(&v); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		if got := string(d.Canonical()); got != strings.TrimSpace(want.String()) {
			t.Errorf("canonical form is\n%s\nwant\n%s", got, want.String())
		}
	}
}

func TestFormattingDoesNotChangeTheHash(t *testing.T) {
	d := Bundled()
	var indented bytes.Buffer
	if err := json.Indent(&indented, d.Canonical(), "", "\t"); err != nil {
		t.Fatal(err)
	}
	if parse(t, indented.String()).Hash() != d.Hash() {
		t.Error("the same definition, indented, has another hash")
	}
}

func TestParseNamesTheBadField(t *testing.T) {
	for _, tt := range []struct {
		name, old, new string // a replacement in the small game
		want           string // of the error
	}{
		{"empty", small, ``, "definition: not JSON"},
		{"null", small, `null`, "definition: an object expected"},
		{"cut off", `"max_win": 1000,`, `"max_win"`, "not JSON"},
		{"more after it", "  }\n}", "  }\n} {}", "definition: nothing after the object expected"},
		{"unknown field", `"max_win": 1000`, `"max_win": 1000, "rtp": 95`, `definition: no field "rtp" expected`},
		{"other case", `"max_win"`, `"Max_Win"`, `definition: no field "Max_Win" expected`},
		{"missing field", `"max_win": 1000,`, ``, `definition: field "max_win" expected`},
		{"duplicate field", `"max_win": 1000`, `"max_win": 1000, "max_win": 5000`, `definition: field "max_win" once expected`},
		{"unknown in feature", `"maximum": 0`, `"maximum": 0, "buy": 100`, `definition.free_spins: no field "buy" expected`},
		{"duplicate in symbol", `"role": "wild",`, `"role": "wild", "role": "line",`, `definition.symbols[0]: field "role" once expected`},
		{"missing in symbol", `"role": "wild",`, ``, `definition.symbols[0]: field "role" expected`},
		{"missing strips", `"free": [`, `"base": [`, `definition.strips: field "base" once expected`},
		{"format", `slots/1`, `slots/2`, `definition.format: "countroom/slots/1" expected`},
		{"text for number", `"max_win": 1000`, `"max_win": "1000"`, "definition.max_win: an integer expected"},
		{"fraction", `"max_win": 1000`, `"max_win": 1000.5`, "definition.max_win: an integer expected"},
		{"exponent", `"max_win": 1000`, `"max_win": 1e3`, "definition.max_win: an integer expected"},
		{"too long a number", `"max_win": 1000`, `"max_win": 9007199254740992`, "definition.max_win: an integer expected"},
		{"huge row", `[[1, 1, 1, 1, 1]]`, `[[1, 1, 4294967296, 1, 1]]`, "definition.lines[0][2]: a small integer expected"},
		{"number for text", `"Small"`, `7`, "definition.name: a string expected"},
		{"object for array", `"stakes": [1, 10]`, `"stakes": {}`, "definition.stakes: an array expected"},
		{"array for object", `{"awards": [0, 0, 0, 0, 0], "maximum": 0, "multiplier": 1}`, `[]`, "definition.free_spins: an object expected"},
		{"four reels in a line", `[[1, 1, 1, 1, 1]]`, `[[1, 1, 1, 1]]`, "definition.lines[0]: 5 elements expected"},
		{"six reels in a line", `[[1, 1, 1, 1, 1]]`, `[[1, 1, 1, 1, 1, 1]]`, "definition.lines[0]: at most 5 elements expected"},
		{"four pays", `[0, 0, 0, 0, 7]`, `[0, 0, 0, 7]`, "definition.symbols[4].pays: 5 elements expected"},
		{"seventeen stakes", `[1, 10]`, `[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]`, "definition.stakes: at most 16 elements expected"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(small, tt.old) {
				t.Fatalf("nothing to replace: %s", tt.old)
			}
			_, err := Parse([]byte(strings.Replace(small, tt.old, tt.new, 1)))
			if !errors.Is(err, ErrDefinition) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
		})
	}

	if _, err := Parse(bytes.Repeat([]byte{' '}, maxInput+1)); !errors.Is(err, ErrDefinition) {
		t.Errorf("too long an input: error is %v", err)
	}
}

func TestCompileNamesTheLimitBroken(t *testing.T) {
	for _, tt := range []struct {
		spoil func(*Definition)
		want  string
	}{
		{func(d *Definition) { d.ID = "" }, "id:"},
		{func(d *Definition) { d.ID = "Small" }, "id:"},
		{func(d *Definition) { d.ID = "-small" }, "id:"},
		{func(d *Definition) { d.ID = strings.Repeat("a", 33) }, "id:"},
		{func(d *Definition) { d.Name = "" }, "name:"},
		{func(d *Definition) { d.Name = `a "good" game` }, "name:"},
		{func(d *Definition) { d.Name = `back\slash` }, "name:"},
		{func(d *Definition) { d.Name = "caf\u00e9" }, "name:"},
		{func(d *Definition) { d.Name = strings.Repeat("a", 65) }, "name:"},
		{func(d *Definition) { d.Version = "1.0" }, "version:"},
		{func(d *Definition) { d.Version = "1.0.00" }, "version:"},
		{func(d *Definition) { d.Version = "1.0.65536" }, "version:"},
		{func(d *Definition) { d.Version = "1.0.-1" }, "version:"},
		{func(d *Definition) { d.Symbols = d.Symbols[:2] }, "symbols: 3 to 16 symbols"},
		{func(d *Definition) { d.Symbols = append(d.Symbols, make([]Symbol, 12)...) }, "symbols: 3 to 16 symbols"},
		{func(d *Definition) { d.Symbols[2].Name = "Apple" }, "symbols[2].name:"},
		{func(d *Definition) { d.Symbols[2].Name = "wild" }, `symbols[2].name: a name not used before, not "wild"`},
		{func(d *Definition) { d.Symbols[2].Role = "bonus" }, "symbols[2].role:"},
		{func(d *Definition) { d.Symbols[2].Role = RoleWild }, "symbols: one wild and one scatter"},
		{func(d *Definition) { d.Symbols[0].Role = RoleLine }, "symbols: one wild and one scatter"},
		{func(d *Definition) { d.Symbols[1].Role = RoleLine }, "symbols: one wild and one scatter"},
		{func(d *Definition) { d.Symbols[2].Pays[0] = -1 }, "symbols[2].pays[0]:"},
		{func(d *Definition) { d.Symbols[2].Pays[3] = 19 }, "symbols[2].pays[3]: an integer from the pay before it (20) to 100000"},
		{func(d *Definition) { d.Symbols[2].Pays[4] = maxPay + 1 }, "symbols[2].pays[4]:"},
		{func(d *Definition) { d.Base[3] = d.Base[3][:2] }, "strips.base[3]: 3 to 256 stops"},
		{func(d *Definition) { d.Free[4] = slices.Repeat([]string{"apple"}, 257) }, "strips.free[4]: 3 to 256 stops"},
		{func(d *Definition) { d.Free[0][1] = "aple" }, `strips.free[0][1]: the name of a symbol, not "aple"`},
		{func(d *Definition) { d.Lines = nil }, "lines: 1 to 32 lines"},
		{func(d *Definition) { d.Lines = make([][5]int, 33) }, "lines: 1 to 32 lines"},
		{func(d *Definition) { d.Lines[0][4] = 3 }, "lines[0][4]: a row from 0 to 2"},
		{func(d *Definition) { d.Lines[0][4] = -1 }, "lines[0][4]: a row from 0 to 2"},
		{func(d *Definition) { d.Lines = append(d.Lines, d.Lines[0]) }, "lines[1]: a line not given before"},
		{func(d *Definition) { d.FreeSpins.Maximum = -1 }, "free_spins.maximum:"},
		{func(d *Definition) { d.FreeSpins.Maximum = maxFreeSpins + 1 }, "free_spins.maximum:"},
		{func(d *Definition) { d.FreeSpins.Multiplier = 0 }, "free_spins.multiplier:"},
		{func(d *Definition) { d.FreeSpins.Multiplier = maxMultiplier + 1 }, "free_spins.multiplier:"},
		{func(d *Definition) { d.FreeSpins.Awards[4] = 1 }, "free_spins.awards[4]:"},
		{func(d *Definition) { d.FreeSpins = FreeSpins{[5]int{0, 0, 2, 1, 2}, 2, 1} }, "free_spins.awards[3]:"},
		{func(d *Definition) { d.FreeSpins.Awards[0] = -1 }, "free_spins.awards[0]:"},
		{func(d *Definition) { d.MaxWin = 0 }, "max_win:"},
		{func(d *Definition) { d.MaxWin = maxMaxWin + 1 }, "max_win:"},
		{func(d *Definition) { d.Stakes = nil }, "stakes: 1 to 16 stakes"},
		{func(d *Definition) { d.Stakes = make([]int64, 17) }, "stakes: 1 to 16 stakes"},
		{func(d *Definition) { d.Stakes[0] = 0 }, "stakes[0]:"},
		{func(d *Definition) { d.Stakes[1] = 1 }, "stakes[1]: an integer above the stake before it (1)"},
		{func(d *Definition) { d.Stakes[1] = maxStake + 1 }, "stakes[1]:"},
		{func(d *Definition) { d.Lines = append(d.Lines, [5]int{}) }, "stakes[0]: a multiple of the number of lines (2)"},
		{func(d *Definition) {
			d.Stakes[1] = maxStake
			d.MaxWin = maxMaxWin
			d.FreeSpins.Multiplier = 100
			d.Symbols[0].Pays[4] = maxPay
		},
			"stakes[1]: a stake at which no spin shows and no round pays more than 9007199254740991"},
		{func(d *Definition) {
			d.Symbols[2].Name = strings.Repeat("a", 32)
			for reel := range 5 {
				d.Base[reel] = slices.Repeat([]string{d.Symbols[2].Name}, 256)
				d.Free[reel] = d.Base[reel]
			}
		}, "definition: at most 32768 canonical bytes"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			d := parse(t, small)
			tt.spoil(d)
			_, err := Compile(d)
			if !errors.Is(err, ErrDefinition) || !strings.Contains(err.Error(), "slots: bad definition: "+tt.want) {
				t.Errorf("error is %v, want %s", err, tt.want)
			}
		})
	}
}
