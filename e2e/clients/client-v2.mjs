// The client of @modelcontextprotocol/client 2.x. mode is one of its modes of
// version negotiation; without one, it does what it does by default.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { play } from './play.mjs';

await play(async (url, fetch, mode) => {
  const client = new Client({ name: 'e2e', version: '1' }, mode ? { versionNegotiation: { mode } } : undefined);
  const transport = new StreamableHTTPClientTransport(url, { fetch });
  await client.connect(transport);
  return { client, transport, version: () => client.getNegotiatedProtocolVersion() };
});
