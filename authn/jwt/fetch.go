package jwt

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/internal/claim"
	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/keyset"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
)

// JWKSURL is a JWK Set that the issuer publishes at url, fetched and kept fresh
// after Start. Keys of the set that cannot be used are left out, and logged.
func JWKSURL(url string) KeySource {
	return KeySource{form: formURL, url: url, name: "key set at " + outbound.Shown(url)}
}

// Discover is the JWK Set that the issuer's metadata names, which is looked for
// at "{issuer}/.well-known/openid-configuration" (OpenID Connect Discovery 1.0)
// and at "/.well-known/oauth-authorization-server" (RFC 8414). The metadata
// must name the issuer exactly as Issuer.Name does, down to a slash at the end.
// For an issuer with Tenants, see DiscoverAt.
func Discover() KeySource { return KeySource{form: formMetadata, name: "the issuer's metadata"} }

// DiscoverAt is Discover with metadata at a URL that the issuer's name does not
// lead to. With Tenants, it is the metadata of all of them, such as that of
// ".../common/v2.0" of Entra ID, and must name the issuer as Issuer.Name does,
// with "{tenantid}" in place of "{tenant}".
func DiscoverAt(metadataURL string) KeySource {
	return KeySource{form: formMetadata, url: metadataURL, name: "metadata at " + outbound.Shown(metadataURL)}
}

// Fetch says how keys are fetched. Fetches go on in the background: as long as
// a token's key is known, no request waits for one.
//
// The URLs of a configuration may lead into a private network, except to
// link-local addresses; "jwks_uri" in the issuer's metadata may lead to public
// addresses, or to a host and port of the configuration. Redirects are followed
// on https and on the same host. The proxy is that of the environment
// (HTTPS_PROXY, NO_PROXY).
type Fetch struct {
	// Timeout bounds a fetch, metadata included, and how long a request waits
	// for one. Default 5 s, at most a minute.
	Timeout time.Duration
	// RefreshInterval is how long a set is used, at most, before it is
	// fetched again: so late a removed key ends. A shorter max-age of the
	// issuer's, down to a minute, shortens it. Default 10 minutes.
	RefreshInterval time.Duration
	// Cooldown is the least time between fetches for the sake of keys that
	// are not known, so that invented ones cost the issuer nothing. Default
	// 10 s, at most 5 minutes.
	Cooldown time.Duration
	// MaxStale is how old the last good set may become while no other can be
	// fetched. Past it, the issuer's tokens are refused with ErrUnavailable.
	// Default 24 h.
	MaxStale time.Duration
	// CAFile has certificate authorities in PEM, to be trusted beside those of
	// the system. It is read by New.
	CAFile string
	// PlainHTTPHosts are hosts, each with or without a port, that may be asked
	// over plain http, as loopback may. Whoever is between them and this server
	// can put keys of their own in place of the issuer's.
	PlainHTTPHosts []string

	transport http.RoundTripper // of tests
	roots     *x509.CertPool
	rootsErr  error
}

const (
	defaultFetchTimeout    = 5 * time.Second
	defaultRefreshInterval = 10 * time.Minute
	defaultCooldown        = 10 * time.Second
	defaultMaxStale        = 24 * time.Hour
)

func (f Fetch) withDefaults() Fetch {
	f.Timeout = cmp.Or(f.Timeout, defaultFetchTimeout)
	f.RefreshInterval = cmp.Or(f.RefreshInterval, defaultRefreshInterval)
	f.Cooldown = cmp.Or(f.Cooldown, defaultCooldown)
	f.MaxStale = cmp.Or(f.MaxStale, defaultMaxStale)
	f.PlainHTTPHosts = slices.Clone(f.PlainHTTPHosts)
	if f.CAFile != "" {
		f.roots, f.rootsErr = outbound.Roots(f.CAFile)
	}
	return f
}

