package login

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/mcpauth-go/mcpauth/internal/jwk"
	"github.com/mcpauth-go/mcpauth/internal/jws"
	"github.com/mcpauth-go/mcpauth/internal/metadata"
	"github.com/mcpauth-go/mcpauth/internal/outbound"
	"github.com/mcpauth-go/mcpauth/internal/strictjson"
)

// verifyIDToken returns the user that the ID token names, which must be signed by
// the issuer, for this client and this login (OpenID Connect Core 1.0, section
// 3.1.3.7).
func (c *Client) verifyIDToken(ctx context.Context, server metadata.Document, got *oauth2.Token, nonce string) (string, error) {
	text, ok := got.Extra("id_token").(string)
	if !ok {
		return "", errors.New("login: there is no ID token, though the scope openid has asked for one")
	}
	keys, err := c.keys(ctx, server)
	if err != nil {
		return "", err
	}
	user, err := c.readIDToken(text, keys, nonce, time.Now())
	if err != nil {
		return "", fmt.Errorf("login: the ID token: %w", err)
	}
	return user, nil
}

func (c *Client) keys(ctx context.Context, server metadata.Document) (*jwk.Set, error) {
	if err := outbound.CheckURL(server.KeySet, c.config.PlainHTTPHosts); err != nil {
		return nil, fmt.Errorf(`login: "jwks_uri" of the issuer's metadata: %w`, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.KeySet, nil)
	if err != nil {
		return nil, errors.New(`login: "jwks_uri" is not a URL that can be asked`)
	}
	answer, err := c.server.Found().Do(r)
	if err != nil {
		return nil, fmt.Errorf("login: the issuer's keys: %w", err)
	}
	if answer.Status != http.StatusOK {
		return nil, fmt.Errorf("login: the issuer's keys: answered with status %d", answer.Status)
	}
	set, _, err := jwk.ParseFetched(answer.Body, nil)
	if err != nil {
		return nil, fmt.Errorf("login: the issuer's keys: %w", err)
	}
	return set, nil
}

// tolerance is for clocks that differ.
const tolerance = time.Minute

func (c *Client) readIDToken(text string, keys *jwk.Set, nonce string, now time.Time) (user string, err error) {
	token, err := jws.Split([]byte(text))
	if err != nil {
		return "", err
	}
	header, err := new(jws.Headers).Parse(token, nil)
	if err != nil {
		return "", err
	}
	good := false
	keys.Candidates(header.Algorithm, header.KeyID, func(k *jwk.Key) bool {
		good = token.Verify(k.Key, nil)
		return good
	})
	if !good {
		return "", errors.New("no key of the issuer's has signed it")
	}
	payload, err := token.Payload(nil)
	if err != nil {
		return "", err
	}
	var issuer, subject, party, sent string
	var audiences []string
	var expiry float64
	err = strictjson.Object(payload, func(name, value []byte) error {
		var target *string
		switch string(name) {
		case "iss":
			target = &issuer
		case "sub":
			target = &subject
		case "azp":
			target = &party
		case "nonce":
			target = &sent
		case "exp":
			expiry, err = strconv.ParseFloat(string(value), 64)
			return err
		case "aud":
			if len(value) > 0 && value[0] == '[' {
				return strictjson.Array(value, func(value []byte) error {
					s, ok := strictjson.String(value)
					if !ok {
						return errors.New(`"aud" has what is not a string`)
					}
					audiences = append(audiences, string(s))
					return nil
				})
			}
			audiences = []string{""}
			target = &audiences[0]
		default:
			return nil
		}
		s, ok := strictjson.String(value)
		if !ok {
			return fmt.Errorf("%q is not a string", name)
		}
		*target = string(s)
		return nil
	})
	forUs := false
	for _, audience := range audiences {
		forUs = forUs || audience == c.config.ClientID
	}
	switch {
	case err != nil:
		return "", err
	case issuer != c.config.Issuer:
		return "", fmt.Errorf("it is of issuer %q, not of %q", printable(issuer), c.config.Issuer)
	case !forUs, party != "" && party != c.config.ClientID, len(audiences) > 1 && party == "":
		return "", errors.New("it is for another client")
	case !(expiry > float64(now.Add(-tolerance).Unix())):
		return "", errors.New("it has expired")
	case subtle.ConstantTimeCompare([]byte(sent), []byte(nonce)) != 1:
		return "", errors.New("its nonce is not that of this login")
	case subject == "":
		return "", errors.New("it names no user")
	}
	return subject, nil
}
