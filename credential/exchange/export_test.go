package exchange

import (
	"net"
	"time"

	"github.com/mcpauth-go/mcpauth/internal/metadata"
)

// Parse is for fuzzing.
var Parse = parse

// ParseMetadata returns the token endpoint that would be asked.
func ParseMetadata(document []byte, issuer string) (string, error) {
	d, err := metadata.Parse(document, issuer)
	if err != nil {
		return "", err
	}
	return Config{}.tokenEndpoint(d)
}

// Resolving returns c with a resolver of names.
func (c Config) Resolving(r *net.Resolver) Config {
	c.resolver = r
	return c
}

// Token returns what parse has found.
func Token(got issued) (string, time.Duration) { return got.token.Reveal(), got.life }
