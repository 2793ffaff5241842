package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

type verifyCommand struct {
	JWKS           string        `name:"jwks" group:"keys" placeholder:"FILE|URL" help:"JWK Set, or a single JWK in a file."`
	Discover       bool          `group:"keys" help:"The JWK Set that the issuer's metadata names."`
	MetadataURL    string        `name:"metadata-url" group:"keys" placeholder:"URL" help:"The same, with metadata at a URL that --issuer does not lead to."`
	Key            string        `group:"keys" placeholder:"FILE" help:"Public key or certificate in PEM, or a JWK."`
	SecretEnv      string        `group:"keys" placeholder:"VAR" help:"Environment variable with a shared secret."`
	SecretEncoding string        `default:"raw" enum:"raw,base64,hex" help:"How the secret is written: raw, base64 or hex (${default})."`
	CAFile         string        `name:"ca-file" placeholder:"FILE" help:"Certificate authorities in PEM, trusted beside the system's where keys are fetched."`
	PlainHTTPHost  []string      `name:"plain-http-host" sep:"none" placeholder:"HOST" help:"Host, with or without a port, that may be asked for keys over plain http, as loopback may. May be repeated."`
	FetchTimeout   time.Duration `default:"5s" help:"How long keys may take to be fetched, at most 1m (${default})."`
	Issuer         string        `required:"" help:"The exact \"iss\" to expect."`
	Audience       []string      `required:"" sep:"none" help:"An \"aud\" to take. May be repeated."`
	Algorithm      []string      `help:"An algorithm to take. May be repeated. Default: that of the key."`
	UserClaim      string        `placeholder:"NAME" help:"Claim that holds the user's id. Default: sub with keys that are fetched, else userId."`
	Leeway         time.Duration `help:"How long after its \"exp\" a token is still taken, at most 5m."`
	JSON           bool          `name:"json" help:"Write one JSON object a line."`
	Token          string        `arg:"" help:"The token, or - to read one a line from standard input."`
}

// Validate says what is wrong with the flags together. The flags for keys are
// not kong's "xor" and "required", of which the usage line makes flags that
// are all needed.
func (c verifyCommand) Validate() error {
	if err := oneOf("--jwks, --discover, --metadata-url, --key or --secret-env",
		flag{"--jwks", c.JWKS != ""}, flag{"--discover", c.Discover && c.MetadataURL == ""}, flag{"--metadata-url", c.MetadataURL != ""},
		flag{"--key", c.Key != ""}, flag{"--secret-env", c.SecretEnv != ""}); err != nil {
		return err
	}
	if !c.fetches() && (c.CAFile != "" || len(c.PlainHTTPHost) > 0) {
		return errors.New("--ca-file and --plain-http-host are for keys that are fetched")
	}
	return nil
}

// flag is one of several, and whether it is given.
type flag struct {
	name  string
	given bool
}

// oneOf says what is wrong unless just one of flags is given.
func oneOf(all string, flags ...flag) error {
	var given []string
	for _, f := range flags {
		if f.given {
			given = append(given, f.name)
		}
	}
	switch len(given) {
	case 0:
		return fmt.Errorf("missing flags: one of %s", all)
	case 1:
		return nil
	}
	return fmt.Errorf("%s can't be used together", strings.Join(given, " and "))
}

func (c verifyCommand) fetches() bool {
	return c.Discover || c.MetadataURL != "" || isURL(c.JWKS)
}

func isURL(s string) bool { return strings.Contains(s, "://") }

// Run verifies. Keys that cannot be fetched are no fault of the command line:
// every token is answered, those that need the keys with "unavailable", and
// what to do about it goes to standard error.
func (c verifyCommand) Run(ctx context.Context, std streams) error {
	var log bytes.Buffer
	provider, err := c.provider(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})))
	if err != nil {
		return err
	}
	defer provider.Close()
	var fetched string // what has been, for tokens with a key that is not there
	if c.fetches() {
		if err := provider.Reload(); err != nil {
			fmt.Fprintf(std.err, "mcpauth: %v\n%s\n", err, c.advice(err))
		} else {
			fetched = log.String()
		}
		if c.Token == "-" {
			// Tokens may come for as long as keys change.
			if err := provider.Start(ctx); err != nil {
				return err
			}
		}
	}

	out := bufio.NewWriter(std.out)
	answered, refused := false, false
	report := func(a answer) error {
		answered, refused = true, refused || !a.Authenticated
		if a.lacksKey() && fetched != "" {
			fmt.Fprint(std.err, "mcpauth: ", fetched)
			fetched = ""
		}
		if c.JSON {
			return a.writeJSON(out)
		}
		return a.writeText(out)
	}
	if c.Token == "-" {
		err = verifyLines(ctx, provider, std.in, report, out.Flush)
	} else {
		err = report(verifyOne(ctx, provider, c.Token))
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if refused {
		return errRefused
	}
	if !answered {
		fmt.Fprintln(std.err, "mcpauth: no token came in, and none was verified")
	}
	return nil
}

