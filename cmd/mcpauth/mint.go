package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/mint"
)

type mintCommand struct {
	Alg            string        `help:"Algorithm, such as ES256. Default: the key's usual one."`
	Key            string        `group:"keys" type:"path" placeholder:"FILE" help:"Private key, PEM or JWK."`
	SecretEnv      string        `group:"keys" placeholder:"VAR" help:"Environment variable with a shared secret."`
	SecretEncoding string        `default:"raw" enum:"raw,base64,hex" help:"How the secret is written: raw, base64 or hex (${default})."`
	Issuer         string        `required:"" help:"The token's \"iss\"."`
	Audience       []string      `required:"" sep:"none" help:"The token's \"aud\". May be repeated."`
	User           string        `required:"" help:"The user's id."`
	UserClaim      string        `default:"userId" help:"Claim that holds the user's id (${default})."`
	Claim          []string      `sep:"none" placeholder:"NAME=VALUE" help:"Further claim, or another value for one of the above; a value that is JSON is taken as JSON. May be repeated."`
	TTL            time.Duration `name:"ttl" default:"1h" help:"How long the token lives (${default}); negative for one that has expired, as in --ttl=-1h."`
	Kid            string        `help:"Key id for the header."`
}

// Validate says what is wrong with the flags together.
func (c mintCommand) Validate() error {
	return oneOf("--key or --secret-env", flag{"--key", c.Key != ""}, flag{"--secret-env", c.SecretEnv != ""})
}

func (c mintCommand) Run(std streams) error {
	switch {
	case c.Issuer == "":
		return usageError{errors.New("--issuer is empty")}
	case slices.Contains(c.Audience, ""):
		return usageError{errors.New("--audience is empty")}
	case c.User == "":
		return usageError{errors.New("--user is empty")}
	}
	signer, err := c.signer()
	if err != nil {
		return usageError{err}
	}
	now := time.Now()
	claims := map[string]any{
		"iss": c.Issuer, "aud": c.Audience, c.UserClaim: c.User,
		"iat": now.Unix(), "exp": now.Add(c.TTL).Unix(),
	}
	if len(c.Audience) == 1 {
		claims["aud"] = c.Audience[0]
	}
	for _, pair := range c.Claim {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return usageError{fmt.Errorf("--claim %q is not NAME=VALUE", pair)}
		}
		claims[name] = value
		if json.Valid([]byte(value)) {
			claims[name] = json.RawMessage(value)
		}
	}
	token, err := signer.Sign(claims)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, token)
	return err
}

func (c mintCommand) signer() (*mint.Signer, error) {
	alg, known := jws.ParseAlgorithm(c.Alg)
	if c.Alg != "" && !known {
		return nil, fmt.Errorf("--alg %q is none of %v", c.Alg, jws.Algorithms)
	}
	if c.SecretEnv != "" {
		text, ok := os.LookupEnv(c.SecretEnv)
		if !ok {
			// Not shown: it may be the secret itself.
			return nil, errors.New("--secret-env: no such variable is set: give the name of one, such as JWT_SECRET")
		}
		secret, err := jwk.DecodeSecret([]byte(text), jwk.Encoding(c.SecretEncoding))
		if err != nil {
			return nil, fmt.Errorf("environment variable %s: %w", c.SecretEnv, err)
		}
		return newSigner("environment variable "+c.SecretEnv, alg, secret, c.Kid)
	}
	data, err := os.ReadFile(c.Key)
	if err != nil {
		return nil, err
	}
	key, err := mint.ParsePrivateKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Key, err)
	}
	return newSigner(c.Key, alg, key, c.Kid)
}

// newSigner names the source of the key where it does not do.
func newSigner(source string, alg jws.Algorithm, key any, kid string) (*mint.Signer, error) {
	signer, err := mint.NewSigner(alg, key, kid)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	return signer, nil
}
