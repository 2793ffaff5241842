// An OpenID provider that exchanges tokens (RFC 8693), for exchange_test.go. It
// reads a JSON line from standard input, {"keys", "clientKeys", "audience"}, and
// answers it with {"issuer"} once it serves. It ends with its input.
//
// A user's token is one that is signed with its own key. Alice has an account at
// the audience, Bob has none.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { createLocalJWKSet, jwtVerify } from 'jose';
import Provider, { errors } from 'oidc-provider';

console.info = console.error; // standard output is for the answer

const grantType = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessToken = 'urn:ietf:params:oauth:token-type:access_token';

function serve(issuer, { keys, clientKeys, audience }) {
  const sign = { alg: 'ES256', kid: keys[0].kid };
  const client = { grant_types: [grantType], redirect_uris: [], response_types: [], id_token_signed_response_alg: 'ES256' };
  const secret = { client_secret: 'of the client: +/%' };
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { ...client, ...secret, client_id: 'basic:1', token_endpoint_auth_method: 'client_secret_basic' },
      { ...client, ...secret, client_id: 'post', token_endpoint_auth_method: 'client_secret_post' },
      { ...client, client_id: 'key', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: clientKeys } },
    ],
    extraTokenClaims: (ctx, token) => token.extra,
    ttl: { AccessToken: 300 },
    features: { devInteractions: { enabled: false } },
  });

  const known = createLocalJWKSet({ keys: keys.map(({ d, ...key }) => key) });
  const verified = async (token) => {
    try {
      return (await jwtVerify(token, known, { issuer })).payload;
    } catch {
      throw new errors.InvalidRequest('not a token of this issuer');
    }
  };

  provider.registerGrantType(grantType, async (ctx) => {
    const { params, client } = ctx.oidc;
    if (params.subject_token_type !== accessToken || params.requested_token_type !== accessToken) {
      throw new errors.InvalidRequest('not a type of token that is exchanged');
    }
    const user = await verified(params.subject_token);
    if (params.audience !== audience) throw new errors.InvalidTarget();
    if (user.sub === 'bob') throw new errors.CustomOIDCProviderError('account_not_linked');
    const token = new provider.AccessToken({ accountId: user.sub, client, gty: 'token_exchange', scope: params.scope });
    token.resourceServer = new provider.ResourceServer(audience, { scope: params.scope, accessTokenFormat: 'jwt', jwt: { sign } });
    if (params.actor_token) token.extra = { act: { sub: (await verified(params.actor_token)).sub } };
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: accessToken,
      token_type: token.tokenType,
      expires_in: token.expiration,
      scope: token.scope,
    };
  }, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope']);
  return provider.callback();
}

let callback;
const server = createServer((req, res) => callback(req, res));

for await (const line of createInterface({ input: process.stdin })) {
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const issuer = `http://127.0.0.1:${server.address().port}`;
  callback = serve(issuer, JSON.parse(line));
  console.log(JSON.stringify({ issuer }));
}
process.exit(0);
