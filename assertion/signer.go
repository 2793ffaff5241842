package assertion

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/maypok86/otter/v2"

	"github.com/mcpauth-go/mcpauth"
)

const (
	tokenType = "at+jwt" // RFC 9068, section 2.1

	// maxKept bounds the tokens that are kept to be used again.
	maxKept = 10_000
	// maxActors bounds how long a chain of actors is passed on.
	maxActors = 8
)

// Signer signs tokens, and is the http.Handler that serves the keys to verify
// them with. It is safe for concurrent use.
type Signer struct {
	config Config
	keys   atomic.Pointer[keys]
	kept   *otter.Cache[purpose, *signed]

	current, next *key              // of keys made here; the goroutine's, after Start
	digest        [sha256.Size]byte // of KeyFile as it was read last, likewise

	lifecycle sync.Mutex
	started   bool
	closed    atomic.Bool
	stop      context.CancelFunc
	stopped   sync.WaitGroup
}

var _ interface {
	mcpauth.Lifecycle
	http.Handler
} = (*Signer)(nil)

// purpose is what one token is used again for. An Identity is one credential's:
// a token of the same user with fewer scopes is another.
type purpose struct {
	identity *mcpauth.Identity
	audience string
}

type signed struct {
	token mcpauth.Secret
	key   *key
	until time.Time // half of its life
}

// New returns a Signer for c. The error, a *mcpauth.ConfigError, has everything
// that is wrong with c and with the keys of its file. The Signer signs at once;
// Issuer returns Config.Issuer.
func (s *Signer) Issuer() string { return s.config.Issuer }

// Start begins to rotate its keys, and Close must follow New in any case.
func New(c Config) (*Signer, error) {
	c = c.withDefaults()
	s := &Signer{config: c}
	faults := c.faults()
	var err error
	if c.KeyFile != "" {
		if err = s.read(); err != nil {
			faults = append(faults, mcpauth.Fault{Field: "KeyFile", Problem: err.Error(), Expected: "private keys in PEM or a JWK Set, the one that signs first"})
		}
	} else if err = s.make(); err != nil {
		faults = append(faults, mcpauth.Fault{Field: "KeyFile", Problem: "no key could be made in its stead: " + err.Error()})
	}
	if len(faults) > 0 {
		return nil, &mcpauth.ConfigError{Package: "assertion", Faults: faults}
	}
	s.kept = otter.Must(&otter.Options[purpose, *signed]{
		MaximumSize:      maxKept,
		ExpiryCalculator: otter.ExpiryWriting[purpose, *signed](c.Lifetime),
	})
	return s, nil
}

// Start begins to replace keys that were made here, or to read KeyFile again. It
// returns at once; ctx bounds nothing after that. It is an error to start twice
// or after Close.
func (s *Signer) Start(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.started || s.closed.Load() {
		return errors.New("assertion: the signer has been started or closed before")
	}
	s.started = true
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	keep := s.rotate
	if s.config.KeyFile != "" {
		keep = s.watch
	}
	s.stopped.Go(func() { keep(ctx) })
	return nil
}

// Close ends what Start has begun, and forgets tokens. From then on, Sign fails;
// the keys are still served, to verify what is on its way.
func (s *Signer) Close() error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.closed.Swap(true) {
		return nil
	}
	if s.stop != nil {
		s.stop()
		s.stopped.Wait()
	}
	s.kept.InvalidateAll()
	s.kept.StopAllGoroutines()
	return nil
}

// make makes the first two keys.
func (s *Signer) make() (err error) {
	if s.current, err = generate(); err != nil {
		return err
	}
	if s.next, err = generate(); err != nil {
		return err
	}
	k, err := publish(s.current, s.next)
	s.keys.Store(k)
	return err
}

