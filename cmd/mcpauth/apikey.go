package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/apikey"
	"github.com/mcpauth-go/mcpauth/authn/apikey/postgres"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlite"
	"github.com/mcpauth-go/mcpauth/authn/apikey/sqlstore"
)

type apikeyCommand struct {
	Create apikeyCreate `cmd:"" help:"Make a key and print it, this once."`
	List   apikeyList   `cmd:"" help:"List keys, by how they begin and a fingerprint."`
	Revoke apikeyRevoke `cmd:"" help:"End a key."`
	Rotate apikeyRotate `cmd:"" help:"Replace a key by another of the same owner, name, scopes and rate, and print that, this once."`
}

// keyStore is how a command reaches the keys.
type keyStore struct {
	DB              string `name:"db" type:"path" placeholder:"FILE" help:"SQLite database. \"create\" makes it where there is none."`
	PostgresURLEnv  string `name:"postgres-url-env" placeholder:"VAR" help:"Environment variable with the URL of a PostgreSQL database."`
	PostgresURLFile string `name:"postgres-url-file" type:"path" placeholder:"FILE" help:"File with the URL of a PostgreSQL database."`
	JSON            bool   `name:"json" help:"Write JSON, an object a line."`
}

// Validate says what is wrong with the flags together.
func (c keyStore) Validate() error {
	return oneOf("--db, --postgres-url-env or --postgres-url-file",
		flag{"--db", c.DB != ""}, flag{"--postgres-url-env", c.PostgresURLEnv != ""}, flag{"--postgres-url-file", c.PostgresURLFile != ""})
}

// databaseTimeout is how long a database has for a command.
const databaseTimeout = 30 * time.Second

// do calls use with the keys, which are made room for if create says so.
func (c keyStore) do(ctx context.Context, create bool, use func(context.Context, *sqlstore.Store) error) error {
	ctx, cancel := context.WithTimeout(ctx, databaseTimeout)
	defer cancel()
	store, err := c.open(ctx, create)
	if err != nil {
		return err
	}
	err = use(ctx, store)
	return errors.Join(err, store.Close())
}

func (c keyStore) open(ctx context.Context, create bool) (*sqlstore.Store, error) {
	if c.DB != "" {
		if _, err := os.Stat(c.DB); errors.Is(err, fs.ErrNotExist) && !create {
			return nil, usageError{fmt.Errorf("--db: there is no %s", c.DB)}
		}
		return sqlite.Open(ctx, c.DB)
	}
	var url string
	if c.PostgresURLEnv != "" {
		if url = os.Getenv(c.PostgresURLEnv); url == "" {
			// Not shown: it may be the URL itself.
			return nil, usageError{errors.New("--postgres-url-env: no such variable is set: give the name of one, such as KEYS_URL")}
		}
	} else {
		text, err := os.ReadFile(c.PostgresURLFile)
		if err != nil {
			return nil, usageError{fmt.Errorf("--postgres-url-file: %w", err)}
		}
		url = strings.TrimSpace(string(text))
	}
	return postgres.Open(ctx, mcpauth.NewSecret(url))
}

// explainKey says what to do about err.
func explainKey(id string, err error) error {
	var config *mcpauth.ConfigError
	switch {
	case errors.Is(err, apikey.ErrNotFound):
		return fmt.Errorf("there is no key with the id %q: see \"mcpauth apikey list\"", id)
	case errors.Is(err, apikey.ErrNotGood):
		return fmt.Errorf("the key %q has expired, is revoked or has been replaced: make a new one with \"mcpauth apikey create\"", id)
	case errors.As(err, &config):
		flags := map[string]string{"UserID": "--user", "Tenant": "--tenant", "Name": "--name", "Expires": "--expires", "Rate": "--rate", "Prefix": "--prefix", "Grace": "--grace"}
		var all []string
		for _, f := range config.Faults {
			if name, ok := flags[f.Field]; ok {
				f.Field = name
			} else if strings.HasPrefix(f.Field, "Scopes") {
				f.Field = "--scope"
			}
			all = append(all, f.String())
		}
		return usageError{errors.New(strings.Join(all, "\n  "))}
	}
	return err
}

// listedKey is a key as it is listed, which has nothing of the key itself but
// how it begins.
type listedKey struct {
	ID          string     `json:"id"`
	User        string     `json:"user"`
	Tenant      string     `json:"tenant,omitempty"`
	Name        string     `json:"name,omitempty"`
	Hint        string     `json:"begins"`
	Fingerprint string     `json:"fingerprint"`
	Scopes      []string   `json:"scopes"`
	Rate        string     `json:"rate,omitempty"`
	State       string     `json:"state"`
	Created     time.Time  `json:"created"`
	Expires     *time.Time `json:"expires"`
	LastUsed    *time.Time `json:"lastUsed"`
	Revoked     *time.Time `json:"revoked"`
	ReplacedBy  string     `json:"replacedBy,omitempty"`
	Key         string     `json:"key,omitempty"` // of create and rotate only
}

