package exchange

import (
	"net"
	"time"
)

// Parse and ParseMetadata are for fuzzing.
var Parse, ParseMetadata = parse, parseMetadata

// Resolving returns c with a resolver of names.
func (c Config) Resolving(r *net.Resolver) Config {
	c.resolver = r
	return c
}

// Token returns what parse has found.
func Token(got issued) (string, time.Duration) { return got.token.Reveal(), got.life }
