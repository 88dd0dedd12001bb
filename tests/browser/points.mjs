// A long history: {address, model, steps}, of an idle model whose record has a point for each step, and {other}, that has learned one.
import assert from 'node:assert/strict';
import { given, live, measured, numberIn, scenario, served, until } from './browser.mjs';

const { model, other, steps } = given;
const REDRAW_MS = 50;

/** Milliseconds of the page's main thread that something takes: of its own clock, whoever else uses the machine. */
async function clockOf(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const busy = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1000;
  };
  const settled = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  return async (act) => {
    const before = await busy();
    await act();
    await settled();
    return (await busy()) - before;
  };
}

const at = async (page, chart) => numberIn((await page.locator(`#${chart} .at`).innerText()).replace('step', ''));

/** The value that the chart's legend shows of its first series, and the record's at the same step. */
async function agrees(page, points) {
  const step = await at(page, 'bits-chart');
  const value = Number(await page.locator('#bits-chart .legend .key >> nth=0 >> b').innerText());
  const point = points.find((one) => one.step === step);
  assert.ok(point, `the record has no step ${step}`);
  assert.ok(Math.abs(value - point.bits_per_byte) <= 0.0005001, `${value} at step ${step} is not ${point.bits_per_byte}`);
  return step;
}

async function reads(page, points) {
  const svg = page.locator('#bits-chart svg');
  await svg.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await svg.boundingBox();
  const read = [];
  for (const share of [0.2, 0.5, 0.8]) {
    await page.mouse.move(x + width * share, y + height / 2);
    read.push(await agrees(page, points));
  }
  assert.deepEqual(read, [...new Set(read)].sort((a, b) => a - b), 'the pointer reads one step after the other');
  await page.mouse.move(x, y - 40);

  const reader = page.locator('#bits-chart .reader');
  await reader.focus();
  await page.keyboard.press('End');
  const last = await agrees(page, points);
  assert.equal(last, points.at(-1).step);
  await page.keyboard.press('ArrowLeft');
  const before = await agrees(page, points);
  assert.ok(before < last);
  await page.keyboard.press('ArrowRight');
  assert.equal(await agrees(page, points), last);
  await page.keyboard.press('Home');
  assert.equal(await agrees(page, points), points[0].step);
  assert.match(await reader.getAttribute('aria-valuetext'), /^step 1\b/);
}

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  await page.selectOption('#choice', model);
  await until(() => at(page, 'bits-chart'), (step) => step === steps, 'the last step is read');
  const { points } = await served(page, `/api/models/${model}/history?limit=5000`);
  assert.ok(points.length > 2000, `the record has ${points.length} points`);
  const path = await page.locator('#bits-chart .lines path').first().getAttribute('d');
  const drawn = path.match(/[ML]/g).length;
  assert.ok(drawn >= 500, `${drawn} points are drawn`);
  assert.doesNotMatch(path, /NaN|Infinity/);
  await reads(page, points);

  const cost = await clockOf(page);
  const redraws = [];
  for (let width = 1279; width > 1259; width -= 1) redraws.push(await cost(() => page.setViewportSize({ width, height: 900 })));
  const { x, y, width, height } = await page.locator('#bits-chart svg').boundingBox();
  const pointer = [];
  for (let i = 1; i <= 20; i += 1) pointer.push(await cost(() => page.mouse.move(x + (width * i) / 21, y + height / 2)));
  await page.mouse.move(x, y - 40); // what is pointed at would stay so
  const changes = [];
  for (let i = 0; i < 5; i += 1) {
    await page.selectOption('#choice', other);
    await until(() => at(page, 'bits-chart'), (step) => step === 1, 'the other model is read');
    changes.push(await cost(async () => {
      await page.selectOption('#choice', model);
      await page.waitForFunction((last) => document.querySelector('#bits-chart .at').textContent === last, `step ${steps.toLocaleString('en')}`);
    }));
  }
  const largest = (values) => Math.round(Math.max(...values) * 10) / 10;
  measured({ points_drawn: drawn, redraw_ms: largest(redraws), pointer_ms: largest(pointer), choice_of_10000_points_ms: largest(changes) });
  assert.ok(largest(redraws) <= REDRAW_MS, `a redraw took ${largest(redraws)} ms`);
  assert.ok(largest(pointer) <= REDRAW_MS, `reading a value took ${largest(pointer)} ms`);
});
