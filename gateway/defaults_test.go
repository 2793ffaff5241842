package gateway_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth/gateway"
	"github.com/mcpauth-go/mcpauth/limit"
)

// What the comments say is the default of a number, a duration or a rate, is.
func TestDefaultsAreWhatTheCommentsSay(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var fields []*ast.Field
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.Name == "Config" {
			fields = spec.Type.(*ast.StructType).Fields.List
		}
		return true
	})
	sentence := regexp.MustCompile(`Defaults?:? ([^.,;:]+)`)
	real := reflect.ValueOf(gateway.WithDefaults(gateway.Config{}))
	var said []string // by the comment, of the fields that follow it
	compared := 0
	for _, field := range fields {
		if field.Doc != nil {
			said = nil
			if m := sentence.FindStringSubmatch(strings.ReplaceAll(field.Doc.Text(), "\n", " ")); m != nil {
				said = strings.Split(m[1], " and ")
			}
		}
		for _, name := range field.Names {
			var is string
			switch v := real.FieldByName(name.Name).Interface().(type) {
			case int:
				is = strconv.Itoa(v)
			case int64:
				is = strconv.FormatInt(v, 10)
			case time.Duration:
				is = v.String()
			case limit.Rate:
				is = v.String()
			case map[string]limit.Rate:
				is = fmt.Sprint(v)
			default:
				continue
			}
			if len(said) == 0 {
				t.Errorf("%s: the comment says no default", name.Name)
				continue
			}
			want := plain(t, said[0])
			said = said[1:]
			if compared++; is != want {
				t.Errorf("%s: the default is %s, and the comment says %s", name.Name, is, want)
			}
		}
	}
	if compared < 10 {
		t.Errorf("%d compared", compared)
	}
}

var quantity = regexp.MustCompile(`^([0-9 ]+?) ?(h|minutes|s|MiB|a minute|)$`)

// plain returns what text says as Go prints it.
func plain(t *testing.T, text string) string {
	t.Helper()
	if text == "not bounded apart" {
		return "map[]"
	}
	m := quantity.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%q is no quantity", text)
	}
	n, err := strconv.Atoi(strings.ReplaceAll(m[1], " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	switch m[2] {
	case "h":
		return (time.Duration(n) * time.Hour).String()
	case "minutes":
		return (time.Duration(n) * time.Minute).String()
	case "s":
		return (time.Duration(n) * time.Second).String()
	case "MiB":
		return strconv.Itoa(n << 20)
	case "a minute":
		return limit.Rate{Requests: n, Per: time.Minute}.String()
	}
	return strconv.Itoa(n)
}
