package jwt_test

import (
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcpauth-go/mcpauth"
	"github.com/mcpauth-go/mcpauth/authn/jwt"
	"github.com/mcpauth-go/mcpauth/internal/tokentest"
)

// object is a JSON object as a provider documents it.
type object map[string]any

func (o object) String() string {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// rsaKey is the process's RSA key with the members that a provider adds.
func rsaKey(more object) object {
	key := object{"kty": "RSA", "n": tokentest.Encode(string(tokentest.RSA().N.Bytes())), "e": tokentest.Encode(string(big.NewInt(int64(tokentest.RSA().E)).Bytes()))}
	maps.Copy(key, more)
	return key
}

// otherRSA is a key of the right form that nothing here is signed with.
func otherRSA(more object) object {
	modulus := tokentest.RSA().N.Bytes()
	modulus[len(modulus)-2] ^= 1
	key := rsaKey(more)
	key["n"] = tokentest.Encode(string(modulus))
	return key
}

// The sets, metadata and access tokens of widespread providers, in the forms
// that their documentation shows.
func TestShapesOfProviders(t *testing.T) {
	const tenant = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
	certificate := []string{"MIIC/DCCAeSgAwIBAgIIYWlsbG9va3NhbGlrZQ=="}
	for _, test := range []struct {
		name      string
		issuer    jwt.Issuer
		documents map[string]string
		header    object // of a token
		claims    object
		user      string
		scopes    []string
		keys      int
		skipped   int
	}{
		{
			name:   "Auth0",
			issuer: jwt.Issuer{Name: "https://dev-1.us.auth0.com/", Keys: []jwt.KeySource{jwt.Discover()}},
			documents: map[string]string{
				"https://dev-1.us.auth0.com/.well-known/openid-configuration": object{"issuer": "https://dev-1.us.auth0.com/", "jwks_uri": "https://dev-1.us.auth0.com/.well-known/jwks.json",
					"id_token_signing_alg_values_supported": []string{"HS256", "RS256", "PS256"}}.String(),
				"https://dev-1.us.auth0.com/.well-known/jwks.json": object{"keys": []object{
					rsaKey(object{"use": "sig", "alg": "RS256", "kid": "current", "x5t": "dGh1bWI", "x5c": certificate}),
					otherRSA(object{"use": "sig", "alg": "RS256", "kid": "next", "x5t": "dGh1bWI", "x5c": certificate}),
				}}.String(),
			},
			header: object{"alg": "RS256", "typ": "JWT", "kid": "current"},
			claims: object{"sub": "auth0|6123", "aud": []string{audience, "https://dev-1.us.auth0.com/userinfo"}, "azp": "client", "scope": "openid notes:read", "permissions": []string{}},
			user:   "auth0|6123", scopes: []string{"openid", "notes:read"}, keys: 2,
		},
		{
			name:   "Entra ID v2: no alg",
			issuer: jwt.Issuer{Name: "https://login.microsoftonline.com/" + tenant + "/v2.0", UserIDClaim: "oid", Keys: []jwt.KeySource{jwt.Discover()}},
			documents: map[string]string{
				"https://login.microsoftonline.com/" + tenant + "/v2.0/.well-known/openid-configuration": object{"issuer": "https://login.microsoftonline.com/" + tenant + "/v2.0",
					"jwks_uri": "https://login.microsoftonline.com/" + tenant + "/discovery/v2.0/keys", "request_uri_parameter_supported": false, "kerberos_endpoint": "x"}.String(),
				"https://login.microsoftonline.com/" + tenant + "/discovery/v2.0/keys": object{"keys": []object{
					rsaKey(object{"use": "sig", "kid": "k1", "x5t": "k1", "x5c": certificate, "cloud_instance_name": "microsoftonline.com", "issuer": "https://login.microsoftonline.com/" + tenant + "/v2.0"}),
					otherRSA(object{"use": "sig", "kid": "k2", "x5t": "k2", "x5c": certificate, "cloud_instance_name": "microsoftonline.com", "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}),
				}}.String(),
			},
			header: object{"typ": "JWT", "alg": "RS256", "kid": "k1"},
			claims: object{"sub": "pairwise", "oid": "00000000-0000-0000-0000-000000000001", "tid": tenant, "azp": "client", "azpacr": "1", "aio": "x", "rh": "0.x", "uti": "u", "ver": "2.0", "scp": "Notes.Read Notes.Write"},
			user:   "00000000-0000-0000-0000-000000000001", scopes: []string{"Notes.Read", "Notes.Write"}, keys: 2,
		},
		{
			name:   "Entra ID v1: another host, a slash at the end, x5t in the header",
			issuer: jwt.Issuer{Name: "https://sts.windows.net/" + tenant + "/", Keys: []jwt.KeySource{jwt.DiscoverAt("https://login.microsoftonline.com/" + tenant + "/.well-known/openid-configuration?appid=client")}},
			documents: map[string]string{
				"https://login.microsoftonline.com/" + tenant + "/.well-known/openid-configuration?appid=client": object{"issuer": "https://sts.windows.net/" + tenant + "/",
					"jwks_uri": "https://login.microsoftonline.com/" + tenant + "/discovery/keys?appid=client"}.String(),
				"https://login.microsoftonline.com/" + tenant + "/discovery/keys?appid=client": object{"keys": []object{
					rsaKey(object{"use": "sig", "kid": "k1", "x5t": "k1", "x5c": certificate}),
				}}.String(),
			},
			header: object{"typ": "JWT", "alg": "RS256", "x5t": "k1", "kid": "k1"},
			claims: object{"sub": "pairwise", "oid": "o", "tid": tenant, "appid": "client", "appidacr": "1", "idp": "https://sts.windows.net/" + tenant + "/", "upn": "a@example.com", "ver": "1.0", "scp": "user_impersonation"},
			user:   "pairwise", scopes: []string{"user_impersonation"}, keys: 1,
		},
		{
			name:   "Okta: no typ, scp a list",
			issuer: jwt.Issuer{Name: "https://dev-1.okta.com/oauth2/default", Keys: []jwt.KeySource{jwt.Discover()}},
			documents: map[string]string{
				// The form of RFC 8414 alone is there.
				"https://dev-1.okta.com/.well-known/oauth-authorization-server/oauth2/default": object{"issuer": "https://dev-1.okta.com/oauth2/default",
					"jwks_uri": "https://dev-1.okta.com/oauth2/default/v1/keys"}.String(),
				"https://dev-1.okta.com/oauth2/default/v1/keys": object{"keys": []object{
					rsaKey(object{"alg": "RS256", "kid": "U5R8cHbGw445Qbq8zVO1PcCpXL8yG6IcovVa3laCoxM", "use": "sig"}),
					otherRSA(object{"status": "EXPIRED", "alg": "RS256", "kid": "Y3vBOdYT-l-I0j-gRQ26XjutSX00TeWiSguuDhW3ngo", "use": "sig"}),
				}}.String(),
			},
			header: object{"kid": "U5R8cHbGw445Qbq8zVO1PcCpXL8yG6IcovVa3laCoxM", "alg": "RS256"},
			claims: object{"ver": 1, "jti": "AT.x", "cid": "client", "uid": "00u1", "scp": []string{"openid", "notes:read"}, "sub": "a@example.com"},
			user:   "a@example.com", scopes: []string{"openid", "notes:read"}, keys: 2,
		},
		{
			name:   "Keycloak: a key for encryption, typ among the claims",
			issuer: jwt.Issuer{Name: "https://keycloak.example/realms/demo", Keys: []jwt.KeySource{jwt.Discover()}},
			documents: map[string]string{
				"https://keycloak.example/realms/demo/.well-known/openid-configuration": object{"issuer": "https://keycloak.example/realms/demo",
					"jwks_uri": "https://keycloak.example/realms/demo/protocol/openid-connect/certs", "mtls_endpoint_aliases": object{"token_endpoint": "x"}}.String(),
				"https://keycloak.example/realms/demo/protocol/openid-connect/certs": object{"keys": []object{
					otherRSA(object{"kid": "enc", "alg": "RSA-OAEP", "use": "enc", "x5c": certificate, "x5t": "a", "x5t#S256": "b"}),
					rsaKey(object{"kid": "sig", "alg": "RS256", "use": "sig", "x5c": certificate, "x5t": "a", "x5t#S256": "b"}),
				}}.String(),
			},
			header: object{"alg": "RS256", "typ": "JWT", "kid": "sig"},
			claims: object{"jti": "onrtac:1", "aud": []string{audience, "account"}, "sub": "f1", "typ": "Bearer", "azp": "client", "sid": "s", "acr": "1", "realm_access": object{"roles": []string{"user"}}, "scope": "profile email"},
			user:   "f1", scopes: []string{"profile", "email"}, keys: 1, skipped: 1,
		},
		{
			name:   "Cognito: no aud, token_use",
			issuer: jwt.Issuer{Name: "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example", AudienceClaim: "client_id", Audience: []string{"client"}, Keys: []jwt.KeySource{jwt.JWKSURL("https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example/.well-known/jwks.json")}},
			documents: map[string]string{
				"https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Example/.well-known/jwks.json": object{"keys": []object{
					otherRSA(object{"alg": "RS256", "kid": "of-id-tokens=", "use": "sig"}),
					rsaKey(object{"alg": "RS256", "kid": "of-access-tokens=", "use": "sig"}),
				}}.String(),
			},
			header: object{"kid": "of-access-tokens=", "alg": "RS256"},
			claims: object{"aud": nil, "sub": "aaaaaaaa-bbbb", "cognito:groups": []string{"g"}, "version": 2, "client_id": "client", "origin_jti": "o", "event_id": "e", "token_use": "access", "scope": "aws.cognito.signin.user.admin", "auth_time": 1, "jti": "j", "username": "ada"},
			user:   "aaaaaaaa-bbbb", scopes: []string{"aws.cognito.signin.user.admin"}, keys: 2,
		},
		{
			name:   "Google: keys on another host",
			issuer: jwt.Issuer{Name: "https://accounts.google.com", Audience: []string{"client.apps.googleusercontent.com"}, Keys: []jwt.KeySource{jwt.Discover()}},
			documents: map[string]string{
				"https://accounts.google.com/.well-known/openid-configuration": object{"issuer": "https://accounts.google.com", "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs"}.String(),
				"https://www.googleapis.com/oauth2/v3/certs": object{"keys": []object{
					otherRSA(object{"use": "sig", "kid": "a", "alg": "RS256"}),
					rsaKey(object{"use": "sig", "kid": "b", "alg": "RS256"}),
				}}.String(),
			},
			header: object{"alg": "RS256", "kid": "b", "typ": "JWT"},
			claims: object{"azp": "client.apps.googleusercontent.com", "aud": "client.apps.googleusercontent.com", "sub": "10769150350006150715113082367", "hd": "example.com", "email": "a@example.com", "email_verified": true, "at_hash": "x"},
			user:   "10769150350006150715113082367", keys: 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.issuer.Audience == nil {
				test.issuer.Audience = []string{audience}
			}
			i := &idp{documents: test.documents, header: http.Header{"Cache-Control": {"public, max-age=20000, must-revalidate, no-transform"}}}
			p := newProvider(t, jwt.Config{Issuers: []jwt.Issuer{test.issuer}, Fetch: jwt.Fetch{}.Through(i)})
			if err := p.Reload(); err != nil {
				t.Fatal(err)
			}
			if s := p.Stats().KeySets[0]; s.Keys != test.keys || s.Skipped != test.skipped {
				t.Errorf("%d keys and %d skipped, want %d and %d", s.Keys, s.Skipped, test.keys, test.skipped)
			}
			pairs := []string{"iss", `"` + test.issuer.Name + `"`, "userId", ""}
			for name, value := range test.claims {
				text, _ := json.Marshal(value)
				if value == nil {
					text = nil
				}
				pairs = append(pairs, name, string(text))
			}
			signer := tokentest.KeyFor("RS256")
			token := signer.Token(test.header.String(), claims(pairs...))
			id := passes(t, p, token)
			if id.Issuer() != test.issuer.Name || id.UserID() != test.user || !slices.Equal(id.Scopes(), test.scopes) {
				t.Errorf("issuer %q, user %q, scopes %q", id.Issuer(), id.UserID(), id.Scopes())
			}
			refused(t, p, token[:strings.LastIndexByte(token, '.')+1]+strings.Repeat("A", 342), mcpauth.ErrBadSignature, badSig)
			// With or without a slash at its end, it is another issuer.
			other := strings.TrimSuffix(test.issuer.Name, "/")
			if other == test.issuer.Name {
				other += "/"
			}
			refused(t, p, signer.Token(test.header.String(), claims(append(pairs, "iss", `"`+other+`"`)...)), mcpauth.ErrWrongIssuer, wrongIss)
		})
	}
}
