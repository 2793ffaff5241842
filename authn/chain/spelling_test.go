package chain_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/authn/oauth"
	"github.com/mcpauth-go/mcpauth/revoke"
)

// An authorization server that reads tokens leniently calls every spelling of a
// token active, and does not know what has been revoked here. Its provider, which
// comes behind the one that verifies the tokens, must not be asked.
func TestNoSpellingLeadsARevokedTokenToAnotherProvider(t *testing.T) {
	const tokenID = "token-1"
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"userId":"user-1","jti":%q,"exp":%d}`, issuerName, audience, tokenID, time.Now().Add(time.Hour).Unix())
	revoked := ours.Token(ours.Header(), claims)
	header, rest, _ := strings.Cut(revoked, ".")
	payload, signature, _ := strings.Cut(rest, ".")

	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if token := r.PostFormValue("token"); !strings.Contains(token, payload) && token != "opaque" {
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"active": true, "sub": "user-1", "aud": audience, "exp": time.Now().Add(time.Hour).Unix()})
	}))
	defer server.Close()
	l := openList(t)
	introspection, err := oauth.New(oauth.Config{
		Issuer: issuerName, Endpoint: server.URL, Audience: []string{audience},
		Client: oauth.Client{ClientID: "mcp", Secret: mcpauth.NewSecret("of the client")}, Revocations: l, Logger: discard,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := newChain(t, tokens(t, issuerName, ours, func(c *jwt.Config) { c.Revocations = l }), introspection)
	if _, err := l.Revoke(t.Context(), revoke.Revocation{Kind: revoke.Token, Issuer: issuerName, TokenID: tokenID}); err != nil {
		t.Fatal(err)
	}

	if got, _ := code(t, c, bearer(revoked)); got != mcpauth.ErrRevoked {
		t.Errorf("as it was issued: %q", got)
	}
	for _, spelling := range []string{
		"." + revoked, ".." + revoked, revoked + ".", "." + revoked + ".", "=." + revoked,
		header + ".." + payload + "." + signature, header + "." + payload + ".." + signature, header + ".=." + payload + "." + signature,
		revoked + ".x", revoked + ".x.y", "x." + revoked, "x.y." + revoked, "." + revoked + ".x",
		header + "=." + payload + "=." + signature + "=.x",
	} {
		if got, issuer := code(t, c, bearer(spelling)); got != mcpauth.ErrMalformedToken {
			t.Errorf("%q: %q, by %q", strings.NewReplacer(header, "h", payload, "p", signature, "s").Replace(spelling), got, issuer)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the other provider has asked %d times", n)
	}
	if got, _ := code(t, c, bearer("opaque")); got != "" {
		t.Errorf("an opaque token: %q", got)
	}
}
