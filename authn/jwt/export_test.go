package jwt

import "net/http"

// Through returns f with another way to the network, for tests.
func (f Fetch) Through(transport http.RoundTripper) Fetch {
	f.transport = transport
	return f
}
