// Package strictjson reads JSON that a stranger wrote and that decides who
// the stranger is: one value and nothing after it, valid UTF-8, no name twice
// in one object at any depth, names compared byte by byte, depth bounded.
//
// Two parsers that disagree on any of these let one token mean two things.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth bounds the nesting of objects and arrays.
const MaxDepth = 64

// Errors of this package. They say what is wrong and where, but never quote
// the input, which may hold what must not reach a log.
var (
	ErrDepth     = fmt.Errorf("nested deeper than %d", MaxDepth)
	ErrNotObject = errors.New("not a JSON object")
	ErrNotArray  = errors.New("not a JSON array")
	ErrTrailing  = errors.New("data after the JSON value")
	ErrDuplicate = errors.New("the same name twice in one object")
)

type decoder struct {
	json  *jsontext.Decoder
	in    bytes.Buffer
	data  []byte // what in was made of
	names names
}

// decoders holds decoders that are about to read, strictly, from their in.
var decoders = sync.Pool{New: func() any {
	d := &decoder{names: names{seed: maphash.MakeSeed()}}
	d.json = jsontext.NewDecoder(&d.in)
	return d
}}

// open returns a decoder for data from the pool. close gives it back.
func open(data []byte, options ...jsontext.Options) *decoder {
	d := decoders.Get().(*decoder)
	d.in = *bytes.NewBuffer(data)
	d.data = data
	if len(options) > 0 {
		d.json.Reset(&d.in, options...)
	}
	return d
}

var anyNames = jsontext.AllowDuplicateNames(true)

func (d *decoder) close() {
	// The pool must not keep the input alive, nor may the decoder.
	d.in, d.data = bytes.Buffer{}, nil
	d.json.Reset(&d.in)
	if cap(d.names.hashes) > maxKept {
		d.names.hashes = nil
	}
	decoders.Put(d)
}

// Object calls member for each member of the object that data is, in order.
// name is unescaped; value is the undecoded value, a part of data. The first
// error of member ends the reading. Names may be compared at the end only: what
// member was given counts when Object returns nil.
func Object(data []byte, member func(name, value []byte) error) error {
	return read(data, '{', ErrNotObject, member)
}

// Array calls element for each element of the array that data is.
func Array(data []byte, element func(value []byte) error) error {
	return read(data, '[', ErrNotArray, func(_, value []byte) error { return element(value) })
}

func read(data []byte, kind jsontext.Kind, otherKind error, item func(name, value []byte) error) error {
	if tooDeep(data) {
		return ErrDepth
	}
	many := manyNames(data)
	var d *decoder
	if many {
		d = open(data, anyNames)
	} else {
		d = open(data)
	}
	defer d.close()
	if d.json.PeekKind() != kind {
		if _, err := d.json.ReadToken(); err != nil {
			return syntax(err)
		}
		return otherKind
	}
	if err := d.members(kind, item); err != nil {
		return err
	}
	if _, err := d.json.ReadToken(); !errors.Is(err, io.EOF) {
		return ErrTrailing
	}
	if many && d.names.twice(data) {
		return ErrDuplicate
	}
	return nil
}

// Inner is Object for a value that Object or Array has handed out, and checks
// itself: it does not compare the names again.
func Inner(value []byte, member func(name, value []byte) error) error {
	d := open(value, anyNames, jsontext.AllowInvalidUTF8(true))
	defer d.close()
	if d.json.PeekKind() != '{' {
		return ErrNotObject
	}
	return d.members('{', member)
}

// members calls item for each member or element of the object or array that
// comes next.
func (d *decoder) members(kind jsontext.Kind, item func(name, value []byte) error) error {
	if _, err := d.json.ReadToken(); err != nil {
		return syntax(err)
	}
	for {
		switch d.json.PeekKind() {
		case '}', ']':
			_, err := d.json.ReadToken()
			return syntax(err)
		}
		var name []byte
		if kind == '{' {
			quoted, err := d.value()
			if err != nil {
				return err
			}
			var ok bool
			if name, ok = String(quoted); !ok {
				return errSyntax
			}
		}
		value, err := d.value()
		if err != nil {
			return err
		}
		if err := item(name, value); err != nil {
			return err
		}
	}
}

// Peek returns the value of the first member of that name, nil when there is
// none, from an object that nobody has checked. It is for finding out how to
// verify data, which then has to be read again with Object: names are not
// compared with each other, and what follows the member is not looked at.
func Peek(data []byte, name string) ([]byte, error) {
	if tooDeep(data) {
		return nil, ErrDepth
	}
	var found []byte
	err := Inner(data, func(n, value []byte) error {
		if string(n) != name {
			return nil
		}
		found = value
		return errFound
	})
	if err == errFound {
		err = nil
	}
	return found, err
}

var errFound = errors.New("found")

// value reads the next value. It returns the bytes in data, which outlive the
// decoder's next read, unlike what the decoder returns.
func (d *decoder) value() ([]byte, error) {
	value, err := d.json.ReadValue()
	if err != nil {
		return nil, syntax(err)
	}
	end := d.json.InputOffset()
	return d.data[end-int64(len(value)) : end], nil
}

// String returns the string that value is. ok is false for any other kind.
// The result may share memory with value.
func String(value []byte) (s []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	s, err := jsontext.AppendUnquote(nil, value)
	return s, err == nil
}

// Seconds returns the lifetime that value is: a number of seconds such as
// "expires_in" (RFC 6749, section 5.1), from 1 to longest, of which a fraction is
// dropped. No value, or null, is 0.
func Seconds(value []byte, longest time.Duration) (time.Duration, error) {
	if len(value) == 0 || IsNull(value) {
		return 0, nil
	}
	if c := value[0]; c != '-' && (c < '0' || c > '9') {
		return 0, errors.New("not a number")
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n < 1 || n > longest.Seconds() {
		return 0, fmt.Errorf("not from 1 to %.0f", longest.Seconds())
	}
	return time.Duration(n) * time.Second, nil
}

// IsNull reports whether value is null.
func IsNull(value []byte) bool { return string(value) == "null" }

// tooDeep bounds the nesting before the decoder, which recurses, sees it. A
// document with few brackets in all cannot be deep, which spares nearly every
// document the careful count.
func tooDeep(data []byte) bool {
	if bytes.Count(data, []byte{'{'})+bytes.Count(data, []byte{'['}) <= MaxDepth {
		return false
	}
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

var errSyntax = errors.New("not valid JSON")

// syntax strips err of everything that it quotes from the input.
func syntax(err error) error {
	var s *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		return ErrDuplicate
	case errors.As(err, &s):
		return fmt.Errorf("not valid JSON at byte %d", s.ByteOffset)
	default:
		return errSyntax
	}
}
