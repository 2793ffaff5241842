package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/mcpauth-go/mcpauth/internal/check"
)

// Client asks a running server.
type Client struct {
	URL       string       // where the handlers are; over a Unix socket any host will do
	HTTP      *http.Client // nil for one of its own; redirects are not followed
	TokenFile string       // "" for none; read for each request
}

// Refusal is what the server answered, if that was not what was asked for.
type Refusal struct {
	Status  int
	Problem // without Code when something else has answered
}

func (r *Refusal) Error() string {
	if r.Code == "" {
		return fmt.Sprintf("the server answered %d %s", r.Status, http.StatusText(r.Status))
	}
	return r.Code + ": " + r.Description
}

// Do sends body, if there is one, and decodes into what comes back, or wants 204 if
// that is nil. What comes back has maxAnswer bytes at most. The error is a *Refusal
// if the server has answered something else.
func (c Client) Do(ctx context.Context, method, path string, query url.Values, body []byte, into any, maxAnswer int64) error {
	target := strings.TrimSuffix(c.URL, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if err := c.authorize(r); err != nil {
		return err
	}
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	switch kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); {
	case response.StatusCode == http.StatusNoContent && into == nil:
		return nil
	case response.StatusCode == http.StatusOK && into != nil && kind == "application/json":
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("what the server answered cannot be read: %w", err)
		}
		return nil
	}
	refusal := &Refusal{Status: response.StatusCode}
	if json.Unmarshal(text, &refusal.Problem) != nil {
		refusal.Problem = Problem{}
	}
	return refusal
}

func (c Client) authorize(r *http.Request) error {
	if c.TokenFile == "" {
		return nil
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return err
	}
	token = bytes.TrimSuffix(bytes.TrimSuffix(token, []byte("\n")), []byte("\r"))
	if !check.Visible(string(token)) {
		return errors.New("the file of the token has something else in it") // which is not quoted
	}
	r.Header.Set("Authorization", "Bearer "+string(token))
	return nil
}