func (c verifyCommand) provider(logger *slog.Logger) (*jwt.Provider, error) {
	var keys jwt.KeySource
	var flag string
	switch {
	case isURL(c.JWKS):
		keys, flag = jwt.JWKSURL(c.JWKS), "--jwks"
	case c.JWKS != "":
		keys, flag = jwt.JWKSFile(c.JWKS), "--jwks"
	case c.MetadataURL != "":
		keys, flag = jwt.DiscoverAt(c.MetadataURL), "--metadata-url"
	case c.Discover:
		keys, flag = jwt.Discover(), "--discover"
	case c.SecretEnv != "":
		keys, flag = jwt.SecretEnv(c.SecretEnv).In(jwt.Encoding(c.SecretEncoding)), "--secret-env"
	default:
		keys, flag = jwt.PEMFile(c.Key), "--key"
		if text, err := os.ReadFile(c.Key); err == nil && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			keys = jwt.JWKSFile(c.Key)
		}
	}
	var algorithms []jwt.Algorithm
	for _, name := range c.Algorithm {
		algorithms = append(algorithms, jws.Algorithm(name))
	}
	provider, err := jwt.New(jwt.Config{
		Issuers: []jwt.Issuer{{
			Name: c.Issuer, Audience: c.Audience, Keys: []jwt.KeySource{keys}, Algorithms: algorithms,
			UserIDClaim: c.UserClaim, ExpiryLeeway: c.Leeway,
		}},
		MaxTokenSize: maxToken,
		Cache:        jwt.Cache{Off: true},
		Fetch:        jwt.Fetch{Timeout: c.FetchTimeout, CAFile: c.CAFile, PlainHTTPHosts: c.PlainHTTPHost},
		Logger:       logger,
	})
	if faulty := (*mcpauth.ConfigError)(nil); errors.As(err, &faulty) {
		return nil, usageError{asFlags(faulty, flag)}
	}
	return provider, err
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// asFlags says what is wrong in terms of the flags that were given.
func asFlags(faulty *mcpauth.ConfigError, keyFlag string) error {
	flags := map[string]string{
		"Name": "--issuer", "Audience": "--audience", "Keys": keyFlag, "Algorithms": "--algorithm",
		"UserIDClaim": "--user-claim", "ExpiryLeeway": "--leeway",
		"Fetch.CAFile": "--ca-file", "Fetch.Timeout": "--fetch-timeout", "Fetch.PlainHTTPHosts": "--plain-http-host",
	}
	names := strings.NewReplacer("Fetch.PlainHTTPHosts", "--plain-http-host", "as the issuer's Name", "as --issuer", "DiscoverAt", "--metadata-url")
	var errs []error
	for _, f := range faulty.Faults {
		setting, _, _ := strings.Cut(strings.TrimPrefix(f.Field, "Issuers[0]."), "[")
		if flag, ok := flags[setting]; ok {
			f.Field = flag
		}
		f.Expected = names.Replace(f.Expected)
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
}

// advice says what to change so that keys can be fetched.
func (c verifyCommand) advice(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		dial      *net.OpError
	)
	switch {
	case errors.As(err, &authority):
		return "Is the certificate of a private authority? --ca-file trusts it."
	case errors.As(err, &name):
		return "The server has a certificate for other names: ask it under one of those."
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("It has not answered within %s: is the host right, and is a proxy needed (HTTPS_PROXY)? --fetch-timeout gives it longer.", c.FetchTimeout)
	case errors.Is(err, outbound.ErrPlainHTTP):
		return "--plain-http-host allows http to it; whoever is on the way can put keys of their own in place of the issuer's."
	case errors.Is(err, outbound.ErrNotPublic):
		return "--jwks takes the URL of the key set itself, which may be in a private network."
	case errors.As(err, &dial):
		return "Is the host right, is the server up, and is a proxy needed (HTTPS_PROXY)?"
	case errors.Is(err, jwk.ErrNoUsableKey):
		return "Keys are for RS, PS, ES or EdDSA signatures, with the \"alg\" that --algorithm takes, if it is given."
	case c.JWKS != "":
		return `--jwks must be the URL of the key set itself, which is "jwks_uri" in the issuer's metadata; --discover finds it.`
	case c.MetadataURL != "":
		return "--metadata-url must be that of the issuer's metadata, which names its issuer exactly as --issuer does, down to a slash at the end."
	}
	return "--issuer must be exactly as the issuer writes it, down to a slash at the end; --metadata-url names metadata that it does not lead to."
}

