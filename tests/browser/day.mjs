// A page that is left open: {address, model}, of an idle model; more events than a day brings, made up between server and page.
//
// A server of our own stands before the real one: it hands everything on, but the stream of events is its own, so that 20,000
// steps of a training take seconds. In the end the real state comes again, and the page must show that and nothing else.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { MAX_JOBS_SHOWN, given, live, measured, numberIn, scenario, served, stepOf, until } from './browser.mjs';

const { address, model } = given;
const EVENTS = 20_000;
const SAMPLES = 10;
const WARM = 4; // samples until all that is bounded is full
const GROWTH_BYTES = 1_000_000;
const GROWTH_NODES = 200;

/** Hands a request on to the real server. */
function forward(request, response) {
  const headers = { ...request.headers, host: new URL(address).host };
  const asked = http.request(`${address}${request.url}`, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  asked.on('error', () => response.destroy());
  request.pipe(asked);
}

/** The server before the server: `send(event, data)` reaches all pages, `connected()` waits for the first. */
async function between(first) {
  const pages = new Set();
  let number = 0;
  let arrived;
  const connected = new Promise((done) => (arrived = done));
  const text = (event, data) => `id: simulated-${(number += 1)}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  const server = http.createServer((request, response) => {
    if (!request.url.startsWith('/api/events')) return forward(request, response);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(`retry: 1000\n\n${text('state', first)}`);
    pages.add(response);
    response.on('close', () => pages.delete(response));
    return arrived();
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const send = async (event, data) => {
    for (const page of pages) {
      if (!page.write(text(event, data))) await Promise.race([once(page, 'drain'), once(page, 'close')]);
    }
  };
  const close = () => server.close() && server.closeAllConnections();
  return { address: `http://127.0.0.1:${server.address().port}`, connected, send, close };
}

/** What one more step changes. */
function change(state, step) {
  const base = state.models.find(({ model_id: id }) => id === model);
  const bits = 8 / (1 + step / 5000) + Math.sin(step) / 10;
  const k = step % 10 ? null : (1 + Math.sin(step / 500)) / 2;
  const point = {
    step, loss: bits * Math.LN2, bits_per_byte: bits, bits_per_byte_mixed: null, grad_norm: 1 + Math.cos(step),
    learning_rate: 0.001, k, c: k, s: k,
  };
  const facts = { state: 'training', step, loss: point.loss, bits_per_byte: bits, points: [point] };
  const done = { status: 'running', progress: (step - base.step) / EVENTS, steps_done: step, steps_total: null, finished: null };
  const job = { ...state.jobs.at(-1), ...done, job_id: 'job-of-a-day', kind: 'train_step', created: 1 };
  const call = (i) => ({
    at: 1.7e9 + step - i, client: 'a day', tool: 'infer', model_id: model, duration_ms: step + i, outcome: 'ok', message: null,
  });
  const calls = step % 20 ? {} : { calls: Array.from({ length: 30 }, (_, i) => call(i)) };
  return { version: state.version + step - base.step, models: [{ ...base, ...facts }], jobs: [job], ...calls };
}

async function weigh(session) {
  await session.send('HeapProfiler.collectGarbage');
  const { metrics } = await session.send('Performance.getMetrics');
  const value = (name) => metrics.find((metric) => metric.name === name).value;
  return { heap: value('JSHeapUsedSize'), nodes: value('Nodes'), listeners: value('JSEventListeners') };
}

await scenario(async ({ open }) => {
  const state = await (await fetch(`${address}/api/status`)).json();
  const proxy = await between(state);
  const page = await open({}, { address: proxy.address });
  await proxy.connected;
  await live(page);
  await page.selectOption('#choice', model);
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  await session.send('HeapProfiler.enable');
  const first = state.models.find(({ model_id: id }) => id === model).step;
  const samples = [];
  let step = first;
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    for (let i = 0; i < EVENTS / SAMPLES; i += 1) await proxy.send('change', change(state, (step += 1)));
    await until(() => stepOf(page, model), (shown) => shown === step, 'all simulated steps are shown');
    samples.push(await weigh(session));
  }
  const middle = (WARM + SAMPLES) / 2;
  const largest = (name, from, to) => Math.max(...samples.slice(from, to).map((sample) => sample[name]));
  const growth = (name) => largest(name, middle, SAMPLES) - largest(name, WARM, middle);
  const all = ({ heap, nodes, listeners }) => [Math.round(heap / 1000), nodes, listeners];
  measured({ open_for_a_day: { events: EVENTS, heap_kb_nodes_listeners: samples.map(all) } });
  assert.ok(growth('heap') <= GROWTH_BYTES, `the heap grew by ${growth('heap')} bytes: ${JSON.stringify(samples)}`);
  assert.ok(growth('nodes') <= GROWTH_NODES, `${growth('nodes')} more nodes: ${JSON.stringify(samples)}`);
  assert.ok(growth('listeners') <= 10, `${growth('listeners')} more listeners: ${JSON.stringify(samples)}`);

  const real = await served(page, '/api/status');
  await proxy.send('state', { ...real, version: real.version });
  const truth = real.models.find(({ model_id: id }) => id === model);
  await until(() => stepOf(page, model), (shown) => shown === truth.step, 'the real step is shown');
  await until(() => page.locator('#jobs tbody tr').count(), (count) => count === Math.min(real.jobs.length, MAX_JOBS_SHOWN), 'the real jobs are shown');
  assert.equal(await page.locator('#jobs tbody').getByText('job-of-a-day').count(), 0);
  assert.equal(numberIn(await page.locator('#version').innerText()), real.version);
  await page.context().close();
  proxy.close();
});
