// From the step to the pixel: {address, model, steps}, while the model is trained; asks for: published, the moments of all steps.
import assert from 'node:assert/strict';
import { ask, cell, given, live, measured, scenario, until } from './browser.mjs';

const { model, steps } = given;
const P95_MS = 300;

/** Remembers the frame after each change of a node: [the step it showed, when], in milliseconds since 1970. */
function watchFrames(node) {
  node.frames = [];
  const read = () => {
    const text = (node.querySelector('.at') ?? node).textContent;
    const step = Number(text.replaceAll(/[^0-9]/g, ''));
    requestAnimationFrame(() => node.frames.push([step, performance.timeOrigin + performance.now()]));
  };
  new MutationObserver(read).observe(node, { characterData: true, childList: true, subtree: true });
}

/** For each published step, how long until it or a later one was in a frame; sorted. */
function delays(published, frames) {
  const [[first], [last]] = [frames[0], frames.at(-1)];
  const inside = published.filter(([step]) => step > first && step <= last);
  return inside.map(([step, at]) => frames.find(([shown]) => shown >= step)[1] - at).sort((a, b) => a - b);
}

const share = (sorted, part) => Math.round(sorted[Math.min(Math.floor(sorted.length * part), sorted.length - 1)]);

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  await page.selectOption('#choice', model);
  await page.locator('#bits-chart .at').waitFor();
  const watched = { row: await cell(page, 'models', model, 'Step'), curve: page.locator('#bits-chart .legend') };
  for (const node of Object.values(watched)) await node.evaluate(watchFrames);
  const framesOf = (node) => node.evaluate(({ frames }) => frames);
  const span = (frames) => (frames.length ? frames.at(-1)[0] - frames[0][0] : 0);
  for (const node of Object.values(watched)) await until(() => framesOf(node), (frames) => span(frames) >= steps, `${steps} steps are shown`);
  const published = await ask('published');
  for (const [name, node] of Object.entries(watched)) {
    const found = delays(published, await framesOf(node));
    assert.ok(found.length >= steps * 0.9, `${found.length} steps of ${published.length} could be followed`);
    measured({ [`latency_${name}`]: { steps: found.length, p50_ms: share(found, 0.5), p95_ms: share(found, 0.95) } });
    assert.ok(share(found, 0.95) <= P95_MS, `p95 of the ${name} is ${share(found, 0.95)} ms`);
  }
});
