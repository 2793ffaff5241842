package platform

import (
	"net"
	"time"
)

// With returns c with names looked up by r.
func (c Config) With(r *net.Resolver) Config {
	c.resolver = r
	return c
}

// Parse returns what a Source reads in an answer.
func Parse(body []byte) (accessToken string, expiresIn time.Duration, userID, sub *string, err error) {
	a, err := parse(body)
	return a.accessToken, a.expiresIn, a.userID, a.sub, err
}
