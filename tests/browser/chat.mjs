// A host of MCP Apps: the specification's own AppBridge and client, and a page that holds the app in a sandboxed frame under
// the policy that hosts apply where an app asks for no domain.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { AppBridge } from '@modelcontextprotocol/ext-apps/app-bridge';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { given } from './browser.mjs';

const MIME = 'text/html;profile=mcp-app';
const POLICY = [
  "default-src 'none'", "script-src 'self' 'unsafe-inline'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data:",
  "connect-src 'none'", "object-src 'none'", "base-uri 'self'",
].join('; ');
const PAGE = '<!doctype html><html lang="en"><title>host</title><style>iframe { width: 100%; height: 900px; border: 0 }</style>';
const info = { name: 'a host', version: '1' };
const AXE = readFileSync(new URL(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

/** A client that shows apps, at the server of the scenario; `call` counts nothing and must succeed. */
export async function connect() {
  const client = new Client(info, { capabilities: { extensions: { 'io.modelcontextprotocol/ui': { mimeTypes: [MIME] } } } });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${given.address}/mcp`)));
  const call = async (name, arguments_ = {}) => {
    const result = await client.callTool({ name, arguments: arguments_ });
    assert.ok(!result.isError, `${name}: ${result.content[0]?.text}`);
    return result;
  };
  return { client, call };
}

/** The address of a page without an app, for as long as the callback runs. */
export async function hosting(play) {
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'text/html', 'content-security-policy': POLICY });
    response.end(PAGE);
  });
  await new Promise((resume) => server.listen(0, '127.0.0.1', resume));
  try {
    await play(`http://127.0.0.1:${server.address().port}`);
  } finally {
    server.close();
  }
}

/**
 * Shows the page of a tool with what it was called with and what it answered.
 *
 * Returns the bridge to it, its frame, its sizes, and `calls`, the tools that it called. `asks`: whether the host passes calls on; `answer`: what
 * answers them in the place of the server.
 */
export async function show(page, { client, tool, arguments_, result, asks = true, context = {}, answer = (params) => client.callTool(params) }) {
  const { tools } = await client.listTools();
  const uri = tools.find(({ name }) => name === tool)._meta.ui.resourceUri;
  const [content] = (await client.readResource({ uri })).contents;
  assert.equal(content.mimeType, MIME);
  const bridge = new AppBridge(null, info, asks ? { serverTools: {} } : {}, { hostContext: context });
  const calls = [];
  if (asks) {
    bridge.oncalltool = (params) => {
      calls.push(params);
      return answer(params);
    };
  }
  const sizes = [];
  bridge.onsizechange = ({ height }) => sizes.push(height);
  bridge.oninitialized = async () => {
    await bridge.sendToolInput({ arguments: arguments_ });
    await bridge.sendToolResult(result);
  };
  const frame = await framed(page, bridge, content.text);
  return { bridge, frame, calls, sizes };
}

/** Puts the document into a frame that may run scripts and nothing else, and the bridge at its other end. */
async function framed(page, bridge, html) {
  const transport = {
    start: async () => {},
    close: async () => transport.onclose?.(),
    send: (message) => page.evaluate((sent) => document.querySelector('iframe').contentWindow.postMessage(sent, '*'), message),
  };
  await page.exposeBinding('toHost', (_, message) => transport.onmessage(message));
  await bridge.connect(transport);
  const handle = await page.evaluateHandle((text) => {
    const frame = document.createElement('iframe');
    frame.setAttribute('sandbox', 'allow-scripts');
    frame.title = 'app';
    window.addEventListener('message', ({ source, data }) => source === frame.contentWindow && window.toHost(data));
    frame.srcdoc = text;
    document.body.replaceChildren(frame);
    return frame;
  }, html);
  const frame = await handle.contentFrame();
  await frame.waitForLoadState();
  return frame;
}

/** What a screen reader or the eye would stumble over, seriously. */
export async function stumbles(frame) {
  await frame.evaluate(AXE);
  const { violations } = await frame.evaluate(() => globalThis.axe.run(document));
  return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
}
