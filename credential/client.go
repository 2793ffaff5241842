package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
)

// Client speaks to the [Resolver.Handler] of a running server.
type Client struct {
	// URL is where the handler is, such as "http://127.0.0.1:9090". Over a Unix
	// socket any host will do.
	URL string
	// HTTP sends the requests; its transport is where a Unix socket comes in.
	// Default http.DefaultClient. Redirects are not followed.
	HTTP *http.Client
	// TokenFile has the token of administration over TCP, "" for none. It is
	// read for each request.
	TokenFile string
}

// RemoteError is what the server answered, if that was not what was asked for.
type RemoteError struct {
	Status      int
	Code        string // such as "invalid_request", or "" when something else has answered
	Description string
}

func (e *RemoteError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("credential: the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("credential: %s: %s", e.Code, e.Description)
}

// Invalidate is [Resolver.Invalidate].
func (c *Client) Invalidate(ctx context.Context, issuer, userID, resourceType string) (forgotten int, err error) {
	question := map[string]string{"issuer": issuer, "user_id": userID}
	if resourceType != "" {
		question["resource"] = resourceType
	}
	body, err := json.Marshal(question)
	if err != nil {
		return 0, fmt.Errorf("credential: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+invalidatePath, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("credential: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if c.TokenFile != "" {
		token, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return 0, fmt.Errorf("credential: %w", err)
		}
		token = bytes.TrimSuffix(bytes.TrimSuffix(token, []byte("\n")), []byte("\r"))
		if bytes.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) || len(token) == 0 {
			return 0, errors.New("credential: the file of the token has something else in it") // which is not quoted
		}
		r.Header.Set("Authorization", "Bearer "+string(token))
	}
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("credential: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return 0, fmt.Errorf("credential: %w", err)
	}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode == http.StatusOK && kind == "application/json" {
		var what Invalidation
		if err := json.Unmarshal(text, &what); err != nil {
			return 0, fmt.Errorf("credential: what the server answered cannot be read: %w", err)
		}
		return what.Forgotten, nil
	}
	e := &RemoteError{Status: response.StatusCode}
	var p problem
	if json.Unmarshal(text, &p) == nil {
		e.Code, e.Description = p.Code, p.Description
	}
	return 0, e
}
