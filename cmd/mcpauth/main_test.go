package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpauth-go/mcpauth/internal/mint"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuer   = "https://issuer.example.com"
	audience = "https://mcp.example.com/mcp"
	secret   = "correct horse battery staple, and then some more of it for HS512"
)

// cli runs a command line with input and returns what it printed.
func cli(input string, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), args, streams{strings.NewReader(input), &stdout, &stderr})
	return code, stdout.String(), stderr.String()
}

// mintToken returns a token of alice's, with further flags.
func mintToken(t *testing.T, flags ...string) string {
	t.Helper()
	t.Setenv("TEST_SECRET", secret)
	args := append([]string{"token", "mint", "--issuer", issuer, "--audience", audience, "--user", "alice"}, flags...)
	if !strings.Contains(strings.Join(flags, " "), "--key") {
		args = append(args, "--secret-env", "TEST_SECRET")
	}
	code, out, errs := cli("", args...)
	if code != 0 {
		t.Fatalf("mint exits %d: %s", code, errs)
	}
	return strings.TrimSpace(out)
}

var verify = []string{"token", "verify", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", audience}

// fetching lacks the flag that says where the keys are.
var fetching = []string{"token", "verify", "--issuer", issuer, "--audience", audience}

func with(args []string, more ...string) []string { return append(args[:len(args):len(args)], more...) }

func TestWrongUsageExitsWith2(t *testing.T) {
	t.Setenv("TEST_SECRET", secret)
	t.Setenv("SHORT_SECRET", "short")
	token := mintToken(t)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "expected one of"},
		{"unknown command", []string{"serve-all"}, "unexpected argument"},
		{"unknown flag", with(verify, "--bogus", token), "unknown flag --bogus"},
		{"flag without value", []string{"token", "verify", "--issuer"}, "--issuer"},
		{"no token", verify, "<token>"},
		{"no key", []string{"token", "verify", "--issuer", issuer, "--audience", audience, token}, "missing flags: one of --jwks, --discover, --metadata-url, --key or --secret-env"},
		{"two keys", with(verify, "--key", "x.pem", token), "can't be used together"},
		{"a secret as argument", with(verify, "--secret", secret, token), "unknown flag --secret"},
		{"variable not set", []string{"token", "verify", "--secret-env", "NO_SUCH_SECRET", "--issuer", issuer, "--audience", audience, token}, "--secret-env: environment variable NO_SUCH_SECRET: is not set"},
		{"short secret", []string{"token", "verify", "--secret-env", "SHORT_SECRET", "--issuer", issuer, "--audience", audience, token}, "--secret-env: environment variable SHORT_SECRET: the secret has 5 bytes, HS256 needs at least 32"},
		{"unknown algorithm", with(verify, "--algorithm", "none", token), "--algorithm: found \"none\""},
		{"leeway", with(verify, "--leeway", "6m", token), "--leeway: found 6m0s; expected between 0s and 5m0s"},
		{"three keys", with(verify, "--key", "x.pem", "--discover", token), "--discover and --key and --secret-env can't be used together"},
		{"no key to mint with", []string{"token", "mint", "--issuer", issuer, "--audience", audience, "--user", "a"}, "missing flags: one of --key or --secret-env"},
		{"keys over plain http", with(fetching, "--jwks", "http://keycloak:8080/certs", token), `--jwks: key set at http://keycloak:8080/certs: http to "keycloak:8080", which is neither loopback nor listed for plain http; expected an https URL (http on loopback and for --plain-http-host)`},
		{"keys of another scheme", with(fetching, "--jwks", "file:///etc/keys", token), "--jwks: "},
		{"metadata of no URL", []string{"token", "verify", "--discover", "--issuer", "accounts.example.com", "--audience", audience, token}, "--discover: the issuer's name leads to no metadata: not an absolute URL; expected an https URL (http on loopback and for --plain-http-host) as --issuer, or --metadata-url"},
		{"no authorities", with(fetching, "--discover", "--ca-file", "no-such.pem", token), "--ca-file: file no-such.pem: no such file or directory; expected certificates in PEM"},
		{"a URL for a host", with(fetching, "--discover", "--plain-http-host", "http://keycloak", token), `--plain-http-host: found "http://keycloak"`},
		{"a long time-out", with(fetching, "--discover", "--fetch-timeout", "2m", token), "--fetch-timeout: found 2m0s"},
		{"shared secrets from the network", with(fetching, "--discover", "--algorithm", "HS256", token), "--algorithm: HS256 with fetched keys"},
		{"authorities without a fetch", with(verify, "--ca-file", "ca.pem", token), "--ca-file and --plain-http-host are for keys that are fetched"},
		{"the secret in place of its variable", []string{"token", "mint", "--secret-env", secret, "--issuer", issuer, "--audience", audience, "--user", "a"}, "--secret-env: no such variable is set"},
		{"no user to mint for", []string{"token", "mint", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", audience, "--user", ""}, "--user is empty"},
		{"no issuer to mint for", []string{"token", "mint", "--secret-env", "TEST_SECRET", "--issuer", "", "--audience", audience, "--user", "a"}, "--issuer is empty"},
		{"no audience to mint for", []string{"token", "mint", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", "", "--user", "a"}, "--audience is empty"},
		{"help of the command", []string{"token", "mint", "--bogus"}, `Try "mcpauth token mint --help"`},
		{"missing file", []string{"token", "verify", "--key", "no-such.pem", "--issuer", issuer, "--audience", audience, token}, "--key: file no-such.pem: no such file or directory"},
		{"mint with a claim of wrong form", []string{"token", "mint", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", audience, "--user", "a", "--claim", "x"}, `--claim "x" is not NAME=VALUE`},
		{"mint with an algorithm that does not fit", []string{"token", "mint", "--alg", "RS256", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", audience, "--user", "a"}, "RS256 does not work with a secret"},
		{"no duration", []string{"token", "mint", "--secret-env", "TEST_SECRET", "--issuer", issuer, "--audience", audience, "--user", "a", "--ttl", "2w"}, `--ttl: expected a duration such as 90d, 12h or 30m, found "2w"`},
		{"two tokens", with(verify, token, token), "unexpected argument " + token[:8] + "…"},
		{"demo beyond loopback", []string{"demo", "--addr", "0.0.0.0:0"}, "not on loopback"},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli("", test.args...)
			if code != 2 || out != "" || !strings.Contains(errs, test.want) {
				t.Errorf("exit %d, out %q, err %q; want 2 and %q", code, out, errs, test.want)
			}
			if strings.Contains(errs, secret) || strings.Contains(errs, token) {
				t.Error("the secret is in the error")
			}
		})
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "1d12h30m": 36*time.Hour + 30*time.Minute, "0d": 0, "-1d": -24 * time.Hour, "-1d2h": -26 * time.Hour, "-0d2h": -2 * time.Hour,
		"12h": 12 * time.Hour, "-90s": -90 * time.Second, "106750d23h": (106750*24 + 23) * time.Hour,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "1dd", "1d25h", "1d-2h", "1.5d", "90", "1 d", "106752d", "-106752d", "9223372036854775807d", "-9223372036854775808d", "99999999999999999999d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestHelpAndVersionExitWith0(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"token", "verify", "--help"}, {"version"}} {
		if code, out, errs := cli("", args...); code != 0 || !strings.Contains(out, "mcpauth") || errs != "" {
			t.Errorf("%v: exit %d, out %q, err %q", args, code, out, errs)
		}
	}
}

func TestVerifySaysInTextWhatIsWrong(t *testing.T) {
	good := mintToken(t)
	if code, out, _ := cli("", with(verify, good)...); code != 0 || !strings.HasPrefix(out, `ok: user "alice", until 20`) {
		t.Errorf("exit %d, %q", code, out)
	}
	expired := mintToken(t, "--ttl=-1m")
	const want = "refused (expired): JWT token has expired. Please refresh your token. [good until 20"
	if code, out, _ := cli("", with(verify, expired)...); code != 1 || !strings.HasPrefix(out, want) || !strings.Contains(out, "Z, 1m") || !strings.HasSuffix(out, "s ago]\n") {
		t.Errorf("exit %d, %q", code, out)
	}
	const tampered = `refused (bad_signature): JWT verification failed: invalid signature [issuer "https://issuer.example.com": tried for HS256: environment variable TEST_SECRET, the secret]` + "\n"
	if code, out, _ := cli("", with(verify, good[:len(good)-8]+"AAAAAAAA")...); code != 1 || out != tampered {
		t.Errorf("exit %d, %q", code, out)
	}
	if code, out, _ := cli("", with(verify, "--leeway", "2m", expired)...); code != 0 {
		t.Errorf("with leeway: exit %d, %q", code, out)
	}
}

// One line in, one object out, in order, always with the same five members.
func TestVerifyLines(t *testing.T) {
	good := mintToken(t, "--claim", "email=alice@example.com", "--claim", "n=1.50e1", "--claim", "html=<b>")
	tampered := good[:len(good)-8] + "AAAAAAAA"
	const (
		ok       = `{"authenticated":true,"userId":"alice","metadata":{"email":"alice@example.com","html":"<b>","n":1.50e1},"error":null,"code":null}`
		empty    = `{"authenticated":false,"userId":null,"metadata":null,"error":"No token provided","code":"missing_credential"}`
		bad      = `{"authenticated":false,"userId":null,"metadata":null,"error":"JWT verification failed: invalid signature","code":"bad_signature"}`
		large    = `{"authenticated":false,"userId":null,"metadata":null,"error":"JWT verification failed: the token is too large","code":"too_large"}`
		notToken = `{"authenticated":false,"userId":null,"metadata":null,"error":"JWT verification failed: malformed token","code":"malformed_token"}`
	)
	for _, test := range []struct {
		name, input string
		want        []string
		code        int
	}{
		{"one", good + "\n", []string{ok}, 0},
		{"without a final line break", good, []string{ok}, 0},
		{"CRLF", good + "\r\n" + good + "\r\n", []string{ok, ok}, 0},
		{"an empty line", "\n", []string{empty}, 1},
		{"an empty line, CRLF", "\r\n", []string{empty}, 1},
		{"a lone CR", "\r", []string{empty}, 1},
		{"two CR", good + "\r\r\n", []string{notToken}, 1},
		{"mixed", good + "\n\n" + tampered + "\nx y\n" + good, []string{ok, empty, bad, notToken, ok}, 1},
		{"a line of 3 MB between", good + "\n" + strings.Repeat("a", 3<<20) + "\n" + good + "\n", []string{ok, large, ok}, 1},
		{"3 MB without end", strings.Repeat("a.b.c", 600<<10), []string{large}, 1},
		{"just at the limit", strings.Repeat("a", 16<<10) + "\n", []string{notToken}, 1},
		{"just over it", strings.Repeat("a", 16<<10+1) + "\r\n", []string{large}, 1},
		{"binary", "\x00\xff\xfe\n", []string{notToken}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, out, errs := cli(test.input, with(verify, "--json", "-")...)
			want := ""
			for _, line := range test.want {
				want += line + "\n"
			}
			if code != test.code || out != want || errs != "" {
				t.Errorf("exit %d, err %q, out\n%swant exit %d\n%s", code, errs, out, test.code, want)
			}
		})
	}
}

// A pipe that brings nothing does not look as one of good tokens.
func TestVerifyOfNothingSaysSo(t *testing.T) {
	t.Setenv("TEST_SECRET", secret)
	for _, flags := range [][]string{{"-"}, {"--json", "-"}} {
		if code, out, errs := cli("", with(verify, flags...)...); code != 0 || out != "" || !strings.Contains(errs, "no token came in") {
			t.Errorf("exit %d, out %q, err %q", code, out, errs)
		}
	}
}

func TestVerifyKeepsTheOrderOfManyTokens(t *testing.T) {
	t.Setenv("TEST_SECRET", secret)
	signer, err := mint.NewSigner("", []byte(secret), "")
	if err != nil {
		t.Fatal(err)
	}
	const n = 2000
	var input strings.Builder
	for i := range n {
		token, err := signer.Sign(map[string]any{"iss": issuer, "aud": audience, "exp": time.Now().Add(time.Hour).Unix(), "userId": fmt.Sprint("user-", i)})
		if err != nil {
			t.Fatal(err)
		}
		input.WriteString(token + "\n")
	}
	code, out, _ := cli(input.String(), with(verify, "--json", "-")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != n {
		t.Fatalf("exit %d, %d lines", code, len(lines))
	}
	for i, line := range lines {
		var a struct{ UserID string }
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.UserID != fmt.Sprint("user-", i) {
			t.Fatalf("line %d is %s", i, line)
		}
	}
}

// Whoever writes a token and waits gets the answer before the next token.
func TestVerifyAnswersLineByLine(t *testing.T) {
	token := mintToken(t)
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	done := make(chan int)
	go func() {
		done <- run(context.Background(), with(verify, "--json", "-"), streams{inRead, outWrite, io.Discard})
	}()
	for range 3 {
		if _, err := fmt.Fprintln(inWrite, token); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 1024)
		n, err := outRead.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:n]), `{"authenticated":true`) {
			t.Fatalf("%q, %v", answer[:n], err)
		}
	}
	inWrite.Close()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
}

// Who writes no token and interrupts is not kept waiting for one.
func TestVerifyStopsWhileNothingComes(t *testing.T) {
	t.Setenv("TEST_SECRET", secret)
	ctx, interrupt := context.WithCancel(context.Background())
	silent, writer := io.Pipe()
	defer writer.Close()
	done := make(chan int)
	go func() {
		done <- run(ctx, with(verify, "--json", "-"), streams{silent, io.Discard, io.Discard})
	}()
	interrupt()
	if code := <-done; code != 1 {
		t.Errorf("exit %d", code)
	}
}

// endless gives one line for ever.
type endless struct {
	line string
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}

// What was not verified must not look verified.
func TestVerifyCutShortFails(t *testing.T) {
	token := mintToken(t)
	ctx, interrupt := context.WithCancel(context.Background())
	out := writerFunc(func(p []byte) (int, error) { interrupt(); return len(p), nil })
	if code := run(ctx, with(verify, "--json", "-"), streams{&endless{line: token + "\n"}, out, io.Discard}); code != 1 {
		t.Errorf("exit %d", code)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestMintAndVerifyWithEachKindOfKey(t *testing.T) {
	dir := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p256, p384, p521 := ec(elliptic.P256()), ec(elliptic.P384()), ec(elliptic.P521())
	for _, test := range []struct {
		alg             string
		private, public any
	}{
		{"RS256", rsaKey, &rsaKey.PublicKey}, {"RS384", rsaKey, &rsaKey.PublicKey}, {"RS512", rsaKey, &rsaKey.PublicKey},
		{"PS256", rsaKey, &rsaKey.PublicKey}, {"PS384", rsaKey, &rsaKey.PublicKey}, {"PS512", rsaKey, &rsaKey.PublicKey},
		{"ES256", p256, &p256.PublicKey}, {"ES384", p384, &p384.PublicKey}, {"ES512", p521, &p521.PublicKey},
		{"EdDSA", edKey, edKey.Public()},
	} {
		t.Run(test.alg, func(t *testing.T) {
			private, err := x509.MarshalPKCS8PrivateKey(test.private)
			if err != nil {
				t.Fatal(err)
			}
			public, err := x509.MarshalPKIXPublicKey(test.public)
			if err != nil {
				t.Fatal(err)
			}
			privateFile := write(t, dir, test.alg+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
			publicFile := write(t, dir, test.alg+".pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
			token := mintToken(t, "--key", privateFile, "--alg", test.alg, "--kid", "k1")
			code, out, errs := cli("", "token", "verify", "--key", publicFile, "--algorithm", test.alg, "--issuer", issuer, "--audience", audience, token)
			if code != 0 {
				t.Errorf("exit %d: %s%s", code, out, errs)
			}
			code, _, errs = cli("", "token", "verify", "--key", privateFile, "--issuer", issuer, "--audience", audience, token)
			if code != 2 || !strings.Contains(errs, "private key") {
				t.Errorf("with the private key: exit %d: %s", code, errs)
			}
		})
	}
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		token := mintToken(t, "--alg", alg)
		if code, out, errs := cli("", with(verify, "--algorithm", alg, token)...); code != 0 {
			t.Errorf("%s: exit %d: %s%s", alg, code, out, errs)
		}
	}
}

func TestVerifyWithJWKS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.NewSigner("", key, "k1")
	if err != nil {
		t.Fatal(err)
	}
	set, err := signer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	token, err := signer.Sign(map[string]any{"iss": issuer, "aud": []string{"x", audience}, "exp": time.Now().Add(time.Hour).Unix(), "sub": "alice"})
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, t.TempDir(), "jwks.json", set)
	for _, flag := range []string{"--jwks", "--key"} {
		args := []string{"token", "verify", flag, file, "--issuer", issuer, "--audience", audience, "--user-claim", "sub", "--json", token}
		code, out, errs := cli("", args...)
		want := `{"authenticated":true,"userId":"alice","metadata":{},"error":null,"code":null}` + "\n"
		if code != 0 || out != want {
			t.Errorf("%s: exit %d: %s%s", flag, code, out, errs)
		}
	}
}

func TestDemoCheckPasses(t *testing.T) {
	code, out, errs := cli("", "demo", "--check")
	if code != 0 || !strings.Contains(out, " passed, 0 failed\n") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestDemoRunsUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	outRead, outWrite := io.Pipe()
	done := make(chan int)
	go func() {
		done <- run(ctx, []string{"demo", "--addr", "127.0.0.1:0"}, streams{strings.NewReader(""), outWrite, io.Discard})
	}()
	text := make([]byte, 16<<10)
	n, err := outRead.Read(text)
	if err != nil || !strings.Contains(string(text[:n]), "demonstration of mcpauth, for this machine only") {
		t.Errorf("prints %q, %v", text[:n], err)
	}
	go io.Copy(io.Discard, outRead)
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
	outWrite.Close()
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
