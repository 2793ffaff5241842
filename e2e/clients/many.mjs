// Opens many connections with one of the clients, all at the same time, and makes
// all calls of each at the same time. Reads from standard input
//   {"client": "sdk 1.x" | "client 2.x", "mode", "url", "connections": [{"headers": {…}, "calls": [{"tool", "arguments"}]}]}
// and prints what came of each connection: what play.mjs prints, and "challenge",
// which is what the client's own functions read out of the last 401.
//
// The headers are given to the client, which sends them with every request.
import { text } from 'node:stream/consumers';

const load = {
  'sdk 1.x': async () => ({
    ...(await import('@modelcontextprotocol/sdk/client/index.js')),
    ...(await import('@modelcontextprotocol/sdk/client/streamableHttp.js')),
    ...(await import('@modelcontextprotocol/sdk/client/auth.js')),
  }),
  'client 2.x': () => import('@modelcontextprotocol/client'),
};

const input = JSON.parse(await text(process.stdin));
const { Client, StreamableHTTPClientTransport, extractWWWAuthenticateParams } = await load[input.client]();
process.stdout.write(JSON.stringify(await Promise.all(input.connections.map(play))), () => process.exit(0));

async function play({ headers, calls }) {
  const output = { results: [] };
  const watched = async (url, init) => {
    const response = await fetch(url, init);
    if (response.status === 401) {
      const { resourceMetadataUrl, error } = extractWWWAuthenticateParams(response);
      output.challenge = { resourceMetadata: resourceMetadataUrl?.href ?? '', error: error ?? '' };
    }
    return response;
  };
  const client = new Client({ name: 'e2e', version: '1' }, input.mode ? { versionNegotiation: { mode: input.mode } } : undefined);
  const transport = new StreamableHTTPClientTransport(new URL(input.url), { fetch: watched, requestInit: { headers } });
  try {
    await client.connect(transport);
  } catch (error) {
    output.error = describe(error);
    return output;
  }
  output.version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
  output.session = transport.sessionId ?? '';
  output.results = await Promise.all((calls ?? []).map(async ({ tool, arguments: given }) => {
    try {
      const result = await client.callTool({ name: tool, arguments: given ?? {} });
      return { text: result.content.map((part) => part.text).join(''), toolError: result.isError ?? false };
    } catch (error) {
      return { error: describe(error) };
    }
  }));
  await client.close().catch(() => {});
  return output;
}

function describe(error) {
  return { name: error.name, message: error.message, status: error.status ?? (typeof error.code === 'number' ? error.code : 0) };
}