// maxToken is the longest token; of a longer line no more than this is held.
const maxToken = 16 << 10

// answer is what is written of one token. In JSON it always has the same five
// members.
type answer struct {
	Authenticated bool                       `json:"authenticated"`
	UserID        *string                    `json:"userId"`
	Metadata      map[string]json.RawMessage `json:"metadata"`
	Error         *string                    `json:"error"`
	Code          *mcpauth.Code              `json:"code"`

	cause  error
	expiry time.Time
}

// lacksKey reports whether it may be for want of a key that a is a refusal.
func (a answer) lacksKey() bool {
	return a.Code != nil && (*a.Code == mcpauth.ErrUnknownKey || *a.Code == mcpauth.ErrUnsupportedAlgorithm)
}

func verifyOne(ctx context.Context, provider *jwt.Provider, token string) answer {
	id, err := provider.Verify(ctx, token)
	if err != nil {
		e := mcpauth.AsError(err)
		if scheme, _, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "Bearer") {
			e.Cause = errors.New(`it begins with "Bearer": give the token alone`)
		}
		return answer{Error: &e.Message, Code: &e.Code, cause: e.Cause}
	}
	user := id.UserID()
	return answer{Authenticated: true, UserID: &user, Metadata: id.Metadata(), expiry: id.Expiry()}
}

func (a answer) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(a)
}

func (a answer) writeText(w io.Writer) error {
	if a.Authenticated {
		_, err := fmt.Fprintf(w, "ok: user %q, until %s\n", *a.UserID, a.expiry.UTC().Format(time.RFC3339))
		return err
	}
	text := fmt.Sprintf("refused (%s): %s", *a.Code, *a.Error)
	if a.cause != nil {
		text += " [" + a.cause.Error() + "]"
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// verifyLines verifies one token a line, on all processors, and reports in
// the order of the lines. idle is called when there is nothing to report yet,
// so that whoever writes line by line is answered line by line.
func verifyLines(ctx context.Context, provider *jwt.Provider, in io.Reader, report func(answer) error, idle func() error) error {
	type job struct {
		token  string
		answer chan answer
	}
	var (
		workers = runtime.GOMAXPROCS(0)
		work    = make(chan job)
		ordered = make(chan job, 64*workers)
		readErr error
		running sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	defer running.Wait()
	defer cancel()
	for range workers {
		running.Go(func() {
			for {
				select {
				case j, more := <-work:
					if !more {
						return
					}
					j.answer <- verifyOne(ctx, provider, j.token)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	// Not waited for: it may be reading from a terminal that stays silent.
	go func() {
		defer close(ordered)
		defer close(work)
		readErr = eachLine(in, maxToken+1, func(line string) bool {
			j := job{line, make(chan answer, 1)}
			for _, next := range []chan job{work, ordered} {
				select {
				case next <- j:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	for {
		var j job
		var more bool
		select {
		case j, more = <-ordered:
		default:
			if err := idle(); err != nil {
				return err
			}
			select {
			case j, more = <-ordered:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !more {
			return cmp.Or(readErr, ctx.Err())
		}
		if err := report(<-j.answer); err != nil {
			return err
		}
	}
}

// eachLine calls use with each line of in, without its LF or CRLF, until use
// returns false. Of a line longer than limit, the first limit bytes are given.
func eachLine(in io.Reader, limit int, use func(string) bool) error {
	reader := bufio.NewReaderSize(in, 64<<10)
	var line []byte
	started := false
	for {
		part, err := reader.ReadSlice('\n')
		started = started || len(part) > 0
		line = append(line, part[:min(len(part), limit+2-len(line))]...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("reading tokens: %w", err)
		case !started:
			return nil
		}
		text := bytes.TrimSuffix(line, []byte("\n"))
		text = bytes.TrimSuffix(text, []byte("\r"))
		if !use(string(text[:min(len(text), limit)])) || err != nil {
			return nil
		}
		line, started = line[:0], false
	}
}
