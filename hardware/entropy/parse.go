package entropy

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"countroom/hardware/pkcs11"
)

// Parse makes the source that a URI names. Nothing is opened yet: a device that
// is not there is a source that fails, and not an error, but what this machine
// can never have is one.
//
//	getrandom                         the kernel's generator
//	rdseed                            the processor's
//	hwrng:/dev/hwrng                  any device file that gives noise
//	tpm:device=/dev/tpmrm0            a TPM 2.0's
//	tpm:socket=/path
//	pkcs11:token=LABEL?module-path=…  a token's, by RFC 7512
//
// After a question mark any but the last takes name=NAME, for a second source of one
// kind, and a device file takes group=GROUP and min-entropy=BITS (of a byte).
func Parse(uri string) (Source, error) {
	s, err := parse(uri)
	if err != nil {
		return nil, fmt.Errorf("entropy source %q: %w", uri, err)
	}
	return s, nil
}

func parse(uri string) (Source, error) {
	if strings.HasPrefix(uri, pkcs11.Scheme) { // with options of its own
		u, err := pkcs11.ParseURI(uri)
		return &HSM{URI: u}, err
	}
	rest, query, asked := strings.Cut(uri, "?")
	scheme, path, colon := strings.Cut(rest, ":")
	o, err := options(query)
	switch {
	case err != nil:
		return nil, err
	case asked && query == "":
		return nil, errors.New("nothing follows the question mark")
	case scheme != "hwrng" && (o.group != "" || o.minEntropy != 0):
		return nil, errors.New("group and min-entropy: only a device file takes them, the other sources are known")
	}
	switch scheme {
	case "getrandom":
		if colon {
			return nil, errors.New("expected nothing after getrandom")
		}
		return Kernel{Named: o.name}, nil
	case "rdseed":
		if colon {
			return nil, errors.New("expected nothing after rdseed")
		}
		return RDSEED{Named: o.name}, rdseedThere()
	case "hwrng":
		if !filepath.IsAbs(path) {
			return nil, errors.New("expected the full path of a device file, such as hwrng:/dev/hwrng")
		}
		if o.group == "" && filepath.Clean(path) == "/dev/hwrng" {
			current, _ := os.ReadFile("/sys/class/misc/hw_random/rng_current") // unknown is the board
			o.group = behindHwrng(string(current))
		}
		return &Device{Named: o.name, Path: path, Group: o.group, MinEntropyPerByte: o.minEntropy}, nil
	case "tpm":
		t := &TPM{Named: o.name}
		where, path, _ := strings.Cut(path, "=")
		switch {
		case where == "device" && filepath.IsAbs(path):
			t.URI.Device = path
		case where == "socket" && filepath.IsAbs(path):
			t.URI.Socket = path
		default:
			return nil, errors.New("expected tpm:device=/dev/tpmrm0 or tpm:socket=/path, with full paths")
		}
		return t, nil
	}
	return nil, errors.New("expected getrandom, rdseed, hwrng:…, tpm:… or pkcs11:…")
}

// option are what may follow the question mark.
type option struct {
	name, group string
	minEntropy  float64
}

func options(query string) (o option, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return o, fmt.Errorf("options: %w", err)
	}
	for name, all := range values {
		if len(all) > 1 {
			return o, fmt.Errorf("option %q is given twice", name)
		}
		v := all[0]
		switch name {
		case "name":
			if o.name = v; !word(v, 64) {
				return o, fmt.Errorf("name %q: expected 1 to 64 lower-case letters, digits, . or -", v)
			}
		case "group":
			if o.group = v; !word(v, 32) {
				return o, fmt.Errorf("group %q: expected 1 to 32 lower-case letters, digits, . or -", v)
			}
		case "min-entropy":
			o.minEntropy, err = strconv.ParseFloat(v, 64)
			if err != nil || !(o.minEntropy >= minEntropyLeast && o.minEntropy <= 8) {
				return o, fmt.Errorf("min-entropy %q: expected %v to 8 bits of a byte", v, minEntropyLeast)
			}
		default:
			return o, fmt.Errorf("option %q is not known", name)
		}
	}
	return o, nil
}

// minEntropyLeast keeps what a secret takes, at 256 bits, within 5,120 bytes.
const minEntropyLeast = 0.05

// word tells whether s may stand in the log as a name.
func word(s string, most int) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && len(s) <= most
}