func listed(k *apikey.Key, now time.Time) listedKey {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	l := listedKey{ID: k.ID, User: k.UserID, Tenant: k.Tenant, Name: k.Name, Hint: k.Hint, Fingerprint: k.Fingerprint(), Scopes: k.Scopes,
		State: k.State(now), Created: k.Created, Expires: at(k.Expires), LastUsed: at(k.LastUsed), Revoked: at(k.Revoked), ReplacedBy: k.ReplacedBy}
	if l.Scopes == nil {
		l.Scopes = []string{}
	}
	if k.Rate != (apikey.Rate{}) {
		l.Rate = fmt.Sprintf("%d/%s", k.Rate.Requests, k.Rate.Per)
	}
	return l
}

// sentence says all of it in a line.
func (l listedKey) sentence() string {
	text := fmt.Sprintf("%s %s… user %q", l.ID, l.Hint, l.User)
	if l.Tenant != "" {
		text += fmt.Sprintf(" of tenant %q", l.Tenant)
	}
	if l.Name != "" {
		text += fmt.Sprintf(", name %q", l.Name)
	}
	text += ", " + l.State
	at := func(what string, t *time.Time) {
		if t != nil {
			text += ", " + what + " " + t.UTC().Format(time.RFC3339)
		}
	}
	if len(l.Scopes) > 0 {
		text += ", scopes " + strings.Join(l.Scopes, " ")
	}
	if l.Rate != "" {
		text += ", rate " + l.Rate
	}
	text += ", fingerprint " + l.Fingerprint
	at("created", &l.Created)
	at("expires", l.Expires)
	at("last used", l.LastUsed)
	at("revoked", l.Revoked)
	if l.ReplacedBy != "" {
		text += ", replaced by " + l.ReplacedBy
	}
	return text
}

