package oauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/clock"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// endpoint is where tokens are asked about.
type endpoint struct {
	url    string
	client *outbound.Client
}

const unavailableText = "The authorization server that knows the token cannot be asked now. Please try again later."

// failure is why the authorization server has not said anything of a token.
type failure struct {
	cause error
	// rests says that the server is better left alone for a while: it cannot be
	// reached, does not let this server in, or says itself that it is too much. What it answers to one token
	// in a way that is not understood says nothing of others.
	rests bool
	// ownQuota says that what has been used up is the quota of the token's user:
	// anybody can use up theirs, which says nothing of others, nor of the server.
	ownQuota bool
	after    time.Duration // which it asks for, or 0
	counted  bool          // towards the pause, whose mu it needs: many may share a failure
}

func (f *failure) Error() string { return f.cause.Error() }
func (f *failure) Unwrap() error { return f.cause }

// validate asks about a token. An error is an *mcpauth.Error.
func (p *Provider) validate(ctx context.Context, token string, now clock.Instant) (*entry, *endpoint, error) {
	at, err := p.endpoint(ctx)
	if err != nil {
		return nil, nil, p.unavailable(err)
	}
	p.asked.Add(1)
	found, err := p.ask(ctx, at, token, now)
	var e *entry
	if err == nil {
		e, err = p.admissible(found, token)
	}
	if err != nil {
		if refusal := (*mcpauth.Error)(nil); errors.As(err, &refusal) {
			return nil, at, refusal
		}
		return nil, at, p.unavailable(err)
	}
	e.at = at
	return e, at, nil
}

// answered is what has been said of a token, and has passed.
type answered struct {
	claims claims
	answer []byte
	proof  []byte // what the endpoint of Proof has answered, nil without one
	entry  *entry // with its times
}

// ask has the token validated by the configured method. An error is an
// *mcpauth.Error against the token, or else the server's failure.
func (p *Provider) ask(ctx context.Context, at *endpoint, token string, now clock.Instant) (answered, error) {
	got := answered{entry: &entry{provider: p}}
	if p.config.Method == Introspection {
		r, err := p.client.NewRequest(ctx, at.url, url.Values{"token": {token}, "token_type_hint": {"access_token"}})
		if err != nil {
			return got, err
		}
		if got.answer, err = do(at.client, r, introspectionStatus); err != nil {
			return got, err
		}
		if got.claims, err = p.read(at.url, got.answer, introspected); err != nil {
			return got, err
		}
		if !got.claims.hasActive {
			return got, fmt.Errorf(`%s: the answer has no "active"`, outbound.Shown(at.url))
		}
		return got, p.config.judge(&got.claims, got.entry, now)
	}

	var proof claims
	if p.config.Proof.URL != "" {
		r, err := postForm(ctx, p.config.Proof.URL, url.Values{p.config.Proof.Parameter: {token}})
		if err != nil {
			return got, err
		}
		if got.proof, err = do(p.server.Written(), r, tokenStatus); err != nil {
			return got, err
		}
		if proof, err = p.read(p.config.Proof.URL, got.proof, ofProof); err != nil {
			return got, err
		}
	}
	proof.active = true // as far as this endpoint knows
	if err := p.config.judge(&proof, got.entry, now); err != nil {
		return got, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at.url, nil)
	if err != nil {
		return got, errors.New("not a URL that can be asked")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if got.answer, err = do(at.client, r, tokenStatus); err != nil {
		return got, err
	}
	if got.claims, err = p.read(at.url, got.answer, ofUser); err != nil {
		return got, err
	}
	if proof.subject != nil && got.claims.subject != nil && !bytes.Equal(proof.subject, got.claims.subject) {
		return got, errors.New("the two endpoints name two users for one token")
	}
	if got.claims.issuer != nil && string(got.claims.issuer) != p.config.Issuer {
		return got, wrongIssuer(got.claims.issuer, p.config.Issuer)
	}
	got.claims.scope = proof.scope
	return got, nil
}

func postForm(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("not a URL that can be asked")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

func (p *Provider) read(endpoint string, answer []byte, of *source) (claims, error) {
	got, err := p.config.read(answer, of)
	if err != nil {
		return got, fmt.Errorf("the answer of %s: %w", outbound.Shown(endpoint), err)
	}
	return got, nil
}

// do returns the body of an answer with status 200. What any other status means
// is for status to say, unless it is the server's trouble in any case.
func do(client *outbound.Client, r *http.Request, status func(*outbound.Answer) error) ([]byte, error) {
	answer, err := client.Do(r)
	if err != nil {
		// A redirect and a body without end are answers.
		odd := errors.Is(err, outbound.ErrRedirect) || errors.Is(err, outbound.ErrTooLarge)
		return nil, &failure{cause: err, rests: !odd}
	}
	if answer.Status == http.StatusOK {
		return bytes.Clone(answer.Body), nil
	}
	if err := status(answer); err != nil {
		return nil, err
	}
	f := &failure{cause: fmt.Errorf("%s answered with status %d%s", outbound.Shown(r.URL.String()), answer.Status, reason(answer.Body)),
		after: min(answer.RetryAfter(), maxPause)}
	switch answer.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		f.rests = true
	}
	return nil, f
}

// introspectionStatus says what is to be done where this server is not let in,
// which is nothing that the sender of a token could do.
func introspectionStatus(a *outbound.Answer) error {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &failure{cause: fmt.Errorf("the introspection endpoint does not take this server's credentials: status %d%s", a.Status, reason(a.Body)), rests: true}
	}
	return nil
}

