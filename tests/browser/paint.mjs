// The first paint: {address}, of a server with something to show.
import assert from 'node:assert/strict';
import { live, measured, scenario } from './browser.mjs';

const LOADS = 5;
const LIMIT_MS = 500;

await scenario(async ({ open }) => {
  const paints = [];
  for (let load = 0; load < LOADS; load += 1) {
    const page = await open();
    await live(page);
    paints.push(await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0].startTime));
    await page.context().close();
  }
  const median = paints.sort((a, b) => a - b)[Math.floor(LOADS / 2)];
  measured({ first_paint_ms: Math.round(median) });
  assert.ok(median <= LIMIT_MS, `the first paint came after ${median} ms`);
});
