package attack_test

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/mcpauth-go/mcpauth/internal/attack"
)

const (
	issuerName = "https://issuer.example"
	secretName = "https://secret.example"
	audience   = "https://mcp.example.com/mcp"
)

var now = time.Date(2026, 7, 28, 12, 0, 0, 0, time.UTC)

func target() attack.Target {
	return attack.Target{Now: now, Issuers: []attack.Issuer{
		attack.NewIssuer(issuerName, audience, "userId", "RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA"),
		attack.NewIssuer(secretName, audience, "sub", "HS256", "HS384", "HS512"),
	}}
}

// corpus is the one that most tests look at.
var corpus = sync.OnceValue(func() []attack.Token { return attack.Corpus(1, target()) })

func TestAttackCorpusIsLargeAndVaried(t *testing.T) {
	corpus := corpus()
	classes, names, headers := map[string]int{}, map[string]bool{}, map[string]attack.Token{}
	for _, token := range corpus {
		classes[token.Class]++
		if names[token.String()] {
			t.Errorf("two tokens are called %s", token)
		}
		names[token.String()] = true
		if id := fmt.Sprintf("%q", token.Header); headers[id].Name != "" {
			t.Errorf("%s and %s are the same", token, headers[id])
		} else {
			headers[id] = token
		}
		if token.Why == "" {
			t.Errorf("%s gives no reason", token)
		}
		if token.Text != "" && !reflect.DeepEqual(token.Header, http.Header{"Authorization": {"Bearer " + token.Text}}) {
			t.Errorf("%s: its header is not its text as a bearer token", token)
		}
	}
	if len(corpus) < 250 || len(classes) < 15 {
		t.Errorf("%d tokens in %d classes, want at least 250 in 15", len(corpus), len(classes))
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		t.Logf("%5d %s", classes[class], class)
		if classes[class] < 8 {
			t.Errorf("class %s has %d tokens only", class, classes[class])
		}
	}
	t.Logf("%5d in all", len(corpus))
}

// digest is of all that a corpus holds.
func digest(corpus []attack.Token) [32]byte {
	h := sha256.New()
	for _, token := range corpus {
		fmt.Fprintf(h, "%q %q %q %q %q\n", token.Class, token.Name, token.Header, token.Text, token.Why)
	}
	return [32]byte(h.Sum(nil))
}

func TestAttackCorpusIsThatOfItsSeed(t *testing.T) {
	first, again, other := corpus(), attack.Corpus(1, target()), attack.Corpus(2, target())
	if digest(first) != digest(again) {
		for i := range first {
			if !reflect.DeepEqual(first[i], again[i]) {
				t.Fatalf("%s is not the same again", first[i])
			}
		}
	}
	if digest(first) == digest(other) {
		t.Error("another seed makes the same corpus")
	}
	if a, b := attack.Good(target()), attack.Good(target()); digest(a) != digest(b) {
		t.Error("good tokens are not the same again")
	}
}

// Whether a signature is good has to be right in a corpus that says so: here
// another library says it.
func TestAttackGoodTokensAreGoodForAnother(t *testing.T) {
	target := target()
	for _, token := range attack.Good(target) {
		_, text, _ := strings.Cut(token.Header.Get("Authorization"), " ")
		_, err := jwt.Parse(strings.TrimLeft(text, " "), func(parsed *jwt.Token) (any, error) {
			for _, iss := range target.Issuers {
				for _, k := range iss.Keys {
					if name, _ := parsed.Claims.GetIssuer(); iss.Name == name && k.Algorithm == parsed.Header["alg"] {
						return k.Public(), nil
					}
				}
			}
			return nil, fmt.Errorf("no key")
		}, jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithAudience(audience), jwt.WithExpirationRequired())
		if err != nil {
			t.Errorf("%s: %v", token, err)
		}
	}
}

// A token is dangerous when nothing but its one fault keeps a verifier from
// taking it: the signatures of these classes are all good.
func TestAttackFaultsOfClaimsAreReallySigned(t *testing.T) {
	target := target()
	signed := 0
	for _, token := range corpus() {
		switch token.Class {
		case "crit", "typ", "token use", "bound token", "time", "audience", "issuer", "user id", "claim type", "claim case":
		default:
			continue
		}
		if token.Text == "" {
			continue
		}
		segments := strings.Split(token.Text, ".")
		signature, err := jwt.NewParser().DecodeSegment(segments[2])
		if err != nil {
			t.Fatalf("%s: %v", token, err)
		}
		good := false
		for _, iss := range target.Issuers {
			for _, k := range iss.Keys {
				method := jwt.GetSigningMethod(k.Algorithm)
				good = good || method.Verify(segments[0]+"."+segments[1], signature, k.Public()) == nil
			}
		}
		if !good && !strings.Contains(token.Name, "signed decoded") {
			t.Errorf("%s has no good signature", token)
		}
		signed++
	}
	if signed < 200 {
		t.Errorf("%d tokens only", signed)
	}
}

// What is Sendable arrives as it is.
func TestAttackSendableTokensArrive(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	defer server.Close()
	client := server.Client()
	sent := 0
	for _, token := range corpus() {
		if !token.Sendable() {
			continue
		}
		r, err := http.NewRequest("POST", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, token.Header)
		response, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", token, err)
			continue
		}
		response.Body.Close()
		for name, values := range token.Header {
			if !slices.Equal(got[name], values) {
				t.Errorf("%s arrives as another", token)
			}
		}
		sent++
	}
	if sent < 250 {
		t.Errorf("%d tokens were sent only", sent)
	}
}

func TestAttackTargetWithoutIssuerIsAMistake(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	attack.Corpus(1, attack.Target{Now: now})
}
