package platform

import (
	"fmt"
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
	return a.accessToken.Reveal(), a.expiresIn, a.userID, a.sub, err
}

// Printed is what becomes of an answer that somebody prints.
func Printed(body []byte) string {
	a, _ := parse(body)
	return fmt.Sprintf("%v %+v %#v", a, a, a)
}
