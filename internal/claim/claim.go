// Package claim reads the values of claims, of tokens and of what servers say of
// them (RFC 7519, section 4; RFC 7662, section 2.2), strictly.
package claim

import (
	"fmt"
	"math"
	"strconv"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// Name is a claim's, for messages.
type Name interface{ string | []byte }

// Date is a NumericDate (RFC 7519, section 2) in whole seconds.
type Date struct {
	Seconds int64
	Set     bool
}

// MaxDate is the last second of the year 9999, the last that RFC 3339 can write.
const MaxDate = 253402300799

// Text decodes a string.
func Text[N Name](name N, value []byte) ([]byte, error) {
	s, ok := strictjson.String(value)
	if !ok {
		return nil, fmt.Errorf("%q is not a string", name)
	}
	return s, nil
}

// NumericDate decodes a finite number between 1970 and 9999. A fraction is cut off.
func NumericDate[N Name](name N, value []byte) (Date, error) {
	if len(value) == 0 || value[0] != '-' && (value[0] < '0' || value[0] > '9') {
		return Date{}, fmt.Errorf("%q is not a number", name)
	}
	// Nearly every date is a plain integer: no string, no float.
	whole, digits := int64(0), len(value) <= len("253402300799")
	for _, c := range value {
		digits = digits && c >= '0' && c <= '9'
		whole = whole*10 + int64(c-'0')
	}
	if digits && whole <= MaxDate {
		return Date{whole, true}, nil
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if f = math.Floor(f); err != nil || !(f >= 0 && f <= MaxDate) {
		return Date{}, fmt.Errorf("%q is not a date between 1970 and 9999", name)
	}
	return Date{int64(f), true}, nil
}

// Audience is what has been read of a claim that says for whom a token is.
type Audience struct {
	Present bool
	Fits    bool   // it has one of the wanted values
	First   []byte // its first value, for the log
}

// Read decodes a string or an array of strings (RFC 7519, section 4.1.3).
func (a *Audience) Read(name string, value []byte, wanted []string) error {
	a.Present = true
	one := func(value []byte) error {
		aud, err := Text(name, value)
		if err != nil {
			return err
		}
		if a.First == nil {
			a.First = aud
		}
		for _, w := range wanted {
			a.Fits = a.Fits || string(aud) == w
		}
		return nil
	}
	if len(value) > 0 && value[0] == '[' {
		return strictjson.Array(value, one)
	}
	return one(value)
}