func (f Fetch) faults() []mcpauth.Fault {
	var faults []mcpauth.Fault
	for _, d := range []struct {
		field            string
		value, low, high time.Duration
	}{
		{"Timeout", f.Timeout, 10 * time.Millisecond, time.Minute},
		{"RefreshInterval", f.RefreshInterval, time.Second, 24 * time.Hour},
		{"Cooldown", f.Cooldown, time.Second, 5 * time.Minute},
		{"MaxStale", f.MaxStale, max(time.Second, f.RefreshInterval), 30 * 24 * time.Hour},
	} {
		if d.value < d.low || d.value > d.high {
			faults = append(faults, mcpauth.Fault{Field: "Fetch." + d.field, Problem: fmt.Sprintf("found %s", d.value),
				Expected: fmt.Sprintf("between %s and %s", d.low, d.high)})
		}
	}
	if f.rootsErr != nil {
		faults = append(faults, mcpauth.Fault{Field: "Fetch.CAFile", Problem: fmt.Sprintf("file %s: %v", shownPath(f.CAFile), f.rootsErr),
			Expected: "certificates in PEM"})
	}
	for i, host := range f.PlainHTTPHosts {
		if err := outbound.CheckHost(host); err != nil {
			faults = append(faults, mcpauth.Fault{Field: fmt.Sprintf("Fetch.PlainHTTPHosts[%d]", i), Problem: err.Error(),
				Expected: `a host or host:port, such as "keycloak:8080"`})
		}
	}
	return faults
}

// fetches reports whether keys of iss come over the network.
func (iss Issuer) fetches() bool { return slices.ContainsFunc(iss.Keys, KeySource.isFetched) }

func (s KeySource) isFetched() bool { return s.form == formURL || s.form == formMetadata }

// fetchFaults returns what is wrong with where the keys of iss are fetched.
func (iss *issuer) fetchFaults(field string, f Fetch) []mcpauth.Fault {
	var faults []mcpauth.Fault
	add := func(field, problem, expected string) {
		faults = append(faults, mcpauth.Fault{Field: field, Problem: problem, Expected: expected})
	}
	if len(iss.Keys) > 1 {
		add(field+".Keys", "a source that is fetched beside others", "that source alone, or static ones")
	}
	for i, alg := range iss.Algorithms {
		if alg.Symmetric() {
			add(fmt.Sprintf("%s.Algorithms[%d]", field, i), fmt.Sprintf("%s with fetched keys", alg), "algorithms with public keys: a published secret is none")
		}
	}
	for i, s := range iss.Keys {
		if !s.isFetched() {
			continue
		}
		at := fmt.Sprintf("%s.Keys[%d]", field, i)
		if s.encoding != "" {
			add(at, s.name+": an encoding is given", "an encoding with secrets only")
		}
		const expected = "an https URL (http on loopback and for Fetch.PlainHTTPHosts)"
		if s.form == formMetadata && s.url == "" {
			if iss.isPattern() {
				add(at, "the issuer has Tenants, each with metadata of its own", "DiscoverAt with the metadata of all tenants, or another source")
			} else if err := outbound.CheckURL(iss.Name, f.PlainHTTPHosts); err != nil {
				add(at, fmt.Sprintf("the issuer's name leads to no metadata: %v", err), expected+" as the issuer's Name, or DiscoverAt")
			} else if strings.ContainsRune(iss.Name, '?') {
				add(at, "the issuer's name leads to no metadata: it has a query", "a Name without one, or DiscoverAt")
			}
		} else if err := outbound.CheckURL(s.url, f.PlainHTTPHosts); err != nil {
			add(at, fmt.Sprintf("%s: %v", s.name, err), expected)
		}
	}
	return faults
}

// fetched is what an issuer has whose keys are fetched.
type fetched struct {
	source *keyset.Source
	// at is when the fetch of the keys in use began, in seconds since 1970. It
	// is written after the keys.
	at      atomic.Int64
	skipped atomic.Pointer[[]string] // why keys of the set are not used
}

// noKeys is the set of an issuer whose keys are not there.
var noKeys, _ = jwk.NewSet(nil)

