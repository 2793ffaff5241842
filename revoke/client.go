package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/mcpauth-go/mcpauth/internal/adminapi"
)

// Client speaks to the [List.Handler] of a running server.
type Client struct {
	// URL is where the handler is, such as "http://127.0.0.1:9090". Over a Unix
	// socket any host will do.
	URL string
	// HTTP sends the requests; its transport is where a Unix socket comes in.
	// Default: one of its own. Redirects are not followed.
	HTTP *http.Client
	// TokenFile has the token of administration over TCP, "" for none. It is
	// read for each request.
	TokenFile string
}

// RemoteError is what the server answered, if that was not what was asked for.
// [errors.Is] finds [ErrFull], [ErrNotSaved], [ErrNotBlocked] and [ErrClosed].
type RemoteError struct {
	Status      int
	Code        string // such as "invalid_request", or "" when something else has answered
	Description string
	Field       string // whose value is at fault, or ""
}

func (e *RemoteError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("revoke: the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("revoke: %s: %s", e.Code, e.Description)
}

// Is reports whether target is what the server wanted to say.
func (e *RemoteError) Is(target error) bool {
	switch e.Code {
	case "full":
		return target == ErrFull
	case "not_saved":
		return target == ErrNotSaved
	case "not_blocked":
		return target == ErrNotBlocked
	case "closed":
		return target == ErrClosed
	}
	return false
}

// Revoke is [List.Revoke] of one. After an error that is no *RemoteError,
// whether it is effective is not known; it may be tried again.
func (c *Client) Revoke(ctx context.Context, r Revocation) (Entry, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return Entry{}, fmt.Errorf("revoke: %w", err)
	}
	var e Entry
	err = c.do(ctx, http.MethodPost, "/revocations", nil, body, &e)
	return e, err
}

// Lift is [List.Lift].
func (c *Client) Lift(ctx context.Context, issuer, userID string) error {
	return c.do(ctx, http.MethodDelete, "/blocks", url.Values{"issuer": {issuer}, "user_id": {userID}}, nil, nil)
}

// Page is [List.Page].
func (c *Client) Page(ctx context.Context, q Query) (Page, error) {
	query := url.Values{}
	for name, value := range map[string]string{"kind": string(q.Kind), "issuer": q.Issuer, "user_id": q.UserID, "after": q.After} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if q.Limit != 0 {
		query.Set("limit", strconv.Itoa(q.Limit))
	}
	var p Page
	err := c.do(ctx, http.MethodGet, "/revocations", query, nil, &p)
	return p, err
}

const maxAnswer = 64 << 20 // the largest page

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, into any) error {
	err := adminapi.Client(*c).Do(ctx, method, path, query, body, into, maxAnswer)
	if r := (*adminapi.Refusal)(nil); errors.As(err, &r) {
		return &RemoteError{Status: r.Status, Code: r.Code, Description: r.Description, Field: r.Field}
	}
	if err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}
