package login

import (
	"time"

	"github.com/mcpauth-go/mcpauth"
)

// Keep stores tokens, as a login does.
func (c *Client) Keep(access, refresh string, expiry time.Time) error {
	return c.config.save(tokens{Access: mcpauth.NewSecret(access), Refresh: mcpauth.NewSecret(refresh), Expiry: expiry})
}

// Takes reports whether an answer would end a login with that state, and its
// code.
func Takes(query, state string) (code, iss string, ok bool) {
	c, err := parseCallback(query)
	return c.code, c.issuer, err == nil && flow{state: state}.mine(c) && c.error == ""
}

// Kept returns what is stored, as it is in memory.
func (c *Client) Kept() (any, error) { return c.config.load() }