// rotate replaces keys that were made here.
func (s *Signer) rotate(ctx context.Context) {
	due := time.NewTicker(s.config.RotationInterval)
	defer due.Stop()
	var retire <-chan time.Time
	for {
		var k *keys
		var err error
		select {
		case <-ctx.Done():
			return
		case <-due.C:
			var after *key
			if after, err = generate(); err == nil {
				before := s.current
				s.current, s.next = s.next, after
				k, err = publish(s.current, s.next, before)
				retire = time.After(s.config.Lifetime + grace)
			}
		case <-retire:
			retire = nil
			k, err = publish(s.current, s.next)
		}
		if err != nil {
			s.config.Logger.LogAttrs(ctx, slog.LevelError, "assertion keys not rotated, those in use stay", slog.Any("error", err))
			continue
		}
		if before := s.keys.Swap(k); before.signing != k.signing {
			s.logRotation(ctx, k)
		}
	}
}

// watch reads the file of keys again.
func (s *Signer) watch(ctx context.Context) {
	ticker := time.NewTicker(s.config.ReloadInterval)
	defer ticker.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		before := s.keys.Load()
		if err := s.read(); err == nil {
			last = ""
		} else if text := err.Error(); text != last {
			last = text // a lasting fault is logged once
			s.config.Logger.LogAttrs(ctx, slog.LevelError, "assertion keys not reloaded, those in use stay", slog.Any("error", err))
		}
		if k := s.keys.Load(); k != before {
			s.logRotation(ctx, k)
		}
	}
}

func (s *Signer) logRotation(ctx context.Context, k *keys) {
	s.config.Logger.LogAttrs(ctx, slog.LevelInfo, "assertion keys replaced", slog.String("kid", k.signing.public.KeyID))
}

// read takes the keys of the file, if it has changed.
func (s *Signer) read() error {
	text, err := readFile(s.config.KeyFile)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(text)
	if s.keys.Load() != nil && digest == s.digest {
		return nil
	}
	list, err := parse(text)
	if err != nil {
		return err
	}
	k, err := publish(list...)
	if err != nil {
		return err
	}
	s.digest = digest
	s.keys.Store(k)
	return nil
}

// Sign returns a token that tells audience who id is. The same one is returned
// for half of its life. The error is a *mcpauth.Error: ErrExpired when the user's
// own credential has ended, ErrForbidden for a user who is not of
// Config.SubjectIssuer, ErrUnavailable for an audience that is not among
// Config.Audiences, after Close, and where id holds what cannot be said.
func (s *Signer) Sign(id *mcpauth.Identity, audience string) (mcpauth.Secret, error) {
	switch {
	case s.closed.Load():
		return fail("the signer is closed")
	case id == nil:
		return fail("there is no identity")
	case !slices.Contains(s.config.Audiences, audience):
		return fail(fmt.Sprintf("audience %.200q is not among the configured ones", audience))
	case s.config.SubjectIssuer != "" && id.Issuer() != s.config.SubjectIssuer:
		return mcpauth.Secret{}, &mcpauth.Error{Code: mcpauth.ErrForbidden, Message: "This service is not open to users of this issuer.",
			Cause: fmt.Errorf("assertion: issuer %.200q is not %q", id.Issuer(), s.config.SubjectIssuer)}
	case s.config.SubjectIssuer != "" && id.Tenant() != "":
		return fail("with Config.SubjectIssuer, users are named by their id, which may be another's in another tenant")
	}
	now, key, p := time.Now(), s.keys.Load().signing, purpose{id, audience}
	if !id.Expiry().IsZero() && id.Expiry().Unix() <= now.Unix() {
		return mcpauth.Secret{}, errExpired
	}
	if kept, ok := s.kept.GetIfPresent(p); ok && kept.key == key && now.Before(kept.until) {
		return kept.token, nil
	}
	c, err := s.claims(id, audience, now)
	if err != nil {
		return fail(err.Error())
	}
	// Unlike encoding/json, this refuses what is not UTF-8 rather than change it:
	// two users must not become one.
	payload, err := json.Marshal(c)
	if err != nil {
		return fail("the identity holds what is no text")
	}
	object, err := key.signer.Sign(payload)
	if err != nil {
		return fail("signing failed")
	}
	text, err := object.CompactSerialize()
	if err != nil {
		return fail("signing failed")
	}
	kept := &signed{mcpauth.NewSecret(text), key, now.Add(time.Duration(c.Expiry-c.IssuedAt) * time.Second / 2)}
	s.kept.Set(p, kept)
	return kept.token, nil
}

