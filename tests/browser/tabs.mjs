// Two tabs show the same at the same time: {address, model}, while the model is trained.
import assert from 'node:assert/strict';
import { cell, given, live, measured, numberIn, scenario, stepOf, until } from './browser.mjs';

const { model } = given;
const STEPS = 40;
const APART_MS = 300;

/** Has a tab remember when it first showed each step. */
async function watchSteps(page) {
  const step = await cell(page, 'models', model, 'Step');
  await step.evaluate((node) => {
    globalThis.shownAt = new Map();
    const read = () => {
      const shown = Number(node.textContent.replaceAll(/[^0-9]/g, ''));
      if (!globalThis.shownAt.has(shown)) globalThis.shownAt.set(shown, performance.timeOrigin + performance.now());
    };
    new MutationObserver(read).observe(node, { characterData: true, childList: true, subtree: true });
  });
}

const shown = (page) => page.evaluate(() => [...globalThis.shownAt]);

await scenario(async ({ open }) => {
  const tabs = await Promise.all([open(), open()]);
  for (const tab of tabs) {
    await live(tab);
    await tab.locator('#models tbody tr', { hasText: model }).waitFor();
    await watchSteps(tab);
  }
  for (const tab of tabs) await until(async () => (await shown(tab)).length, (count) => count >= STEPS, `${STEPS} steps are shown`);
  const [one, other] = (await Promise.all(tabs.map(shown))).map((pairs) => new Map(pairs));
  const apart = [...one].filter(([step]) => other.has(step)).map(([step, at]) => Math.abs(at - other.get(step)));
  assert.ok(apart.length >= STEPS / 2, `of ${one.size} and ${other.size} steps, both showed ${apart.length}`);
  const p95 = apart.sort((a, b) => a - b)[Math.floor(apart.length * 0.95)];
  measured({ tabs_apart_p95_ms: Math.round(p95) });
  assert.ok(p95 <= APART_MS, `the tabs were ${p95} ms apart`);

  // What the one does, the other shows.
  await tabs[0].getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  const facts = async (tab) => {
    await tab.locator('#jobs tbody tr', { hasText: model }).getByText('cancelled', { exact: true }).waitFor();
    const tables = ['models', 'jobs', 'datasets', 'checkpoints'].map((id) => tab.locator(`#${id} tbody`).innerText());
    return JSON.stringify([numberIn(String(await stepOf(tab, model))), ...(await Promise.all(tables))]);
  };
  await until(async () => new Set(await Promise.all(tabs.map(facts))).size, (kinds) => kinds === 1, 'both show the same in the end');
});
