// A certified OpenID provider, for oidc_test.go. It reads JSON lines from
// standard input: first {"port", "audience", "keys"}, then {"keys"} for each
// rotation, and answers each with a line once it serves with those keys. It
// ends with its input.
//
// Whoever comes is logged in as the user of "login_hint", and the client has
// the consent of everybody.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider, { errors } from 'oidc-provider';

console.info = console.error; // standard output is for the answers

let settings;
let provider;
let callback;

function serve(keys) {
  const { port, audience } = settings;
  provider = new Provider(`http://127.0.0.1:${port}`, {
    jwks: { keys },
    clients: [{
      client_id: 'client',
      client_secret: 'of the client',
      redirect_uris: ['https://client.example/callback'],
      id_token_signed_response_alg: 'ES256',
    }],
    cookies: { keys: ['cookies'] },
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: async (ctx) => {
      const { client, session } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid');
      grant.addResourceScope(audience, 'notes:read');
      await grant.save();
      return grant;
    },
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => {
          if (resource !== audience) throw new errors.InvalidTarget();
          return { scope: 'notes:read', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256', kid: keys[0].kid } } };
        },
      },
    },
  });
  callback = provider.callback();
}

const server = createServer(async (req, res) => {
  if (!req.url.startsWith('/interaction/')) return callback(req, res);
  const { params } = await provider.interactionDetails(req, res);
  await provider.interactionFinished(req, res, { login: { accountId: params.login_hint } });
});

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if (!settings) {
    await new Promise((done) => server.listen(message.port, '127.0.0.1', done));
    settings = { ...message, port: server.address().port };
  }
  serve(message.keys);
  console.log(JSON.stringify({ issuer: provider.issuer }));
}
process.exit(0);