func (p *Provider) newSource(iss *issuer) {
	f, from := p.config.Fetch, iss.Keys[0]
	c := keyset.Config{
		Issuer:          iss.template(),
		Accept:          func(document []byte, began time.Time) error { return p.accept(iss, document, began) },
		Expire:          func() { p.setKeys(iss, &keys{issuer: iss, set: noKeys}) },
		Timeout:         f.Timeout,
		RefreshInterval: f.RefreshInterval,
		Cooldown:        f.Cooldown,
		MaxStale:        f.MaxStale,
		Roots:           f.roots,
		PlainHTTPHosts:  f.PlainHTTPHosts,
		Logger:          p.config.Logger.With("issuer", iss.Name),
		Transport:       f.transport,
	}
	switch {
	case from.form == formURL:
		c.URL = from.url
	case from.url != "":
		c.Metadata = []string{from.url}
	default:
		c.Metadata = keyset.MetadataURLs(iss.Name)
	}
	iss.fetched.source = keyset.New(c)
	iss.fetched.skipped.Store(new([]string))
}

// accept takes a fetched set in place of the present one. As long as the
// usable keys are the same, so is the state of keys that cached results rest
// on, in whatever order and company the issuer writes them.
func (p *Provider) accept(iss *issuer, document []byte, began time.Time) error {
	set, skipped, err := jwk.ParseFetched(document, iss.Algorithms)
	if err != nil {
		if len(skipped) > 0 {
			err = fmt.Errorf("%w: %s", err, shownSome(texts(skipped)))
		}
		return fmt.Errorf("key set: %w", err)
	}
	present := iss.keys.Load()
	added, removed := set.Without(present.set), present.set.Without(set)
	of := reserved{}
	iss.reserve(of, document)
	why := texts(skipped)
	if changed := len(added)+len(removed) > 0 || !maps.Equal(of, present.reserved); changed || !slices.Equal(why, *iss.fetched.skipped.Load()) {
		if changed {
			p.setKeys(iss, &keys{issuer: iss, set: set, reserved: of})
		}
		iss.fetched.skipped.Store(&why)
		p.config.Logger.LogAttrs(context.Background(), slog.LevelInfo, "keys fetched", slog.String("issuer", iss.Name), slog.Int("keys", set.Len()),
			slog.String("added", shownKeys(added)), slog.String("removed", shownKeys(removed)), slog.String("skipped", shownSome(why)))
	}
	iss.fetched.at.Store(began.Unix())
	return nil
}

// setKeys puts next in the place of the issuer's keys, and reports whether they are
// others. Tokens may no longer stand if keys are gone or have become a tenant's own.
func (p *Provider) setKeys(iss *issuer, next *keys) bool {
	present := iss.keys.Swap(next)
	if present == next {
		return false
	}
	p.generation.Add(1)
	if len(present.set.Without(next.set)) > 0 || !maps.Equal(present.reserved, next.reserved) {
		p.standing.Tell(struct{}{})
	}
	return true
}

func texts(errs []error) []string {
	list := make([]string, len(errs))
	for i, err := range errs {
		list[i] = err.Error()
	}
	return list
}

func shownKeys(keys []jwk.Key) string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = fmt.Sprintf("%.64q (%s)", k.ID, k.Algorithm())
	}
	return shownSome(list)
}

