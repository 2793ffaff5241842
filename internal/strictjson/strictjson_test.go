package strictjson_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// members reads an object into its names and undecoded values, in order.
func members(data string) (names, values []string, err error) {
	err = strictjson.Object([]byte(data), func(name, value []byte) error {
		names, values = append(names, string(name)), append(values, string(value))
		return nil
	})
	return names, values, err
}

func TestObject(t *testing.T) {
	names, values, err := members(` {"b":1, "\u0061":"x\n", "":null, "ſub":[1,{"c":2}], "b\"":{"a":{"a":1}}} ` + "\r\n\t")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"b", "a", "", "ſub", `b"`}; !reflect.DeepEqual(names, want) {
		t.Errorf("names = %q, want %q", names, want)
	}
	if want := []string{"1", `"x\n"`, "null", `[1,{"c":2}]`, `{"a":{"a":1}}`}; !reflect.DeepEqual(values, want) {
		t.Errorf("values = %q, want %q", values, want)
	}
}

func TestNamesThatDifferInCaseAreDifferent(t *testing.T) {
	names, _, err := members(`{"sub":1,"SUB":2,"ſub":3}`)
	if want := []string{"sub", "SUB", "ſub"}; err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("names = %q, %v; want %q", names, err, want)
	}
}

func TestValuesArePartsOfTheInput(t *testing.T) {
	data := []byte(`{"a":"first","b":"second"}`)
	var kept [][]byte
	if err := strictjson.Object(data, func(_, value []byte) error { kept = append(kept, value); return nil }); err != nil {
		t.Fatal(err)
	}
	// Another reading must not overwrite what the first one gave out.
	if _, _, err := members(`{"c":"other","d":"values"}`); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s", kept); got != `["first" "second"]` {
		t.Errorf("kept values have become %s", got)
	}
}

func nested(open, inner, closing string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(closing, n)
}

func TestRefusals(t *testing.T) {
	syntax := errors.New("any syntax error")
	for _, test := range []struct {
		name, data string
		want       error // of Object
	}{
		{"empty", "", syntax},
		{"space alone", "  ", syntax},
		{"array", `[]`, strictjson.ErrNotObject},
		{"string", `"x"`, strictjson.ErrNotObject},
		{"number", `1`, strictjson.ErrNotObject},
		{"null", `null`, strictjson.ErrNotObject},
		{"cut short", `{"a":1`, syntax},
		{"cut in a name", `{"a`, syntax},
		{"missing value", `{"a":}`, syntax},
		{"missing colon", `{"a" 1}`, syntax},
		{"missing comma", `{"a":1 "b":2}`, syntax},
		{"comma at the end", `{"a":1,}`, syntax},
		{"name without quotes", `{a:1}`, syntax},
		{"single quotes", `{'a':1}`, syntax},
		{"name that is a number", `{1:1}`, syntax},
		{"comment", `{"a":1/**/}`, syntax},
		{"NaN", `{"a":NaN}`, syntax},
		{"leading zero", `{"a":01}`, syntax},
		{"plus", `{"a":+1}`, syntax},
		{"hexadecimal", `{"a":0x1}`, syntax},
		{"wrong bracket", `{"a":[1}]`, syntax},
		{"closed as an array", `{]`, syntax},
		{"byte order mark", "\ufeff{}", syntax},
		{"raw control character", "{\"a\":\"\x01\"}", syntax},
		{"raw line break in a string", "{\"a\":\"x\ny\"}", syntax},
		{"invalid escape", `{"a":"\x41"}`, syntax},
		{"half a surrogate pair", `{"a":"\ud800"}`, syntax},
		{"half a surrogate pair in a name", `{"\udc00":1}`, syntax},
		{"invalid UTF-8 in a value", "{\"a\":\"\xff\"}", syntax},
		{"invalid UTF-8 in a name", "{\"\xc0\xaf\":1}", syntax},
		{"overlong UTF-8", "{\"a\":\"\xe0\x80\xaf\"}", syntax},
		{"invalid UTF-8 deep inside", "{\"a\":[{\"b\":\"\xed\xa0\x80\"}]}", syntax},
		{"NUL after the value", "{}\x00", strictjson.ErrTrailing},
		{"second value", `{}{}`, strictjson.ErrTrailing},
		{"text after the value", `{} x`, strictjson.ErrTrailing},
		{"closing after the value", `{}}`, strictjson.ErrTrailing},
		{"duplicate name", `{"a":1,"a":2}`, strictjson.ErrDuplicate},
		{"duplicate name with equal values", `{"a":1,"a":1}`, strictjson.ErrDuplicate},
		{"duplicate name in another spelling", `{"a":1,"\u0061":2}`, strictjson.ErrDuplicate},
		{"duplicate name deep inside", `{"a":{"b":[{"c":1,"c":2}]}}`, strictjson.ErrDuplicate},
		{"too deep in arrays", `{"a":` + nested("[", "", "]", strictjson.MaxDepth) + `}`, strictjson.ErrDepth},
		{"too deep in objects", nested(`{"a":`, "1", "}", strictjson.MaxDepth+1), strictjson.ErrDepth},
		{"too deep and never closed", nested(`{"a":`, "", "", 100_000), strictjson.ErrDepth},
		{"too deep after brackets in strings", `{"x":"[[[\"[","a":` + nested("[", "", "]", strictjson.MaxDepth) + `}`, strictjson.ErrDepth},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := members(test.data)
			if err == nil {
				t.Fatal("taken")
			}
			if test.want != syntax && !errors.Is(err, test.want) {
				t.Errorf("error = %v, want %v", err, test.want)
			}
		})
	}
}

