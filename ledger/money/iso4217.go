package money

import (
	"fmt"
	"strings"
)

// The active alphabetic codes of ISO 4217 list one, funds and testing codes
// left out, grouped by the number of decimal digits of the minor unit.
const (
	digits0 = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF "
	digits3 = "BHD IQD JOD KWD LYD OMR TND "
	digits2 = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF " +
		"CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF " +
		"IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR " +
		"MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD " +
		"SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG " +
		"YER ZAR ZMW ZWG "
)

// ParseCurrency returns the currency of an active ISO 4217 code.
func ParseCurrency(s string) (Currency, error) {
	if _, ok := digits(s); !ok {
		return "", fmt.Errorf("currency %q: expected an active ISO 4217 code such as EUR", s)
	}
	return Currency(s), nil
}

// Digits is the number of decimal digits of the minor unit: 2 for EUR, 0 for
// JPY, and 2 for a code that is not active.
func (c Currency) Digits() int {
	n, _ := digits(string(c))
	return n
}

func digits(s string) (n int, ok bool) {
	if len(s) != 3 || strings.Contains(s, " ") {
		return 2, false
	}
	switch {
	case strings.Contains(digits2, s):
		return 2, true
	case strings.Contains(digits0, s):
		return 0, true
	case strings.Contains(digits3, s):
		return 3, true
	}
	return 2, false
}
