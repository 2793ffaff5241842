package jwt_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// keyFile is a file that a test changes.
type keyFile struct {
	t    *testing.T
	path string
}

func newKeyFile(t *testing.T, content []byte) keyFile {
	f := keyFile{t, filepath.Join(t.TempDir(), "keys")}
	f.write(content)
	return f
}

func (f keyFile) write(content []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func secretOf(k tokentest.Key) []byte { return k.Private.([]byte) }

// A secret is rotated while requests go on: current and previous serve at
// once, the files are read again, the old one ends with its file.
func TestSecretsAreRotatedWithoutARestart(t *testing.T) {
	older, newer, newest := tokentest.SharedSecret("older"), tokentest.SharedSecret("newer"), tokentest.SharedSecret("newest")
	current, previous := newKeyFile(t, append(secretOf(newer), '\n')), newKeyFile(t, secretOf(older))
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(current.path), jwt.SecretFile(previous.path)}}))
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		old, young, youngest := older.Token(hs, claims()), newer.Token(hs, claims()), newest.Token(hs, claims())
		passes(t, p, old)
		passes(t, p, young)
		refused(t, p, youngest, mcpauth.ErrBadSignature, badSig)

		previous.write(secretOf(newer))
		current.write(secretOf(newest))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		refused(t, p, old, mcpauth.ErrBadSignature, badSig) // although its result was cached
		passes(t, p, young)
		passes(t, p, youngest) // although its refusal was
	})
}

func TestSecretsOfTheEnvironment(t *testing.T) {
	older, newer := tokentest.SharedSecret("older"), tokentest.SharedSecret("newer")
	t.Setenv("MCPAUTH_TEST_CURRENT", tokentest.Encode(string(secretOf(newer))))
	t.Setenv("MCPAUTH_TEST_PREVIOUS", string(secretOf(older)))
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{
		jwt.SecretEnv("MCPAUTH_TEST_CURRENT").In(jwt.Base64), jwt.SecretEnv("MCPAUTH_TEST_PREVIOUS"),
	}}))
	passes(t, p, older.Token(hs, claims()))
	passes(t, p, newer.Token(hs, claims()))
	t.Setenv("MCPAUTH_TEST_PREVIOUS", string(tokentest.Secret("newest")))
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	refused(t, p, older.Token(hs, claims()), mcpauth.ErrBadSignature, badSig)
}

func TestAFaultyReloadChangesNothing(t *testing.T) {
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	for name, content := range map[string]string{
		"empty": "", "garbage": "garbage", "cut short": string(tokentest.JWKS(a.JWK("a")))[:40], "empty set": `{"keys":[]}`,
		"one bad key among good ones": string(tokentest.JWKS(b.JWK("b"), `{"kty":"RSA"}`)), "private key": string(tokentest.JWKS(tokentest.With(b.JWK("b"), `"d":"AAAA"`))),
	} {
		t.Run(name, func(t *testing.T) {
			file, otherFile := newKeyFile(t, tokentest.JWKS(a.JWK("a"))), newKeyFile(t, secretOf(others))
			p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{
				{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSFile(file.path)}},
				{Name: otherName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(otherFile.path)}},
			}})
			token, otherToken := a.Token(a.Header(), claims()), others.Token(hs, claims("iss", `"`+otherName+`"`))
			id := passes(t, p, token)
			file.write([]byte(content))
			otherFile.write(tokentest.Secret("changed too"))
			err := p.Reload()
			if err == nil || !strings.Contains(err.Error(), "Issuers[0].Keys[0]") {
				t.Errorf("Reload = %v", err)
			}
			if passes(t, p, token) != id {
				t.Error("the cached result is gone")
			}
			passes(t, p, otherToken)
			file.write(tokentest.JWKS(b.JWK("b")))
			if err := p.Reload(); err != nil {
				t.Fatal(err)
			}
			refused(t, p, token, mcpauth.ErrBadSignature, badSig)
			refused(t, p, otherToken, mcpauth.ErrBadSignature, badSig)
		})
	}
}

func TestRemovedKeyEndsCachedResultsAtOnce(t *testing.T) {
	a, b := tokentest.Ed25519("a"), tokentest.Ed25519("b")
	file := newKeyFile(t, tokentest.JWKS(a.JWK("a"), b.JWK("b")))
	p := newProvider(t, only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.JWKSFile(file.path)}}))
	ofA, ofB := a.Token(a.HeaderWith(`"kid":"a"`), claims()), b.Token(b.HeaderWith(`"kid":"b"`), claims("userId", `"user-b"`))
	passes(t, p, ofA)
	id := passes(t, p, ofB)
	if err := p.Reload(); err != nil { // nothing has changed
		t.Fatal(err)
	}
	if passes(t, p, ofB) != id {
		t.Error("a reload without change throws results away")
	}
	file.write(tokentest.JWKS(b.JWK("b")))
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	refused(t, p, ofA, mcpauth.ErrUnknownKey, unknownKey)
	if _, ok := p.Token(issuerName, "user-1"); ok {
		t.Error("the token of a removed key is still handed out")
	}
	passes(t, p, ofB)
	if _, ok := p.Token(issuerName, "user-b"); !ok {
		t.Error("the token of the key that stayed is not handed out")
	}
}

func TestALastingFaultIsLoggedOnceAndNeverTheSecret(t *testing.T) {
	file := newKeyFile(t, secretOf(ours))
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		config := only(jwt.Issuer{Name: issuerName, Audience: []string{audience}, Keys: []jwt.KeySource{jwt.SecretFile(file.path)}})
		config.Logger = debugLogger(&logged)
		p := newProvider(t, config)
		if err := p.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		file.write([]byte("too-short-a-secret"))
		time.Sleep(65 * time.Second)
		synctest.Wait()
		p.Close()
		text := logged.String()
		if n := strings.Count(text, "keys not reloaded"); n != 1 {
			t.Errorf("the fault is logged %d times", n)
		}
		for _, want := range []string{"jwt provider started", "issuer=" + issuerName, audience, "cache=true", "jwt provider closed"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in the log: %s", want, text)
			}
		}
		if strings.Contains(text, "too-short-a-secret") || strings.Contains(text, string(secretOf(ours))) {
			t.Errorf("the secret is in the log: %s", text)
		}
	})
}

func TestLifecycle(t *testing.T) {
	p := provider(t)
	token := good()
	passes(t, p, token)
	if err := p.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if p.Start(context.Background()) == nil {
		t.Error("a second Start is taken")
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, p, token, mcpauth.ErrUnavailable, "The server is shutting down.")
	if _, ok := p.Token(issuerName, "user-1"); ok {
		t.Error("a closed provider hands out tokens")
	}
	if s := p.Stats(); s.Accepted.Entries+s.Forwarded.Entries+s.Refused.Entries != 0 {
		t.Errorf("after Close: %+v", s)
	}
	closed := provider(t)
	closed.Close()
	if closed.Start(context.Background()) == nil {
		t.Error("Start after Close is taken")
	}
}

func TestAnyAudienceIsWarnedOf(t *testing.T) {
	iss := signedBy(issuerName, ours)
	iss.AnyAudience, iss.Audience = true, nil
	var logged bytes.Buffer
	config := only(iss)
	config.Logger = debugLogger(&logged)
	if err := newProvider(t, config).Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(logged.String(), "level=WARN") {
		t.Errorf("log = %s", logged.String())
	}
}
