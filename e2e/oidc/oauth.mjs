// An OpenID provider with opaque access tokens, for oauth_test.go. It reads one
// JSON line from standard input, {"audience", "keys", "gatewayKeys"}, and answers
// with a line once it serves. It ends with its input.
//
// Its pages to log in and to consent are those of the provider's own
// (devInteractions): whoever says who they are, is.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

console.info = console.error; // standard output is for the answers
console.warn = console.error;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { audience, keys, gatewayKeys } = JSON.parse((await lines.next()).value);
const server = createServer((req, res) => callback(req, res));
await new Promise((done) => server.listen(0, '127.0.0.1', done));

const gateway = { redirect_uris: [], response_types: [], grant_types: [], id_token_signed_response_alg: 'ES256' };
const provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
  jwks: { keys },
  clients: [
    {
      client_id: 'tool',
      application_type: 'native',
      token_endpoint_auth_method: 'none',
      redirect_uris: ['http://127.0.0.1/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      id_token_signed_response_alg: 'ES256',
    },
    { ...gateway, client_id: 'gateway', client_secret: 'of the gateway: 100%+', token_endpoint_auth_method: 'client_secret_basic' },
    { ...gateway, client_id: 'gateway-post', client_secret: 'of the gateway', token_endpoint_auth_method: 'client_secret_post' },
    { ...gateway, client_id: 'gateway-key', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: gatewayKeys } },
  ],
  cookies: { keys: ['cookies'] },
  scopes: ['openid', 'offline_access', 'notes:read'],
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  ttl: { AccessToken: 45, RefreshToken: 3600, IdToken: 3600, Grant: 3600, Session: 3600, Interaction: 600 }, // less than is to remain for use: each use refreshes
  features: {
    devInteractions: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => {
        if (resource !== audience) throw new errors.InvalidTarget();
        return { scope: 'notes:read', audience, accessTokenFormat: 'opaque', accessTokenTTL: 45 };
      },
    },
  },
});
const callback = provider.callback();
console.log(JSON.stringify({ issuer: provider.issuer }));
await lines.next();
process.exit(0);
