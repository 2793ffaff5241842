// Package exchange gets a user's credential for a service by exchanging the token
// that the user came with for another, at an authorization server (RFC 8693). It
// is the recommended way: the service gets a token that was issued for it, with
// the scopes that it needs, and the user's own token goes to no one but the
// authorization server, which knows it already.
//
//	source, err := exchange.New(exchange.Config{
//		Issuer:  "https://issuer.example.com",
//		Client:  exchange.Client{ClientID: "mcp", Secret: secret},
//		Targets: map[string]exchange.Target{
//			"notes": {Audience: []string{"https://notes.example.com"}, Scopes: []string{"notes:read"}},
//		},
//	})
//	…
//	resolver, err := credential.New(credential.Config{Source: source})
//
// The token endpoint is the one of the issuer's metadata, or Config.TokenURL. What
// the operator wrote may be in a private network, except at a link-local address;
// what the metadata says may be at a public address, or at a host and port that
// the operator wrote. It is https, except on loopback and for Config.PlainHTTPHosts.
// Redirects are not followed. Time and size of an answer are bounded, and it is
// read strictly; no error quotes it.
//
// What an answer means:
//
//   - A token: the credential, until "expires_in", a number from 1 second to 10
//     years, of which a fraction is dropped; without it, that is not known. A
//     refresh token beside it is not kept.
//   - One of the error codes of Config.NotConnected: the user has none. There are
//     none by default, since no code of RFC 8693 says so.
//   - invalid_request, invalid_grant, invalid_target, invalid_token, access_denied:
//     this user is not to have it (RFC 8693, section 2.2.2), also not one that is
//     cached: credential.Refused.
//   - server_error, temporarily_unavailable, status 408, 429 and from 500 on, and
//     whatever the network does: it may be asked again, credential.Transient. To
//     exchange a token twice makes a second one, and no harm.
//   - Any other error code, such as invalid_client, and what is no answer of an
//     authorization server: a fault of either side, which is not asked again.
//
// The client is told nothing of these but that it may try later; the log has the
// code.
package exchange
