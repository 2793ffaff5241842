package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/jws"
)

type verifyCommand struct {
	JWKS           string        `name:"jwks" xor:"key" required:"" placeholder:"FILE" help:"JWK Set, or a single JWK."`
	Key            string        `xor:"key" required:"" placeholder:"FILE" help:"Public key or certificate in PEM, or a JWK."`
	SecretEnv      string        `xor:"key" required:"" placeholder:"VAR" help:"Environment variable with a shared secret."`
	SecretEncoding string        `default:"raw" enum:"raw,base64,hex" help:"How the secret is written: raw, base64 or hex (${default})."`
	Issuer         string        `required:"" help:"The exact \"iss\" to expect."`
	Audience       []string      `required:"" sep:"none" help:"An \"aud\" to take. May be repeated."`
	Algorithm      []string      `help:"An algorithm to take. May be repeated. Default: that of the key."`
	UserClaim      string        `default:"userId" help:"Claim that holds the user's id (${default})."`
	Leeway         time.Duration `help:"How long after its \"exp\" a token is still taken, at most 5m."`
	JSON           bool          `name:"json" help:"Write one JSON object a line."`
	Token          string        `arg:"" help:"The token, or - to read one a line from standard input."`
}

func (c verifyCommand) Run(ctx context.Context, std streams) error {
	provider, err := c.provider(std)
	if err != nil {
		return err
	}
	defer provider.Close()

	out := bufio.NewWriter(std.out)
	refused := false
	report := func(a answer) error {
		refused = refused || !a.Authenticated
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
	return nil
}

func (c verifyCommand) provider(std streams) (*jwt.Provider, error) {
	var keys jwt.KeySource
	flag := "--key"
	switch {
	case c.JWKS != "":
		keys, flag = jwt.JWKSFile(c.JWKS), "--jwks"
	case c.SecretEnv != "":
		keys, flag = jwt.SecretEnv(c.SecretEnv).In(jwt.Encoding(c.SecretEncoding)), "--secret-env"
	default:
		keys = jwt.PEMFile(c.Key)
		if text, err := os.ReadFile(c.Key); err == nil && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
			keys = jwt.JWKSFile(c.Key)
		}
	}
	if strings.Contains(c.JWKS, "://") {
		return nil, usageError{errors.New("--jwks takes a file: save the set there first, such as with curl -o")}
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
		Logger:       slog.New(slog.NewTextHandler(std.err, nil)),
	})
	if faulty := (*mcpauth.ConfigError)(nil); errors.As(err, &faulty) {
		return nil, usageError{asFlags(faulty, flag)}
	}
	return provider, err
}

// asFlags says what is wrong in terms of the flags that were given.
func asFlags(faulty *mcpauth.ConfigError, keyFlag string) error {
	flags := map[string]string{
		"Name": "--issuer", "Audience": "--audience", "Keys": keyFlag, "Algorithms": "--algorithm",
		"UserIDClaim": "--user-claim", "ExpiryLeeway": "--leeway",
	}
	var errs []error
	for _, f := range faulty.Faults {
		setting, _, _ := strings.Cut(strings.TrimPrefix(f.Field, "Issuers[0]."), "[")
		if flag, ok := flags[setting]; ok {
			f.Field = flag
		}
		errs = append(errs, errors.New(f.String()))
	}
	return errors.Join(errs...)
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
