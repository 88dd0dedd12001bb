// The server ends and comes back under the page, at the same address: {address, model}, of an idle model with a history.
//
// Asks for: stop, start; kill, start; train {steps}.
import assert from 'node:assert/strict';
import { MAX_JOBS_SHOWN, ask, cell, given, live, numberIn, scenario, served, stepOf, until } from './browser.mjs';

const { model } = given;

/** The points of the curve, as the page has drawn them: their number, and whether each lies right of the one before. */
async function drawn(page) {
  const path = (await page.locator('#bits-chart .lines path').first().getAttribute('d')) ?? '';
  const xs = [...path.matchAll(/[ML]([-\d.]+) /g)].map(([, x]) => Number(x));
  assert.deepEqual(xs, [...new Set(xs)].sort((a, b) => a - b), 'the curve goes back');
  return xs.length;
}

async function agrees(page) {
  const { models, jobs, version } = await served(page, '/api/status');
  await until(() => page.locator('#version').innerText().then(numberIn), (shown) => shown >= version, 'the version is shown');
  assert.equal(await page.locator('#models tbody tr').count(), models.length);
  assert.equal(await page.locator('#jobs tbody tr').count(), Math.min(jobs.length, MAX_JOBS_SHOWN));
  assert.equal(await page.locator('#choice option').count(), models.length);
  const { step } = models.find(({ model_id: id }) => id === model);
  await until(() => stepOf(page, model), (shown) => shown === step, 'the step is shown');
  const { points } = await served(page, `/api/models/${model}/history?limit=5000`);
  await until(() => drawn(page), (count) => count === points.length, `${points.length} points are drawn`);
  return points.length;
}

await scenario(async ({ open, complaints }) => {
  const page = await open();
  await live(page);
  await page.selectOption('#choice', model);
  let points = await agrees(page);
  for (const end of ['stop', 'kill']) {
    await ask(end);
    await page.locator('#connection[data-state=reconnecting]').waitFor();
    assert.match(await page.locator('#connection').innerText(), /reconnecting/);
    assert.equal(await (await cell(page, 'models', model, 'Model')).isVisible(), true, 'what was known is no longer shown');
    await ask('start');
    await live(page);
    complaints.forgive(/ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE|ERR_SOCKET/);
    assert.equal(await agrees(page), points, 'something was doubled or lost');
    await ask('train', { steps: 5 });
    points = await agrees(page);
  }
});