var errExpired = &mcpauth.Error{Code: mcpauth.ErrExpired, Message: "The credential has expired. Please refresh it."}

func fail(why string) (mcpauth.Secret, error) {
	return mcpauth.Secret{}, &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The server cannot vouch for the user now.", Cause: errors.New("assertion: " + why)}
}

type claims struct {
	Issuer    string         `json:"iss"`
	Subject   string         `json:"sub"`
	SubjectID subjectID      `json:"sub_id"`
	Tenant    string         `json:"tenant,omitempty"`
	Audience  string         `json:"aud"`
	IssuedAt  int64          `json:"iat"`
	Expiry    int64          `json:"exp"`
	ID        string         `json:"jti"`
	ClientID  string         `json:"client_id"`
	Scope     string         `json:"scope,omitempty"`
	Actor     jsontext.Value `json:"act,omitempty"`
}

// subjectID is a subject identifier in the format of RFC 9493, section 3.2.3.
type subjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

func (s *Signer) claims(id *mcpauth.Identity, audience string, now time.Time) (claims, error) {
	c := claims{
		Issuer:    s.config.Issuer,
		Subject:   id.UserID(),
		SubjectID: subjectID{"iss_sub", id.Issuer(), id.UserID()},
		Tenant:    id.Tenant(),
		Audience:  audience,
		IssuedAt:  now.Unix(),
		Expiry:    now.Unix() + int64(s.config.Lifetime/time.Second),
		ID:        rand.Text(),
		ClientID:  s.config.Issuer,
	}
	if s.config.SubjectIssuer == "" {
		sum := sha256.Sum256([]byte(id.Principal()))
		c.Subject = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if !id.Expiry().IsZero() {
		c.Expiry = min(c.Expiry, id.Expiry().Unix())
	}
	// In an array, as some issuers have it, a scope may hold a space, which here
	// would make two of it.
	c.Scope = strings.Join(slices.DeleteFunc(id.Scopes(), func(scope string) bool { return !mcpauth.ValidScope(scope) }), " ")
	told := id.Metadata()
	for _, name := range []string{"client_id", "azp", "cid", "appid"} {
		var client string
		if json.Unmarshal(told[name], &client) == nil && client != "" {
			c.ClientID = client
			break
		}
	}
	if act := told["act"]; act != nil {
		var err error
		if c.Actor, err = actor([]byte(act), id.Issuer(), maxActors); err != nil {
			return claims{}, err
		}
	}
	return c, nil
}

// actor returns act with the issuer of the token that it is from at each actor
// who names none: a "sub" alone is one of the token's own issuer (RFC 8693,
// section 4.1), which from here on is another. What is no actor is not left out,
// since the call would then seem to be the user's own.
func actor(act []byte, issuer string, depth int) ([]byte, error) {
	var members map[string]jsontext.Value
	if depth == 0 || json.Unmarshal(act, &members) != nil || members == nil {
		return nil, errors.New(`"act" of the user's token is not a chain of actors that can be passed on`)
	}
	if _, named := members["iss"]; !named {
		quoted, err := json.Marshal(issuer)
		if err != nil {
			return nil, err
		}
		members["iss"] = quoted
	}
	if before, ok := members["act"]; ok {
		var err error
		if members["act"], err = actor(before, issuer, depth-1); err != nil {
			return nil, err
		}
	}
	return json.Marshal(members, json.Deterministic(true))
}

// ServeHTTP serves the public keys, as a JWK Set.
func (s *Signer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(maxAge/time.Second)))
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.keys.Load().set))
}