// tokenStatus tells refusals of the token from other failures, at endpoints that
// are asked with nothing else.
func tokenStatus(a *outbound.Answer) error {
	challenge := strings.Join(a.Header.Values("WWW-Authenticate"), ", ")
	switch {
	case a.Status == http.StatusUnauthorized,
		a.Status == http.StatusBadRequest && reason(a.Body) == `, "invalid_token"`:
		return errInactive
	case a.Status == http.StatusForbidden && (strings.Contains(challenge, "insufficient_scope") || reason(a.Body) == `, "insufficient_scope"`):
		return refuse(mcpauth.ErrInactive, "the token does not let this server see its user", nil)
	case a.Status == http.StatusTooManyRequests:
		return &failure{cause: errQuota, ownQuota: true, after: min(a.RetryAfter(), maxPause)}
	}
	return nil
}

// reason returns the "error" of an answer, for the log, if it is a plain word.
func reason(body []byte) string {
	value, err := strictjson.Peek(body, "error")
	if err != nil {
		return ""
	}
	word, ok := strictjson.String(value)
	if !ok || len(word) == 0 || len(word) > 40 || strings.Trim(string(word), "abcdefghijklmnopqrstuvwxyz_") != "" {
		return ""
	}
	return fmt.Sprintf(", %q", word)
}

// maxPause bounds what a Retry-After can ask for.
const maxPause = time.Minute

// admissible makes the entry of a token that has passed.
func (p *Provider) admissible(got answered, token string) (*entry, error) {
	c, e := &got.claims, got.entry
	scopes, err := c.scopes()
	if err != nil {
		return nil, err
	}
	if len(c.userID) == 0 {
		return nil, missing(p.config.UserIDClaim)
	}
	if len(c.tenant) == 0 && p.config.TenantClaim != "" {
		return nil, missing(p.config.TenantClaim)
	}
	e.details = details{answer: got.answer, userinfo: p.config.Method == Userinfo, proof: got.proof, tokenID: string(c.tokenID), sessionID: string(c.sessionID), issuedAt: c.issuedAt}
	e.identity, err = mcpauth.NewIdentity(mcpauth.IdentityFields{
		Issuer:       p.config.Issuer,
		UserID:       string(c.userID),
		Tenant:       string(c.tenant),
		Subject:      string(c.subject),
		Scopes:       scopes,
		Expiry:       time.Unix(e.end, 0),
		Token:        mcpauth.NewSecret(token),
		Verification: e,
	})
	if err != nil {
		return nil, err
	}
	// Scopes and ids are in the answer too, and then once more.
	e.size = uint32(len(token) + 2*len(got.answer) + 2*len(got.proof))
	return e, nil
}

// unavailable is the answer to a request whose token nothing is known of.
func (p *Provider) unavailable(cause error) error {
	if p.closed.Load() {
		return errClosed
	}
	after := p.pause.left(p.now())
	if f := (*failure)(nil); errors.As(cause, &f) {
		after = max(after, f.after)
	}
	return &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: unavailableText, RetryAfter: after, Cause: fmt.Errorf("issuer %q: %w", p.config.Issuer, cause)}
}

// enter waits for its turn to ask, and returns what ends it.
func (p *Provider) enter(ctx context.Context, now clock.Instant) (leave func(), err error) {
	if p.pause.left(now) > 0 {
		return nil, p.unavailable(errPause)
	}
	leave = func() { <-p.slots }
	select {
	case p.slots <- struct{}{}:
		return leave, nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(cap(p.slots)*waitingPerConcurrent) {
		return nil, p.unavailable(errBusy)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, p.unavailable(errBusy)
	}
	if p.pause.left(p.now()) > 0 {
		leave()
		return nil, p.unavailable(errPause)
	}
	return leave, nil
}

var (
	errBusy  = errors.New("too many tokens are being asked about")
	errQuota = errors.New("the authorization server has been asked too often with this token (status 429)")
	errPause = errors.New("the authorization server has failed, and is left alone for a while")
)

const (
	failuresToPause = 5
	pauseTime       = 2 * time.Second
)

// pause leaves a server alone that fails time and again, so that requests are
// refused at once and do not wait for what will not come.
type pause struct {
	mu       sync.Mutex
	failures int // one after the other
	failing  bool
	until    time.Duration
}

func (s *pause) left(now clock.Instant) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, s.until-now.Mono)
}

