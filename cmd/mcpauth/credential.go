package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/mcpauth-go/mcpauth/credential"
	"github.com/mcpauth-go/mcpauth/revoke"
)

type credentialCommand struct {
	Invalidate credentialInvalidate `cmd:"" help:"Forget what is cached of a user's credentials, so that the next request asks their source anew."`
}

type credentialInvalidate struct {
	running
	Issuer   string `required:"" help:"The issuer, exactly as in its tokens."`
	User     string `required:"" help:"The user's id, as in the claim that the issuer is configured with."`
	Resource string `help:"Only what is for this type of resource, such as github. Default: all."`
}

func (c credentialInvalidate) Run(ctx context.Context, std streams) error {
	return c.do(ctx, func(ctx context.Context, server *revoke.Client) error {
		client := credential.Client{URL: server.URL, HTTP: server.HTTP, TokenFile: server.TokenFile}
		n, err := client.Invalidate(ctx, c.Issuer, c.User, c.Resource)
		if err != nil {
			return c.explainCredential(err)
		}
		if c.JSON {
			return json.NewEncoder(std.out).Encode(credential.Invalidation{Issuer: c.Issuer, UserID: c.User, Resource: c.Resource, Forgotten: n})
		}
		kind := "every type of resource"
		if c.Resource != "" {
			kind = fmt.Sprintf("%q", c.Resource)
		}
		if _, err = fmt.Fprintf(std.out, "forgotten: %d cached for user %q, issuer %q, %s\n", n, c.User, c.Issuer, kind); err != nil || n > 0 {
			return err
		}
		_, err = fmt.Fprintln(std.err, "Where some was expected: issuer, user and type of resource are compared exactly, as they are in tokens and in the server's configuration.")
		return err
	})
}

// explainCredential says what to do about an answer. What is wrong with the
// connection is explained for all commands alike.
func (c credentialInvalidate) explainCredential(err error) error {
	var remote *credential.RemoteError
	if !errors.As(err, &remote) {
		return err
	}
	switch {
	case remote.Code == "invalid_request" && remote.Status == http.StatusBadRequest:
		return usageError{errors.New(remote.Description)}
	case remote.Status == http.StatusUnauthorized:
		return errors.New("the server does not take the token in --token-file")
	case remote.Status == http.StatusNotFound:
		return c.explainNotFound("no cache of credentials (gateway.Config.Resolver of credential.New)")
	}
	return err
}
