package house

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Ratchet is the key of a period of the vault. The keys of all later periods
// follow from it, those of earlier ones do not: what was wrapped in them opens no
// more once this is the oldest there is.
type Ratchet struct {
	Period uint64
	Key    [32]byte
}

// ratchetMost is how many periods a ratchet goes forward at once: one a day for
// eleven years. More is asked for by nobody but a row that was made up, and must not
// keep a machine busy.
const ratchetMost = 1 << 12

// ErrPeriodOver says that a row of the vault was wrapped in a period whose key is
// gone for good.
var ErrPeriodOver = errors.New("it was wrapped in a period that is over")

// At returns the key of a period that is not before this one.
func (r Ratchet) At(period uint64) (Ratchet, error) {
	if period < r.Period {
		return Ratchet{}, fmt.Errorf("%w: period %d, and the oldest key is that of period %d", ErrPeriodOver, period, r.Period)
	}
	if period-r.Period > ratchetMost {
		return Ratchet{}, fmt.Errorf("period %d: expected one from %d to %d", period, r.Period, r.Period+ratchetMost)
	}
	for r.Period < period {
		m := hmac.New(sha256.New, r.Key[:])
		m.Write([]byte("countroom/vault/period/v1"))
		r = Ratchet{Period: r.Period + 1, Key: [32]byte(m.Sum(nil))}
	}
	return r, nil
}

// Text is the content of the file that a ratchet is kept in: period, space, 64 hex
// digits, newline.
func (r Ratchet) Text() []byte {
	return fmt.Appendf(nil, "%d %x\n", r.Period, r.Key)
}

// ParseRatchet reads it.
func ParseRatchet(b []byte) (r Ratchet, err error) {
	number, digits, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	period, err := strconv.ParseUint(number, 10, 32)
	key, noKey := hex.DecodeString(digits)
	if err != nil || noKey != nil || len(key) != len(r.Key) || number != strconv.FormatUint(period, 10) {
		return r, errors.New("expected a period's number, a space and 64 hex digits")
	}
	return Ratchet{Period: period, Key: [32]byte(key)}, nil
}
