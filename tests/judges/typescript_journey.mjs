// The main path with a TypeScript client: node typescript_journey.mjs SDK TRANSPORT ERA TARGET…
//
// SDK: v1 (@modelcontextprotocol/sdk) or v2 (@modelcontextprotocol/client); TRANSPORT: stdio, sse or http; ERA: legacy or
// modern (v2 alone); TARGET: an address, or for stdio a command. Exits with 0 when all went as it must, and prints
// the names of the tools as one line of JSON.
import assert from 'node:assert/strict';

const [sdk, transport, era, ...target] = process.argv.slice(2);
const info = { name: `typescript-${sdk}`, version: '1.0.0' };
const updates = new Set();

async function connect() {
  if (sdk === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StdioClientTransport } = await import('@modelcontextprotocol/sdk/client/stdio.js');
    const { SSEClientTransport } = await import('@modelcontextprotocol/sdk/client/sse.js');
    const { StreamableHTTPClientTransport } = await import('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const { ResourceUpdatedNotificationSchema } = await import('@modelcontextprotocol/sdk/types.js');
    const client = new Client(info);
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, ({ params }) => updates.add(params.uri));
    await client.connect(open({ StdioClientTransport, SSEClientTransport, StreamableHTTPClientTransport }));
    return client;
  }
  const { Client, SSEClientTransport, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const { StdioClientTransport } = await import('@modelcontextprotocol/client/stdio');
  const mode = era === 'modern' ? { pin: '2026-07-28' } : 'legacy';
  const client = new Client(info, { versionNegotiation: { mode } });
  client.setNotificationHandler('notifications/resources/updated', ({ params }) => updates.add(params.uri));
  await client.connect(open({ StdioClientTransport, SSEClientTransport, StreamableHTTPClientTransport }));
  return client;
}

function open({ StdioClientTransport, SSEClientTransport, StreamableHTTPClientTransport }) {
  if (transport === 'stdio') {
    return new StdioClientTransport({ command: target[0], args: target.slice(1), env: process.env, stderr: 'ignore' });
  }
  return new { sse: SSEClientTransport, http: StreamableHTTPClientTransport }[transport](new URL(target[0]));
}

async function watch(client, uri) {
  if (era === 'modern') {
    const listening = await client.listen({ resourceSubscriptions: [uri] });
    assert.deepEqual(listening.honoredFilter.resourceSubscriptions, [uri]);
    return () => listening.close();
  }
  await client.subscribeResource({ uri });
  return () => client.unsubscribeResource({ uri });
}

const client = await connect();
const call = async (name, args = {}) => {
  const result = await client.callTool({ name, arguments: args });
  assert.ok(!result.isError, `${name}: ${result.content[0]?.text}`);
  assert.ok(result.content[0].text.length <= 2048, `${name}: ${result.content[0].text.length} characters`);
  return result.structuredContent;
};
const finish = async (job) => {
  while (!['completed', 'failed', 'cancelled', 'interrupted'].includes(job.status)) {
    job = await call('wait_job', { job_id: job.job_id });
  }
  assert.equal(job.status, 'completed');
  return job;
};

const model_id = `m-${sdk}-${transport}-${era}`;
const { tools } = await client.listTools();
assert.ok(client.getInstructions().length > 100);
await call('add_dataset', { dataset_id: model_id, text: 'the quick brown fox jumps over the lazy dog\n'.repeat(50) });
await call('init_model', { model_id, preset: 'tiny' });

const telemetry = `bitlm://models/${model_id}/telemetry`;
const stop = await watch(client, telemetry);
const trained = await finish(await call('train_step', { model_id, dataset_id: model_id, steps: 4, wait_s: 0 }));
assert.equal(trained.steps_done, 4);
for (let round = 0; round < 200 && !updates.has(telemetry); round++) await new Promise((done) => setTimeout(done, 50));
assert.ok(updates.has(telemetry), `no notification of ${telemetry}`);
await stop();

const asked = { model_id, prompt: 'the quick', max_new_bytes: 8, seed: 7 };
const answer = await call('infer', asked);
const read = await finish(await call('infer_long', { model_id, dataset_id: model_id }));
const filled = await call('diffusion_sample', { model_id, prefix: 'the ', num_bytes: 8, seed: 1 });
const state = await call('get_telemetry', { model_id, last: 3 });
await call('save_checkpoint', { model_id, name: model_id });
await call('load_checkpoint', { name: model_id, model_id: `${model_id}-again` });
const again = await call('infer', { ...asked, model_id: `${model_id}-again` });

assert.equal(answer.num_bits, 8 * 9);
assert.equal(again.data_base64, answer.data_base64);
assert.ok(read.bits_per_byte > 0);
assert.equal(Buffer.from(filled.data_base64, 'base64').length, 8);
assert.equal(state.step, 4);

const { resources } = await client.listResources();
assert.ok(resources.some(({ uri }) => uri === `bitlm://models/${model_id}`));
const { resourceTemplates } = await client.listResourceTemplates();
assert.ok(resourceTemplates.some(({ uriTemplate }) => uriTemplate === 'bitlm://models/{model_id}'));
const curve = JSON.parse((await client.readResource({ uri: telemetry })).contents[0].text);
assert.equal(curve.history.step.length, 4);
const prompt = await client.getPrompt({ name: 'train_and_report', arguments: { dataset_id: model_id } });
assert.ok(prompt.messages[0].content.text.includes(model_id));
const completed = await client.complete({
  ref: { type: 'ref/prompt', name: 'train_and_report' },
  argument: { name: 'dataset_id', value: model_id.slice(0, 4) },
});
assert.ok(completed.completion.values.includes(model_id));
const refused = await client.callTool({ name: 'infer', arguments: { model_id: 'none', prompt: 'a' } });
assert.ok(refused.isError && refused.content[0].text.includes("no model 'none'"));

console.log(JSON.stringify(tools.map((tool) => tool.name)));
await client.close();
process.exit(0);
