package laboratory_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"countroom/rngcert/battery"
	"countroom/rngcert/laboratory"
	"countroom/rngcert/verdict"
)

// run starts a program of a Debian package and returns all that it says. rngtest and dieharder say by their
// exit what they think of the data, so only a program that did not run is an error.
func run(t *testing.T, debian string, data []byte, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is needed to hold ours against it: apt-get install %s (%v)", program, debian, err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func write(t *testing.T, data []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// biased returns bytes of which each bit is 1 with a chance.
func biased(n int, chance float64, seed byte) []byte {
	r := rand.New(chacha(seed))
	data := make([]byte, n)
	for i := range data {
		for range 8 {
			data[i] <<= 1
			if r.Float64() < chance {
				data[i] |= 1
			}
		}
	}
	return data
}

// TestAgainstEnt: chi-square, entropy and serial correlation of bytes are what ent prints, to the last digit.
func TestAgainstEnt(t *testing.T) {
	for name, data := range map[string][]byte{"fair": biased(200_000, 0.5, 30), "biased": biased(200_000, 0.51, 31)} {
		rows, err := csv.NewReader(strings.NewReader(run(t, "ent", nil, "ent", "-t", write(t, data)))).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("ent: %v, %v", rows, err)
		}
		said := map[string]string{}
		for i, column := range rows[0] {
			said[column] = rows[1][i]
		}
		s := battery.Stream{Name: name, M: 256}
		for _, b := range data {
			s.Values = append(s.Values, uint32(b))
		}
		results, err := battery.Run(s)
		if err != nil {
			t.Fatal(err)
		}
		counts := make([]int, 256)
		for _, b := range data {
			counts[b]++
		}
		entropy := 0.0
		for _, c := range counts {
			p := float64(c) / float64(len(data))
			entropy -= p * math.Log2(p)
		}
		ours := map[string]float64{"Entropy": entropy}
		for _, r := range results {
			switch {
			case r.Test == "chi-square" && r.Degrees == 255:
				ours["Chi-square"] = r.Statistic
			case r.Variant == "lag 1":
				ours["Serial-Correlation"] = r.Statistic
			}
		}
		for _, column := range []string{"Entropy", "Chi-square", "Serial-Correlation"} {
			if got := fmt.Sprintf("%.6f", ours[column]); got != said[column] {
				t.Errorf("%s, %s: %s, ent says %q", name, column, got, said[column])
			}
		}
	}
}

// TestAgainstRngtest: blocks of 20,000 bits that fail the tests of FIPS 140-2 are as many by our count as by
// rngtest's, of which each has some to find.
func TestAgainstRngtest(t *testing.T) {
	const block, blocks = 2500, 400
	data := biased(4+block*blocks, 0.505, 32)
	r := rand.New(chacha(33))
	for range 20 {
		at := r.IntN(len(data)-16) &^ 3
		copy(data[at+4:at+8], data[at:at+4]) // the same word again
		at = r.IntN(len(data) - 16)
		copy(data[at:], "\xff\xff\xff\xff") // and a long run
	}
	for range 5 {
		at := r.IntN(blocks) * block
		for i := range 300 { // too many short runs, and of the same pattern
			data[at+4+5*i] = 0x55
		}
	}
	said := run(t, "rng-tools5", data, "rngtest", "-c", strconv.Itoa(blocks))
	names := []string{"Monobit", "Poker", "Runs", "Long run", "Continuous run"}
	ours := map[string]int{}
	last := data[:4] // rngtest compares the first word with those before the first block
	for b := range blocks {
		for _, name := range fips(last, data[4+b*block:4+(b+1)*block]) {
			ours[name]++
		}
		last = data[b*block+block : b*block+block+4]
	}
	for _, name := range names {
		m := regexp.MustCompile(`FIPS 140-2\([0-9-]+\) ` + name + `: ([0-9]+)`).FindStringSubmatch(said)
		if m == nil {
			t.Fatalf("rngtest says nothing of %s:\n%s", name, said)
		}
		if m[1] != strconv.Itoa(ours[name]) || ours[name] == 0 {
			t.Errorf("%s: %d blocks fail, rngtest says %s", name, ours[name], m[1])
		}
	}
}

// fips returns the tests of FIPS 140-2 (with change notice 1), section 4.9.1, and the continuous test of 4.9.2
// on words of 32 bits, that a block of 20,000 bits fails; before is the word before it.
func fips(before, block []byte) (failed []string) {
	ones, poker := 0, [16]int{}
	var runs [2][7]int
	long := false
	value, length := byte(2), 0
	end := func() {
		if value < 2 {
			runs[value][min(length, 6)]++
			long = long || length >= 26
		}
	}
	for _, c := range block {
		poker[c>>4]++
		poker[c&15]++
		for shift := 7; shift >= 0; shift-- {
			bit := c >> shift & 1
			ones += int(bit)
			if bit == value {
				length++
				continue
			}
			end()
			value, length = bit, 1
		}
	}
	end()
	squares := 0
	for _, f := range poker {
		squares += f * f
	}
	x := 16.0/5000*float64(squares) - 5000
	bounds := [7][2]int{1: {2315, 2685}, 2: {1114, 1386}, 3: {527, 723}, 4: {240, 384}, 5: {103, 209}, 6: {103, 209}}
	odd := false
	for length := 1; length <= 6; length++ {
		for _, r := range runs {
			odd = odd || r[length] < bounds[length][0] || r[length] > bounds[length][1]
		}
	}
	again := false
	for i := 0; i < len(block); i += 4 {
		again = again || bytes.Equal(before, block[i:i+4])
		before = block[i : i+4]
	}
	for name, bad := range map[string]bool{
		"Monobit": ones <= 9725 || ones >= 10275, "Poker": x <= 2.16 || x >= 46.17, "Runs": odd, "Long run": long, "Continuous run": again,
	} {
		if bad {
			failed = append(failed, name)
		}
	}
	return failed
}

// TestAgainstDieharder: dieharder's monobit, runs and serial tests on a good and on a bad file come to the
// verdict that ours comes to.
func TestAgainstDieharder(t *testing.T) {
	good := make([]byte, 1<<20)
	if _, err := chacha(34).Read(good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		want verdict.Outcome
	}{{"ChaCha8", good, verdict.Pass}, {"bits of which 51 % are ones", biased(1<<20, 0.51, 35), verdict.Fail}} {
		path := write(t, c.data)
		failed := false
		for _, test := range []string{"100", "101", "102"} {
			said := run(t, "dieharder", nil, "dieharder", "-g", "201", "-f", path, "-d", test, "-t", "5000", "-p", "20")
			if !strings.Contains(said, "PASSED") && !strings.Contains(said, "FAILED") {
				t.Fatalf("dieharder has no verdict:\n%s", said)
			}
			failed = failed || strings.Contains(said, "FAILED")
		}
		report := examine(t, laboratory.Plan{Bits: []laboratory.Bits{{Name: "file", Sequences: 2, Length: 1_000_000, Data: bytes.NewReader(c.data)}}})
		if report.Outcome != c.want || failed != (c.want == verdict.Fail) {
			t.Errorf("%s: ours says %s; dieharder failed it: %t", c.name, report.Outcome, failed)
		}
	}
}