// shownSome bounds what the issuer can make this server write to its log.
func shownSome(list []string) string {
	const most = 10
	if len(list) > most {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(list, "; ")
}

// mayServe reports whether alg is one that a key could be fetched for.
func (iss *issuer) mayServe(alg Algorithm) bool {
	return iss.fetched != nil && !alg.Symmetric() && (len(iss.Algorithms) == 0 || slices.Contains(iss.Algorithms, alg))
}

// lacking says that a token, right in all that can be told without its key, is
// signed with a key that is not there now. It never leaves this package.
type lacking struct {
	issuer   *issuer
	keys     *keys      // that the key is not among
	fetched  int64      // when the last fetch began that brought these keys
	issuedAt claim.Date // of the token
	refusal  error      // for when the issuer does not have the key
}

func (l *lacking) Error() string { return "a key that is not known now" }

// lack returns a *lacking for a token whose key is not among k.
func (iss *issuer) lack(k *keys, issuedAt claim.Date, refusal error) error {
	l := &lacking{issuer: iss, keys: k, fetched: iss.fetched.at.Load(), issuedAt: issuedAt, refusal: refusal}
	if !k.current() {
		return errKeysChanged // the time may be that of the new ones
	}
	return l
}

// awaitKey has the issuer's keys fetched and verifies a token again.
func (p *Provider) awaitKey(ctx context.Context, token string, l *lacking) (*mcpauth.Identity, error) {
	source := l.issuer.fetched.source
	if l.keys.set == noKeys {
		// With Start, they are being fetched for as long as it takes.
		return nil, l.answer(false, source.RetryAfter(), errNoKeys)
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Fetch.Timeout)
	defer cancel()
	// The first fetch may be one that was under way when the token came, and
	// too early for its key.
	for range 2 {
		fresh, failure := source.Refetch(ctx)
		id, err := p.verifyAgain(token, l)
		var lacks bool
		if l, lacks = err.(*lacking); !lacks {
			return id, err
		}
		if failure != nil {
			return nil, l.answer(false, source.RetryAfter(), failure)
		}
		if fresh {
			return nil, l.answer(true, source.RetryAfter(), errNoKeys)
		}
	}
	return nil, l.answer(false, source.RetryAfter(), errTooEarly)
}

// verifyAgain verifies a token that has found its key lacking, if there are
// other keys now. The result may be shared with a request that looked before
// them, hence the loop.
func (p *Provider) verifyAgain(token string, l *lacking) (*mcpauth.Identity, error) {
	for {
		if now, same := l.issuer.lack(l.keys, l.issuedAt, l.refusal).(*lacking); same {
			return nil, now
		}
		id, err := p.verifyNow(token)
		next, lacks := err.(*lacking)
		if !lacks {
			return id, err
		}
		l = next
	}
}

// answer decides between "there is no such key" and "ask again". A key that is
// not in a set which was fetched after the token was issued is none of the
// issuer's: who signs publishes the key first. fresh says that the fetch began
// after the token came, which is proof of that whatever the clocks say.
// Otherwise the key may be a new one, and a client that was told to log in
// again would do so for nothing.
func (l *lacking) answer(fresh bool, retryAfter time.Duration, cause error) error {
	if l.keys.set != noKeys && (fresh || l.issuedAt.Set && l.fetched > l.issuedAt.Seconds) {
		return l.refusal
	}
	return &mcpauth.Error{Code: mcpauth.ErrUnavailable, Message: "The keys to verify the token are not available now. Please try again later.",
		RetryAfter: retryAfter, Cause: fmt.Errorf("issuer %q: %w (%v)", l.issuer.Name, cause, errors.Unwrap(l.refusal))}
}

var (
	errNoKeys   = errors.New("no keys have been fetched, or they are too old")
	errTooEarly = errors.New("the keys were fetched before the token came")
)

// Ready returns nil when there are keys of every issuer, and else an error that
// names those without. It is for a readiness probe.
func (p *Provider) Ready() error {
	if p.closed.Load() {
		return errors.New("jwt: closed")
	}
	var without []string
	for _, iss := range p.order {
		if iss.keys.Load().set == noKeys {
			without = append(without, iss.Name)
		}
	}
	if len(without) > 0 {
		return fmt.Errorf("jwt: no keys of %q", without)
	}
	return nil
}

// refetchAll fetches the keys of all issuers that have them fetched.
func (p *Provider) refetchAll() error {
	var group sync.WaitGroup
	failures := make([]error, len(p.order))
	for i, iss := range p.order {
		if f := iss.fetched; f != nil {
			group.Go(func() {
				if err := f.source.Fetch(context.Background()); err != nil {
					failures[i] = fmt.Errorf("jwt: issuer %q: %w", iss.Name, err)
				}
			})
		}
	}
	group.Wait()
	return errors.Join(failures...)
}

// KeySetStats is what has become of an issuer's fetched keys.
type KeySetStats struct {
	Issuer   string
	Fetches  uint64        // that brought a set
	Failures uint64        // fetches that failed
	Keys     int           // in use now
	Skipped  int           // of the set, and not usable
	Age      time.Duration // since the keys were last fetched; 0 without any
}

func (iss *issuer) keySetStats() KeySetStats {
	of := iss.fetched.source.Stats()
	s := KeySetStats{Issuer: iss.Name, Fetches: of.Succeeded, Failures: of.Failed,
		Keys: iss.keys.Load().set.Len(), Skipped: len(*iss.fetched.skipped.Load())}
	if s.Keys > 0 {
		s.Age = max(0, time.Since(of.Fetched))
	}
	return s
}
