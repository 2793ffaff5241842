// Plays a list of steps, read as JSON from standard input, with a client, and
// prints as JSON what came of each. The steps are
//   {"token": "…"}                        further requests carry this token
//   {"tool": "…", "arguments": {…}}       call a tool
//   {"list": true}                        list the tools
// and the input is {"url", "token", "mode", "steps"}.

export async function play(open) {
  const input = JSON.parse(await readAll(process.stdin));
  let token = input.token;
  const fetchWithToken = (url, init = {}) => {
    const headers = new Headers(init.headers);
    if (token) headers.set('Authorization', `Bearer ${token}`);
    return fetch(url, { ...init, headers });
  };
  const output = { results: [] };
  let client;
  try {
    const opened = await open(new URL(input.url), fetchWithToken, input.mode);
    client = opened.client;
    output.version = opened.version();
    output.session = opened.transport.sessionId ?? '';
  } catch (error) {
    output.error = describe(error);
  }
  for (const step of client ? input.steps : []) {
    if ('token' in step) {
      token = step.token;
      continue;
    }
    try {
      if (step.list) {
        output.results.push({ text: (await client.listTools()).tools.map((tool) => tool.name).sort().join(' ') });
        continue;
      }
      const result = await client.callTool({ name: step.tool, arguments: step.arguments ?? {} });
      output.results.push({ text: result.content.map((part) => part.text).join(''), toolError: result.isError ?? false });
    } catch (error) {
      output.results.push({ error: describe(error) });
    }
  }
  process.stdout.write(JSON.stringify(output));
  // Sessions may have lost their user by now: closing is best effort.
  await client?.close().catch(() => {});
  process.exit(0);
}

function describe(error) {
  return { name: error.name, message: error.message, status: error.status ?? (typeof error.code === 'number' ? error.code : 0) };
}

async function readAll(stream) {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
}
