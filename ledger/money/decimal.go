package money

import "strconv"

// Decimal returns the amount for people to read: "-1,234.50 EUR".
func (m Money) Decimal() string { return Decimal(strconv.FormatInt(m.Amount, 10), m.Currency) }

// Decimal returns an amount of minor units, an integer in decimal, for people to
// read.
func Decimal(minor string, c Currency) string {
	sign := ""
	if minor != "" && minor[0] == '-' {
		sign, minor = "-", minor[1:]
	}
	n := c.Digits()
	for len(minor) <= n {
		minor = "0" + minor
	}
	whole, part := minor[:len(minor)-n], minor[len(minor)-n:]
	b := []byte(sign)
	for i := range len(whole) {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b = append(b, ',')
		}
		b = append(b, whole[i])
	}
	if part != "" {
		b = append(append(b, '.'), part...)
	}
	return string(b) + " " + string(c)
}

// ParseDecimal reads an amount as a person writes it, such as "12.5", in minor
// units of a currency.
func ParseDecimal(s string, c Currency) (minor int64, ok bool) {
	n := c.Digits()
	point := -1
	for i := range len(s) {
		switch b := s[i]; {
		case b == '.' && point < 0:
			point = i
		case b < '0' || b > '9':
			return 0, false
		default:
			if minor = minor*10 + int64(b-'0'); minor > Max {
				return 0, false
			}
		}
	}
	part := 0
	if point >= 0 {
		part = len(s) - point - 1
	}
	if s == "" || s == "." || part > n {
		return 0, false
	}
	for range n - part {
		if minor *= 10; minor > Max {
			return 0, false
		}
	}
	return minor, true
}