func TestDepthAndBreadthThatPass(t *testing.T) {
	for name, data := range map[string]string{
		"as deep as may be":         `{"a":` + nested("[", "", "]", strictjson.MaxDepth-1) + `}`,
		"many values side by side":  `{"a":[` + strings.Repeat("[],{},", 1000) + `1]}`,
		"many brackets in a string": `{"a":"` + strings.Repeat("[{", 1000) + `\"` + strings.Repeat("[{", 1000) + `"}`,
	} {
		if _, _, err := members(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsNeverQuoteTheInput(t *testing.T) {
	for _, data := range []string{`{"canary":canary}`, `{"canary":1,"canary":2}`, `{"canary":1}canary`, `"canary"`, `canary`, `{"canary":"\canary"}`, "{\"canary\xff\":1}"} {
		if _, _, err := members(data); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("error for %s: %v", data, err)
		}
	}
}

func TestTheCallersErrorEndsTheReading(t *testing.T) {
	stop, calls := errors.New("stop"), 0
	err := strictjson.Object([]byte(`{"a":1,"b":2} garbage`), func(_, _ []byte) error { calls++; return stop })
	if err != stop || calls != 1 {
		t.Errorf("error = %v after %d calls", err, calls)
	}
}

func TestArray(t *testing.T) {
	var got []string
	read := func(data string) error {
		got = nil
		return strictjson.Array([]byte(data), func(value []byte) error { got = append(got, string(value)); return nil })
	}
	if err := read(` ["a", 1, {"b":[]}, null] `); err != nil || !reflect.DeepEqual(got, []string{`"a"`, "1", `{"b":[]}`, "null"}) {
		t.Errorf("elements = %q, %v", got, err)
	}
	if err := read(`[]`); err != nil || got != nil {
		t.Errorf("elements of an empty array = %q, %v", got, err)
	}
	for data, want := range map[string]error{`{}`: strictjson.ErrNotArray, `[1]2`: strictjson.ErrTrailing, `[{"a":1,"a":1}]`: strictjson.ErrDuplicate} {
		if err := read(data); !errors.Is(err, want) {
			t.Errorf("%s: error = %v, want %v", data, err, want)
		}
	}
	for _, data := range []string{`[1,]`, `[,1]`, `[1 2]`, `[1`, `[}`} {
		if read(data) == nil {
			t.Errorf("%s is taken", data)
		}
	}
}

func TestString(t *testing.T) {
	for value, want := range map[string]string{`""`: "", `"a"`: "a", `"\u0061\n\""`: "a\n\"", `"é"`: "é", `"\ud83d\ude00"`: "😀"} {
		if got, ok := strictjson.String([]byte(value)); !ok || string(got) != want {
			t.Errorf("String(%s) = %q, %v; want %q", value, got, ok, want)
		}
	}
	for _, value := range []string{`1`, `null`, `["a"]`, `{"a":1}`, `true`, ``, `"`} {
		if got, ok := strictjson.String([]byte(value)); ok {
			t.Errorf("String(%s) = %q, want none", value, got)
		}
	}
	if !strictjson.IsNull([]byte("null")) || strictjson.IsNull([]byte(`"null"`)) {
		t.Error("IsNull is wrong")
	}
}

func TestPeek(t *testing.T) {
	for _, test := range []struct {
		data, want string
		fails      bool
	}{
		{`{"x":{"iss":1},"iss":"i","y":[`, `"i"`, false}, // believed before the end is seen
		{` {"\u0069ss" : "i"}`, `"i"`, false},
		{`{"x":"\"iss\":1","iss":[{"iss":2}]}`, `[{"iss":2}]`, false},
		{`{"ISS":"i"}`, ``, false},
		{`{}`, ``, false},
		{`["iss"]`, ``, true},
		{``, ``, true},
		{`{"x" 1`, ``, true},
		{`{iss:1}`, ``, true},
	} {
		got, err := strictjson.Peek([]byte(test.data), "iss")
		if string(got) != test.want || (err != nil) != test.fails {
			t.Errorf("Peek(%s) = %s, %v; want %s", test.data, got, err, test.want)
		}
	}
	// It comes to an end, soon, with any input.
	for _, data := range []string{"{", "{{", `{"`, `{"\`, `{"a":`, "{,", nested(`{"a":`, "", "", 100_000), "{" + strings.Repeat(",", 100_000), `{"a":"` + strings.Repeat(`\`, 100_001)} {
		if got, _ := strictjson.Peek([]byte(data), "iss"); got != nil {
			t.Errorf("Peek(%.20s) = %s", data, got)
		}
	}
}

// object returns an object of n names, with more members behind them.
func object(n int, more string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range n {
		fmt.Fprintf(&b, `"%x":0,`, i)
	}
	return b.String() + more + "}"
}

func TestOneNameTwiceAmongMany(t *testing.T) {
	for _, n := range []int{1, 7, 8, 9, 62, 63, 64, 65, 66, 1000, 5000} {
		for name, test := range map[string]struct {
			data string
			want error
		}{
			"none":                     {object(n, `"last":1`), nil},
			"the first":                {object(n, `"0":1`), strictjson.ErrDuplicate},
			"the last":                 {object(n, `"last":1,"last":2`), strictjson.ErrDuplicate},
			"in another spelling":      {object(n, `"\u0030":1`), strictjson.ErrDuplicate},
			"deep inside":              {object(n, `"x":[{"y":`+object(n, `"0":1`)+`}]`), strictjson.ErrDuplicate},
			"before what is inside":    {`{"a":` + object(n, `"x":1`) + `,"b":1,"a":2}`, strictjson.ErrDuplicate},
			"in different objects":     {`{"a":` + object(n, `"x":1`) + `,"b":` + object(n, `"x":1`) + `}`, nil},
			"inside and outside":       {object(n, `"x":`+object(n, `"x":1`)), nil},
			"a value like a name":      {object(n, `"x":["0","0",{"y":"0"},"0"],"z":"0"`), nil},
			"a name with a colon":      {object(n, `"x\":0,\"0":1`), nil},
			"a name with a backslash":  {object(n, `"\\":1,"\\\\":2,"\"":3`), nil},
			"two of those":             {object(n, `"\\":1,"\u005c":2`), strictjson.ErrDuplicate},
			"in other letters":         {object(n, `"x":1,"X":2`), nil},
			"with much space":          {object(n, ` "x" : 1 , "x" : 2 `), strictjson.ErrDuplicate},
			"empty":                    {object(n, `"":1,"":2`), strictjson.ErrDuplicate},
			"after an array":           {object(n, `"x":[1],"x":1`), strictjson.ErrDuplicate},
			"after an object in one":   {object(n, `"x":[{"y":1},2],"y":1,"x":1`), strictjson.ErrDuplicate},
			"objects of an array":      {object(n, `"x":[{"y":1},{"y":1}]`), nil},
			"after an object within":   {object(n, `"x":{},"x":1`), strictjson.ErrDuplicate},
			"a surrogate pair, spelt":  {object(n, `"\ud83d\ude00":1,"😀":2`), strictjson.ErrDuplicate},
			"in an array of the whole": {object(n, `"x":1`), nil},
		} {
			if _, _, err := members(test.data); err != test.want {
				t.Errorf("%s, of %d: error = %v, want %v", name, n, err, test.want)
			}
			if got := strictjson.Twice([]byte(test.data)); got != (test.want != nil) {
				t.Errorf("%s, of %d: twice = %v", name, n, got)
			}
		}
	}
}

// To tell whether a name is there twice must not cost a stranger's message many
// times its own size.
func TestManyNamesCostLittleMemory(t *testing.T) {
	ignore := func(_, _ []byte) error { return nil }
	for name, data := range map[string]string{
		"many names":          object(300_000, `"x":1`),
		"many in many":        `{"x":[` + strings.TrimSuffix(strings.Repeat(object(3000, `"x":1`)+",", 100), ",") + `]}`,
		"long names":          `{"` + strings.Repeat("a", 500_000) + `":1,"` + strings.Repeat("b", 500_000) + `":1}`,
		"a text of colons":    `{"x":"` + strings.Repeat(`\":`, 500_000) + `"}`,
		"an array of strings": `{"x":["` + strings.Repeat(`","`, 300_000) + `"]}`,
		"as many as a header": object(1300, `"x":1`),
	} {
		text := []byte(data)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := strictjson.Object(text, ignore)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		// Some more for a decoder, which the pool may not have.
		if spent := int(after.TotalAlloc - before.TotalAlloc); spent > 2*len(data)+16<<10 {
			t.Errorf("%s: %d bytes for %d", name, spent, len(data))
		} else {
			t.Logf("%s: %d bytes for %d", name, spent, len(data))
		}
	}
}

// The comparison of many names says of any valid value what the JSON library
// says.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{
		`{"a":1,"a":2}`, `{"a":{"a":1},"b":[{"a":1},{"a":1}]}`, `{"a":1,"\u0061":2}`, `[{"\\":1,"\"":2,"\\":3}]`, ` { "a" : "b" , "b" : "a" } `, `"a"`,
		`{"":{"":1},"":2}`, `{"a":"\\","b":"\\"}`, `[[],{},[{}]]`, object(70, `"0":1`), object(9, `"x":[1,{"y":2}],"x":1`), `{"\ud83d\ude00":1,"😀":2}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Count(string(data), "{")+strings.Count(string(data), "[") > strictjson.MaxDepth || !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true)) {
			return
		}
		if got, want := strictjson.Twice(data), !jsontext.Value(data).IsValid(); got != want {
			t.Errorf("a name twice in %q: %v, the library says %v", data, got, want)
		}
	})
}

// What this package takes, encoding/json takes too, with the same names and
// the same values.
func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":"\u0061","A":null}`, `{"a":[1,{"b":2}]}`, `{"a":1,"a":2}`, `{"a":1}x`, `[]`, "{\"\xff\":1}", `{"a":"\ud800"}`, `{"ſub":1,"sub":2}`,
		`{"exp":1e300}`, `{"a":-0}`, `{"a":` + nested("[", "", "]", 70) + `}`, ` {"a" : "\\" } `, `{"":{"":{}}}`, `{"a":"\""}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		names, values, err := members(string(data))
		peeked, peekErr := strictjson.Peek(data, "a") // of whatever data
		if err != nil {
			return
		}
		want := ""
		if i := slices.Index(names, "a"); i >= 0 {
			want = values[i]
		}
		if peekErr != nil || string(peeked) != want {
			t.Errorf("Peek of %q = %s, %v; want %s", data, peeked, peekErr, want)
		}
		var oracle map[string]json.RawMessage
		if err := json.Unmarshal(data, &oracle); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", data, err)
		}
		if len(oracle) != len(names) {
			t.Fatalf("%d members of %q, encoding/json has %d", len(names), data, len(oracle))
		}
		for i, name := range names {
			other, there := oracle[name]
			if !there || string(other) != values[i] {
				t.Errorf("member %q is %s, encoding/json has %s", name, values[i], other)
			}
			s, isString := strictjson.String([]byte(values[i]))
			var text string
			if otherIsString := json.Unmarshal(other, &text) == nil && string(other) != "null"; isString != otherIsString || string(s) != text {
				t.Errorf("%s is the string %q (%v), encoding/json has %q (%v)", values[i], s, isString, text, otherIsString)
			}
		}
	})
}

// Decoders are used again: the leniency of Inner and Peek must not stay with
// them, nor what a reading that was given up left behind.
func TestNoDecoderStaysLenient(t *testing.T) {
	twice, stop := []byte(`{"a":1,"a":2}`), errors.New("stop")
	ignore := func(_, _ []byte) error { return nil }
	for range 100 {
		if err := strictjson.Inner(twice, ignore); err != nil {
			t.Fatalf("Inner compares names: %v", err)
		}
		if _, err := strictjson.Peek(twice, "b"); err != nil {
			t.Fatalf("Peek compares names: %v", err)
		}
		if err := strictjson.Inner(twice, func(_, _ []byte) error { return stop }); err != stop {
			t.Fatalf("Inner goes on: %v", err)
		}
		if err := strictjson.Object(twice, ignore); err != strictjson.ErrDuplicate {
			t.Fatalf("Object takes a name twice: %v", err)
		}
		if err := strictjson.Object([]byte("{\"a\":\"\xff\"}"), ignore); err == nil {
			t.Fatal("Object takes invalid UTF-8")
		}
	}
}

func TestSeconds(t *testing.T) {
	const longest = time.Hour
	for _, test := range []struct {
		value string
		want  time.Duration
		err   string
	}{
		{"", 0, ""}, {"null", 0, ""}, {"1", time.Second, ""}, {"3600", time.Hour, ""}, {"1.9", time.Second, ""}, {"3e2", 5 * time.Minute, ""},
		{"0", 0, "not from 1 to 3600"}, {"-0", 0, "not from 1 to 3600"}, {"-1", 0, "not from 1 to 3600"}, {"0.9", 0, "not from 1 to 3600"},
		{"3601", 0, "not from 1 to 3600"}, {"1e18", 0, "not from 1 to 3600"}, {"1e999", 0, "not from 1 to 3600"},
		{`"300"`, 0, "not a number"}, {"true", 0, "not a number"}, {"{}", 0, "not a number"}, {"[1]", 0, "not a number"},
	} {
		got, err := strictjson.Seconds([]byte(test.value), longest)
		if got != test.want || (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
			t.Errorf("%s: %s, %v, want %s, %s", test.value, got, err, test.want, test.err)
		}
	}
}