// answers notes that the server answers, and reports whether that is news.
func (s *pause) answers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.failing
	s.failures, s.failing = 0, false
	return was
}

// fails notes that it does not, and reports whether that is news.
func (s *pause) fails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.failing
	s.failing = true
	return !was
}

// count counts a failure towards the pause, once.
func (s *pause) count(f *failure, now clock.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.rests || f.counted {
		return
	}
	f.counted = true
	// Not before, whatever it asks for: one answer is not to shut everybody out.
	if s.failures++; s.failures >= failuresToPause {
		s.until = max(s.until, now.Mono+pauseTime, now.Mono+f.after)
	}
}

// note takes down what has come of asking about a token: nil and refusals are
// answers.
func (p *Provider) note(err error) {
	s := &p.pause
	refusal, unavailable := err.(*mcpauth.Error)
	if unavailable = unavailable && refusal.Code == mcpauth.ErrUnavailable; !unavailable {
		if s.answers() {
			p.config.Logger.Info("the authorization server answers again", "issuer", p.config.Issuer)
		}
		return
	}
	if p.closed.Load() {
		return
	}
	p.failures.Add(1)
	if f := (*failure)(nil); errors.As(err, &f) {
		if f.ownQuota {
			return
		}
		s.count(f, p.now())
	}
	if s.fails() { // a lasting fault is logged once
		p.config.Logger.Error("the authorization server does not validate tokens", "issuer", p.config.Issuer, slog.Any("error", refusal.Cause))
	}
}

// endpoint returns where tokens are asked about, and finds out where that is.
func (p *Provider) endpoint(ctx context.Context) (*endpoint, error) {
	if at := p.at.Load(); at != nil {
		return at, nil
	}
	return p.discover(ctx)
}

// discover looks for the endpoint, once for all who need it and in a time of its
// own: who has waited long for something else must not make it fail for others.
func (p *Provider) discover(ctx context.Context) (*endpoint, error) {
	landed := p.discovery.DoChan("", func() (any, error) {
		if !p.working.Enter() {
			return nil, errClosed
		}
		defer p.working.Leave()
		ctx, cancel := context.WithTimeout(p.life, p.config.Requests.Timeout)
		defer cancel()
		at, err := p.lookUp(ctx)
		if err == nil {
			return at, nil
		}
		f := &failure{cause: err, rests: true}
		if p.at.Load() == nil {
			// Here: those whose tokens need it may not wait for it to end.
			p.pause.count(f, p.now())
		}
		return nil, f
	})
	select {
	case result := <-landed:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*endpoint), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the issuer's metadata: %w", context.Cause(ctx))
	}
}

// lookUp finds the endpoint in the metadata.
func (p *Provider) lookUp(ctx context.Context) (*endpoint, error) {
	document, err := p.server.Discover(ctx)
	if err != nil {
		return nil, err
	}
	name, found := "introspection_endpoint", document.Introspection
	if p.config.Method == Userinfo {
		name, found = "userinfo_endpoint", document.Userinfo
	}
	if found == "" {
		return nil, fmt.Errorf("the issuer's metadata has no %q", name)
	}
	if _, err := outbound.ParseURL(found, p.config.Requests.PlainHTTPHosts); err != nil {
		return nil, fmt.Errorf("%q of the issuer's metadata: %w", name, err)
	}
	at := p.at.Load()
	if at == nil || at.url != found {
		at = &endpoint{url: found, client: p.server.Found()}
		p.at.Store(at)
		p.config.Logger.Info("endpoint found", "issuer", p.config.Issuer, "endpoint", outbound.Shown(found))
	}
	return at, nil
}

const rediscoverInterval = time.Hour

// keepDiscovering finds out about the endpoint, as long as that takes, and looks
// now and then whether it has moved. The last one known stays while no other is.
func (p *Provider) keepDiscovering() {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = time.Second
	wait.MaxInterval = time.Minute
	var last string
	for {
		_, err := p.discover(p.life)
		next := rediscoverInterval
		if err == nil {
			last = ""
			wait.Reset()
		} else if !p.closed.Load() {
			next = wait.NextBackOff()
			if text := err.Error(); text != last {
				last = text // a lasting fault is logged once
				p.config.Logger.Error("endpoint not found", "issuer", p.config.Issuer, slog.Any("error", err))
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-p.life.Done():
			timer.Stop()
			return
		}
	}
}
