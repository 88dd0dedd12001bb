// The page of show_training in a host's chat, while the model is trained, after that, and where the host passes no calls on.
import assert from 'node:assert/strict';
import { given, numberIn, scenario, until } from './browser.mjs';
import { connect, hosting, show, stumbles } from './chat.mjs';

const tool = 'show_training';
const arguments_ = { model_id: given.model };
const HOSTS = { '--color-background-primary': '#102030', '--color-background-secondary': '#203040', '--color-text-primary': '#f0f0f0', '--font-sans': 'Georgia, serif' };

const text = (frame, selector) => frame.locator(selector).innerText();
const tile = (frame, name) => frame.locator(`.tiles dt:text-is("${name}") + dd`).innerText();
const background = (frame) => frame.evaluate(() => getComputedStyle(document.body).backgroundColor);
const hide = (frame, hidden) => frame.evaluate((value) => {
  Object.defineProperty(document, 'hidden', { value, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}, hidden);

await scenario(async ({ open, complaints }) => {
  await hosting(async (address) => {
    const { client, call } = await connect();
    const page = await open({ viewport: { width: 800, height: 900 } }, { address });
    await page.clock.install();
    const started = await call(tool, arguments_);
    const first = started.structuredContent.step;
    const { bridge, frame, calls, sizes } = await show(page, { client, tool, arguments_, result: started, context: { theme: 'dark' } });

    // It shows the result, then what came since, from the beginning of the record on.
    await until(() => text(frame, '#title'), (title) => title === `Training of ${given.model}`, 'the title');
    await until(async () => numberIn(await tile(frame, 'Step')), (step) => step > first, 'a later step');
    assert.equal(await text(frame, '#state'), 'training');
    assert.ok(await frame.locator('#bits-chart .series').first().isVisible());
    assert.match(await frame.locator('#bits-chart desc').evaluate((node) => node.textContent), /at step 1,/);
    assert.ok(await frame.getByText('Memory in use').isVisible(), 'what the short answer leaves out');
    assert.deepEqual([...new Set(calls.map(({ name }) => name))], ['get_telemetry']);

    // The host's look, which may change.
    assert.equal(await background(frame), 'rgb(25, 31, 40)');
    assert.deepEqual(await stumbles(frame), []);
    await bridge.sendHostContextChange({ theme: 'light' });
    await until(() => background(frame), (colour) => colour === 'rgb(255, 255, 255)', 'the light theme');
    assert.deepEqual(await stumbles(frame), []);
    for (const unusable of [{ '--color-background-primary': 'url(https://elsewhere.test/x)' }, { '--color-text-primary': '#ffffff' }]) {
      await bridge.sendHostContextChange({ styles: { variables: { ...HOSTS, '--color-background-primary': undefined, '--font-sans': undefined, ...unusable } } });
    }
    await bridge.sendHostContextChange({ theme: 'light' });
    assert.equal(await background(frame), 'rgb(255, 255, 255)');
    await bridge.sendHostContextChange({ theme: 'dark', styles: { variables: HOSTS } });
    await until(() => background(frame), (colour) => colour === 'rgb(16, 32, 48)', "the host's colours");
    assert.equal(await frame.evaluate(() => getComputedStyle(document.body).fontFamily), 'Georgia, serif');
    await until(
      async () => [sizes.at(-1), await frame.evaluate(() => Math.ceil(document.documentElement.getBoundingClientRect().height))],
      ([told, real]) => told === real,
      'the height that it needs',
    );

    // What other windows say is not heard, and no name is markup.
    await frame.evaluate(() => {
      const params = { structuredContent: { model_id: 'forged', state: 'idle', step: 1, history: {} } };
      window.postMessage({ jsonrpc: '2.0', method: 'ui/notifications/tool-result', params }, '*');
    });
    assert.equal(await text(frame, '#title'), `Training of ${given.model}`);

    // Nobody looks: nothing is asked. Somebody looks again: it goes on.
    await hide(frame, true);
    await page.clock.fastForward(60_000);
    await until(() => frame.evaluate(() => document.hidden), Boolean, 'it is hidden');
    const unseen = await settled(page, calls);
    await page.clock.fastForward(60_000);
    assert.equal(await settled(page, calls), unseen, 'asked while nobody looked');
    await hide(frame, false);
    await until(() => calls.length, (made) => made > unseen, 'it goes on');

    // The training ends: so do the questions.
    const { job_id: job } = (await call('get_telemetry', arguments_)).structuredContent;
    await call('cancel_job', { job_id: job });
    await call('wait_job', { job_id: job, wait_s: 30 });
    await page.clock.fastForward(3000);
    await until(() => text(frame, '#state'), (state) => state === 'idle', 'it says that it is over');
    assert.equal(await text(frame, '#line'), 'Nothing is trained now.');
    const over = await settled(page, calls);
    await page.clock.fastForward(60_000);
    assert.equal(await settled(page, calls), over, 'asked while nothing was trained');
    const told = (await call('get_telemetry', { ...arguments_, full: true })).structuredContent;
    assert.equal(numberIn(await tile(frame, 'Step')), told.step);
    assert.equal(await tile(frame, 'Bits per byte'), told.bits_per_byte.toFixed(3));
    assert.equal(await tile(frame, 'K'), told.k.toFixed(3));
    await frame.getByRole('button', { name: 'Look again' }).click();
    await until(() => calls.length, (made) => made > over, 'it looks again when asked to');

    await page.setViewportSize({ width: 360, height: 800 });
    assert.ok(await frame.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'it is too wide for a phone');
    await bridge.sendToolResult({ content: [], structuredContent: { ...told, model_id: '<img src=x onerror=alert(1)>' } });
    await until(() => text(frame, '#title'), (title) => title === 'Training of <img src=x onerror=alert(1)>', 'the name as it is');
    assert.equal(await frame.locator('img').count(), 0);
    await bridge.sendToolResult({ content: started.content }); // of a host that keeps the data from pages
    await until(() => text(frame, '#title'), (title) => title === `Training of ${given.model}`, 'what the text tells');
    await bridge.sendToolResult({ content: [{ type: 'text', text: 'no model' }], isError: true });
    await until(() => text(frame, '#line'), (line) => line === 'no model', 'the error');
    await bridge.teardownResource({});
    await page.context().close();

    await withoutCalls(open, address, client, started);
    await longRecords(open, address, client, started);
    await client.close();
    complaints.none();
  });
});

/** How many calls were made once those under way are answered. */
async function settled(page, calls) {
  for (let before = -1; before !== calls.length; ) {
    before = calls.length;
    for (let i = 0; i < 20; i += 1) await page.evaluate(() => new Promise((resume) => requestAnimationFrame(resume)));
  }
  return calls.length;
}

/** Such a host shows what was told, and the page says that this is all. */
async function withoutCalls(open, address, client, result) {
  const page = await open({}, { address });
  const { frame } = await show(page, { client, tool, arguments_, result, asks: false });
  await until(() => text(frame, '#line'), (line) => line.startsWith('So it stood when the tool was called'), 'that this is all');
  assert.equal(numberIn(await tile(frame, 'Step')), result.structuredContent.step);
  assert.ok(await frame.locator('#bits-chart .series').first().isVisible());
  assert.equal(await frame.locator('#again').isVisible(), false);
  await page.context().close();
}

/** A record is read page by page, from its beginning again where another has taken its place, and no more is kept than there is. */
async function longRecords(open, address, client, result) {
  const record = { steps: 1700, loss: 2 };
  const told = ({ since_step: since, last, full }) => {
    assert.deepEqual([last, full], [500, true]);
    const step = Array.from({ length: Math.min(last, record.steps - since) }, (_, i) => since + 1 + i);
    const columns = { loss: step.map((at) => record.loss + 1 / at), bits_per_byte: step.map(() => record.loss) };
    const left = record.steps - since - step.length;
    const about = { model_id: given.model, state: 'idle', step: record.steps, alerts: [], history: { step, ...columns }, version: 1 };
    return left ? { ...about, left_out: { steps: left, next: '' } } : about;
  };
  const answer = ({ arguments: asked }) => ({ content: [], structuredContent: told(asked) });
  const page = await open({}, { address });
  const { frame, calls } = await show(page, { client, tool, arguments_, result, answer });
  const drawn = (steps) => until(
    () => frame.locator('#bits-chart desc').evaluate((node) => node.textContent),
    (desc) => desc.includes(`${record.loss.toFixed(3)} at step 1, `) && desc.includes(`at step ${steps.toLocaleString('en')}.`),
    `a curve of ${steps} steps`,
  );
  const again = async (change) => {
    Object.assign(record, change);
    const before = calls.length;
    await frame.getByRole('button', { name: 'Look again' }).click();
    await drawn(record.steps);
    return calls.slice(before).map(({ arguments: asked }) => asked.since_step);
  };
  await drawn(1700);
  assert.deepEqual(calls.map(({ arguments: asked }) => asked.since_step), [0, 499, 998, 1497]);
  assert.deepEqual(await again({ steps: 1750 }), [1699]);
  assert.deepEqual(await again({ steps: 1800, loss: 3 }), [1749, 0, 499, 998, 1497], 'another model of that name');
  assert.deepEqual(await again({ steps: 30, loss: 4 }), [1799, 0], 'one that is younger');
  assert.equal((await again({ steps: 7000 })).length, 14);
  assert.equal((await again({ steps: 7001 }))[0], 0, 'more than is kept: read anew');
  await page.context().close();
}
