// Package money holds amounts: an int64 of minor units with its currency, and
// the postings of double-entry book-keeping. There is no floating point here.
//
// An amount that appears in the log is a JSON integer, so every amount stays
// within ±(2^53−1), the range in which all JSON readers agree (RFC 7493, 2.2).
package money

import (
	"errors"
	"fmt"
)

// Max is the largest amount, in minor units, that the log can carry.
const Max = 1<<53 - 1

// ErrOverflow says that a sum left ±Max.
var ErrOverflow = errors.New("amount out of range")

// ErrUnbalanced says that postings do not sum to zero in some currency.
var ErrUnbalanced = errors.New("postings do not sum to zero")

// Currency is an ISO 4217 alphabetic code in upper case, such as "EUR".
type Currency string

// Money is an amount in minor units (cents for EUR, yen for JPY) of a currency.
type Money struct {
	Amount   int64
	Currency Currency
}

func (m Money) String() string { return fmt.Sprintf("%d %s (minor units)", m.Amount, m.Currency) }

// Add returns a+b, or ErrOverflow when the sum leaves ±Max.
func Add(a, b int64) (int64, error) {
	if a > Max || a < -Max || b > Max || b < -Max {
		return 0, ErrOverflow
	}
	s := a + b // cannot wrap: both are below 2^53
	if s > Max || s < -Max {
		return 0, ErrOverflow
	}
	return s, nil
}

// Posting is one line of a double entry: the account changed by Amount and
// stood at Balance afterwards, both in minor units of Currency.
type Posting struct {
	Account  string
	Amount   int64
	Balance  int64
	Currency Currency
}

// Balanced reports whether the postings sum to zero in each of their
// currencies, as each entry's must.
func Balanced(postings []Posting) error {
	for i, p := range postings {
		if seen(postings[:i], p.Currency) {
			continue
		}
		var sum int64
		for _, q := range postings[i:] {
			if q.Currency != p.Currency {
				continue
			}
			var err error
			if sum, err = Add(sum, q.Amount); err != nil {
				return err
			}
		}
		if sum != 0 {
			return fmt.Errorf("%w: %d %s left over", ErrUnbalanced, sum, p.Currency)
		}
	}
	return nil
}

func seen(postings []Posting, c Currency) bool {
	for _, p := range postings {
		if p.Currency == c {
			return true
		}
	}
	return false
}
