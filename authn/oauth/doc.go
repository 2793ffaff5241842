// Package oauth says who sent a request by the opaque OAuth 2 access token that
// the request carries, which says nothing by itself: the authorization server
// that issued it is asked.
//
//	provider, err := oauth.New(oauth.Config{
//		Issuer:   "https://issuer.example.com",
//		Audience: []string{"https://mcp.example.com/mcp"},
//		Client:   oauth.Client{ClientID: "mcp", Secret: secret},
//	})
//
// The server is asked at its introspection endpoint (RFC 7662), which its
// metadata names, or at its userinfo endpoint. A token passes when it is active,
// within its time, meant for this server and names a user. Userinfo tells what a
// token can see, and not whom it is for: any site that a user has ever logged in
// to could use its token here. It is therefore taken only with a proof of the
// audience from a second endpoint, or after an explicit, loud AcceptAnyClient.
//
// What is found out is kept for five minutes at most and never beyond the
// token's own end, so that an active user costs the authorization server a
// request now and then; what it revokes is refused here that much later.
// Refusals are kept for ten seconds, apart. Many requests with one new token ask
// once. A server that does not answer, or with what cannot be understood, is
// ErrUnavailable, which does not send anybody to log in again; nothing panics.
//
// Package login gets such tokens for a user at a terminal.
package oauth
