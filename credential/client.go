package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/mcpauth-go/mcpauth/internal/adminapi"
)

// Client speaks to the [Resolver.Handler] of a running server.
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
	var what Invalidation
	err = adminapi.Client(*c).Do(ctx, http.MethodPost, invalidatePath, nil, body, &what, maxBody)
	if r := (*adminapi.Refusal)(nil); errors.As(err, &r) {
		return 0, &RemoteError{Status: r.Status, Code: r.Code, Description: r.Description}
	}
	if err != nil {
		return 0, fmt.Errorf("credential: %w", err)
	}
	return what.Forgotten, nil
}
