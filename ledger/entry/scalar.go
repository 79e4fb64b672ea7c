package entry

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
)

// UUID is a version 4 UUID (RFC 9562).
type UUID [16]byte

// NewUUID makes a UUID of 16 random bytes.
func NewUUID(random [16]byte) UUID {
	random[6] = random[6]&0x0f | 0x40
	random[8] = random[8]&0x3f | 0x80
	return random
}

// ParseUUID reads the lower-case text form of a version 4 UUID.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || !u.parse([]byte(s)) {
		return UUID{}, fmt.Errorf("%q: expected a lower-case version 4 UUID", s)
	}
	return u, nil
}

func (u UUID) String() string { return string(u.Append(make([]byte, 0, 36))) }

// Append appends the text form.
func (u UUID) Append(dst []byte) []byte {
	dst = appendHex(dst, u[0:4])
	dst = append(dst, '-')
	dst = appendHex(dst, u[4:6])
	dst = append(dst, '-')
	dst = appendHex(dst, u[6:8])
	dst = append(dst, '-')
	dst = appendHex(dst, u[8:10])
	dst = append(dst, '-')
	return appendHex(dst, u[10:16])
}

func (u *UUID) valid() bool { return u[6]>>4 == 4 && u[8]>>6 == 2 }

func (u *UUID) parse(s []byte) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	return readHex(u[0:4], s[0:]) && readHex(u[4:6], s[9:]) && readHex(u[6:8], s[14:]) &&
		readHex(u[8:10], s[19:]) && readHex(u[10:16], s[24:]) && u.valid()
}

// Ref is a random reference that the ledger makes for a subject, such as a
// player; what links it to a person is outside the log.
type Ref [16]byte

func (r Ref) String() string { return string(r.Append(make([]byte, 0, 32))) }

// Append appends the reference as 32 lower-case hex digits.
func (r Ref) Append(dst []byte) []byte { return appendHex(dst, r[:]) }

// Time is a UTC instant in microseconds since 1970.
type Time int64

const (
	timeLen = len("2006-01-02T15:04:05.000000Z")
	maxTime = Time(253402300799_999999) // the last microsecond of 9999
	day     = 86400 * 1e6
)

// TimeOf cuts t to microseconds.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Std returns the instant as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// Add returns t+d.
func (t Time) Add(d time.Duration) Time { return t + Time(d.Microseconds()) }

// Sub returns t−u.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t-u) * time.Microsecond }

func (t Time) String() string { return string(t.Append(make([]byte, 0, timeLen))) }

// Append appends the RFC 3339 form with exactly six fractional digits.
func (t Time) Append(dst []byte) []byte {
	days, us := int64(t)/day, int64(t)%day
	y, m, d := civil(days)
	dst = append2(append2(dst, y/100), y%100)
	dst = append2(append(dst, '-'), m)
	dst = append2(append(dst, '-'), d)
	s := us / 1e6
	dst = append2(append(dst, 'T'), s/3600)
	dst = append2(append(dst, ':'), s/60%60)
	dst = append2(append(dst, ':'), s%60)
	us %= 1e6
	dst = append2(append2(append2(append(dst, '.'), us/1e4), us/100%100), us%100)
	return append(dst, 'Z')
}

// ParseTime reads the form that Append writes.
func ParseTime(s string) (t Time, err error) {
	if !t.parse([]byte(s)) {
		return 0, fmt.Errorf("%w: time %q, expected such as 2026-03-01T12:00:00.000000Z", ErrFormat, s)
	}
	return t, nil
}

func append2(dst []byte, v int64) []byte { return append(dst, byte('0'+v/10), byte('0'+v%10)) }

func (t *Time) parse(s []byte) bool {
	if len(s) != timeLen || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' || s[19] != '.' || s[26] != 'Z' {
		return false
	}
	bad := false
	two := func(i int) int64 {
		a, b := s[i]-'0', s[i+1]-'0'
		bad = bad || a > 9 || b > 9
		return int64(a)*10 + int64(b)
	}
	y, m, d := two(0)*100+two(2), two(5), two(8)
	h, min, sec := two(11), two(14), two(17)
	us := two(20)*1e4 + two(22)*100 + two(24)
	if bad || y < 1970 || m < 1 || m > 12 || d < 1 || h > 23 || min > 59 || sec > 59 {
		return false
	}
	days := fromCivil(y, m, d)
	if y2, m2, d2 := civil(days); y2 != y || m2 != m || d2 != d {
		return false // 30 February and the like
	}
	*t = Time(days*day + ((h*60+min)*60+sec)*1e6 + us)
	return true
}

// civil and fromCivil convert days since 1970 to the proleptic Gregorian
// calendar and back, after Howard Hinnant, "chrono-Compatible Low-Level Date
// Algorithms", for years from 1970.
func civil(days int64) (y, m, d int64) {
	z := days + 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d = doy - (153*mp+2)/5 + 1
	m = mp + 3
	if m > 12 {
		m -= 12
	}
	y = yoe + era*400
	if m <= 2 {
		y++
	}
	return y, m, d
}

func fromCivil(y, m, d int64) int64 {
	if m <= 2 {
		y--
	}
	era := y / 400
	yoe := y - era*400
	mp := (m + 9) % 12
	doy := (153*mp+2)/5 + d - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// Frame hashes fields so that no two lists of fields collide: each field is
// preceded by its length as a big-endian uint32 (SHA-256).
func Frame(fields ...[]byte) [32]byte {
	var buf [512]byte // enough for all but long bodies, so that nothing is allocated
	b := buf[:0]
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return sha256.Sum256(b)
}

// RequestKey is the hash under which the log remembers an idempotency key for
// ever. The scope is "operator" or the player's reference in hex.
func RequestKey(scope, key string) [32]byte {
	return Frame([]byte("countroom/request-key/v1"), []byte(scope), []byte(key))
}

// RequestFingerprint tells one request under a key from another: method, path,
// principal and canonical body (RFC 8785). The client's own key salts it, so
// that the log does not give away what a body of few possible values said.
func RequestFingerprint(key, method, path, principal string, body []byte) [16]byte {
	h := Frame([]byte("countroom/request-fingerprint/v1"), []byte(key), []byte(method), []byte(path), []byte(principal), body)
	return [16]byte(h[:16])
}

// Commitment hides a text until its salt is shown.
func Commitment(salt [32]byte, text string) [32]byte {
	return Frame([]byte("countroom/commitment/v1"), salt[:], []byte(text))
}
