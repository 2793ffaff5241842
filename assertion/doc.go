// Package assertion tells a server behind this one who is calling, in a form
// that it can verify: a JSON Web Token, signed by this server, for that one
// server, for a minute. A header with the user's id would have to be believed
// from whoever can reach the port, and the user's own token would be good
// elsewhere, too.
//
//	signer, err := assertion.New(assertion.Config{
//		Issuer:    "https://mcp.example.com",
//		Audiences: []string{"https://notes.internal.example.com"},
//	})
//	…
//	mux.Handle("GET /.well-known/jwks.json", signer) // what backends verify with
//	token, err := signer.Sign(call.Identity, "https://notes.internal.example.com")
//	request.Header.Set("Authorization", "Bearer "+token.Reveal())
//
// The token has the form of RFC 9068, so that whatever verifies access tokens
// verifies it, by the keys at the one URL. Its claims:
//
//   - iss: Config.Issuer; aud: the one audience; iat, exp, jti. It ends with the
//     user's own credential, if that is sooner than Config.Lifetime. A token is
//     used again for half of its life, so "jti" is in several requests.
//   - sub: the user. An issuer's "sub" must be one user's alone (RFC 7519,
//     section 4.1.2), while two issuers may have the same user id for two
//     people. So it is a hash of issuer, user id and tenant, the same at every time and
//     for every audience; or, where Config.SubjectIssuer says that all users are
//     of one issuer, the user id as it is.
//   - sub_id: the same user in plain, {"format": "iss_sub", "iss": …, "sub": …}
//     (RFC 9493, section 3.2.3), with the issuer that vouches for the user and
//     the user id there. The tenant, where there is one, is in "tenant".
//   - client_id: the client that the user's token was issued to, by its
//     "client_id", "azp", "cid" or "appid", else Config.Issuer: RFC 9068 wants
//     one.
//   - scope: the scopes of the user's token.
//   - act: that of the user's token, where it was itself got by an exchange (RFC
//     8693, section 4.1), each actor with the issuer that it is an actor of.
//
// The type in the header, "at+jwt", keeps such a token from being taken for
// another kind that has the same issuer (RFC 8725, section 3.11). Nothing else of
// the user's token is passed on.
//
// Keys are made at the start and replaced at intervals: the next one is published
// a whole interval before it signs, and the one before for as long as what it has
// signed may be in use. They live in memory: replicas behind one URL, and a
// restart that backends are not to notice, need Config.KeyFile.
package assertion