// show prints a key, alone on the standard output, and what is to be known of
// it beside.
func (c keyStore) show(std streams, secret mcpauth.Secret, k *apikey.Key, more string) error {
	l := listed(k, time.Now())
	if c.JSON {
		l.Key = secret.Reveal()
		return json.NewEncoder(std.out).Encode(l)
	}
	if _, err := fmt.Fprintln(std.out, secret.Reveal()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(std.err, "made: %s\nThis is the key, and nobody can show it again.%s\n", l.sentence(), more)
	return err
}

type apikeyCreate struct {
	keyStore
	User      string         `required:"" help:"The owner's id."`
	Tenant    string         `help:"The owner's tenant, where ids are unique within a tenant only."`
	Name      string         `help:"What the key is for, for the list."`
	Scope     []string       `sep:" " placeholder:"SCOPE" help:"Scope that the key grants, or several in quotes. May be repeated."`
	ExpiresIn *time.Duration `xor:"end" placeholder:"DURATION" help:"How long the key lives, such as 90d. Default: it has no end."`
	Expires   time.Time      `xor:"end" placeholder:"TIME" help:"When the key ends, such as 2027-01-01T00:00:00Z."`
	Rate      string         `placeholder:"N/DURATION" help:"Requests that it is good for in a time, such as 100/1m. Default: as many as its owner may."`
	Prefix    string         `default:"sk_" help:"How the key begins (${default}), as the server has it."`
}

func (c apikeyCreate) Run(ctx context.Context, std streams) error {
	rate, err := parseRate(c.Rate)
	if err != nil {
		return usageError{err}
	}
	spec := apikey.Spec{UserID: c.User, Tenant: c.Tenant, Name: c.Name, Scopes: c.Scope, Expires: c.Expires, Rate: rate, Prefix: c.Prefix}
	if err := spacedScopes(c.Scope); err != nil {
		return usageError{err}
	}
	if c.ExpiresIn != nil {
		if spec.Expires, err = endIn(*c.ExpiresIn); err != nil {
			return usageError{err}
		}
	}
	if _, _, err := apikey.Generate(spec); err != nil { // before a database is made for nothing
		return explainKey("", err)
	}
	return c.do(ctx, true, func(ctx context.Context, store *sqlstore.Store) error {
		secret, k, err := store.Create(ctx, spec)
		if err != nil {
			return err
		}
		more := ""
		if c.Prefix != "sk_" {
			more = fmt.Sprintf("\nServers need apikey.Config{Prefix: %q} to take it.", c.Prefix)
		}
		return c.show(std, secret, k, more)
	})
}

// endIn returns the end of a key that lives for d.
func endIn(d time.Duration) (time.Time, error) {
	if d <= 0 {
		return time.Time{}, fmt.Errorf("--expires-in %s is in the past: the key would never be good", d)
	}
	return time.Now().Add(d), nil
}

// spacedScopes refuses "a,b", which is one scope by RFC 6749, section 3.3, and
// never the one that was meant.
func spacedScopes(scopes []string) error {
	for _, s := range scopes {
		if strings.Contains(s, ",") {
			return fmt.Errorf("--scope %q: scopes are separated by spaces", s)
		}
	}
	return nil
}

func parseRate(text string) (apikey.Rate, error) {
	if text == "" {
		return apikey.Rate{}, nil
	}
	n, per, _ := strings.Cut(text, "/")
	requests, errN := strconv.Atoi(n)
	duration, errPer := time.ParseDuration(per)
	if errN != nil || errPer != nil || requests < 1 || duration <= 0 {
		return apikey.Rate{}, fmt.Errorf("--rate %q is not like 100/1m", text)
	}
	return apikey.Rate{Requests: requests, Per: duration}, nil
}

type apikeyList struct {
	keyStore
	User string `help:"Only this owner's."`
}

func (c apikeyList) Run(ctx context.Context, std streams) error {
	out := bufio.NewWriter(std.out)
	err := c.do(ctx, false, func(ctx context.Context, store *sqlstore.Store) error {
		now := time.Now()
		for k, err := range store.All(ctx, c.User) {
			if err != nil {
				return err
			}
			if c.JSON {
				err = json.NewEncoder(out).Encode(listed(k, now))
			} else {
				_, err = fmt.Fprintln(out, listed(k, now).sentence())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, out.Flush())
}

type apikeyRevoke struct {
	keyStore
	ID string `arg:"" help:"The key's id, as in the list. (Not the key.)"`
}

func (c apikeyRevoke) Run(ctx context.Context, std streams) error {
	return c.do(ctx, false, func(ctx context.Context, store *sqlstore.Store) error {
		k, err := store.Revoke(ctx, c.ID)
		if err != nil {
			return explainKey(shownID(c.ID), err)
		}
		l := listed(k, time.Now())
		if c.JSON {
			return json.NewEncoder(std.out).Encode(l)
		}
		if _, err := fmt.Fprintln(std.out, "revoked: "+l.sentence()); err != nil {
			return err
		}
		_, err = fmt.Fprintln(std.err, seenLater(k.ID))
		return err
	})
}

// serverCache is how long servers remember a key, unless configured.
const serverCache = 5 * time.Minute

// seenLater says when running servers see the end of a key.
func seenLater(id string) string {
	return fmt.Sprintf("Servers see it when they look the key up again, within 5 minutes by default. At once:\n"+
		"  mcpauth revoke token --issuer %s --id %s --socket …", apikey.DefaultIssuer, id)
}

// shownID is the id, unless somebody has given the key instead.
func shownID(id string) string {
	if len(id) > 24 {
		return id[:4] + "…"
	}
	return id
}

type apikeyRotate struct {
	keyStore
	ID        string         `arg:"" help:"The key's id, as in the list. (Not the key.)"`
	Grace     time.Duration  `default:"24h" help:"How long the old key goes on (${default}). However short, servers that have seen the key may take it for 5 minutes from now by default; mcpauth revoke token ends it at once."`
	ExpiresIn *time.Duration `placeholder:"DURATION" help:"How long the new key lives. Default: as long as the old one was made for."`
}

func (c apikeyRotate) Run(ctx context.Context, std streams) error {
	r := apikey.Rotation{Grace: c.Grace}
	if c.ExpiresIn != nil {
		var err error
		if r.Expires, err = endIn(*c.ExpiresIn); err != nil {
			return usageError{err}
		}
	}
	return c.do(ctx, false, func(ctx context.Context, store *sqlstore.Store) error {
		secret, k, err := store.Rotate(ctx, c.ID, r)
		if err != nil {
			return explainKey(shownID(c.ID), err)
		}
		old, err := store.Get(ctx, c.ID)
		if err != nil {
			return err
		}
		more := fmt.Sprintf(" The old one, %s, ends %s.", old.ID, old.Expires.UTC().Format(time.RFC3339))
		if c.Grace < serverCache {
			more += "\n" + seenLater(old.ID)
		}
		return c.show(std, secret, k, more)
	})
}
