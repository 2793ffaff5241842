// The client of @modelcontextprotocol/sdk 1.x.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { play } from './play.mjs';

await play(async (url, fetch) => {
  const client = new Client({ name: 'e2e', version: '1' });
  const transport = new StreamableHTTPClientTransport(url, { fetch });
  await client.connect(transport);
  return { client, transport, version: () => transport.protocolVersion };
});
