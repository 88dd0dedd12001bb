// The page for all people: {address, model}, of a model with a history: axe-core in both schemes and three widths.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFile } from 'node:fs/promises';
import { given, live, measured, scenario } from './browser.mjs';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WIDTHS = [360, 1280, 3840];
const GRAVE = ['serious', 'critical'];

async function findings(page) {
  await page.evaluate(() => document.querySelectorAll('details').forEach((fold) => (fold.open = true)));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.slice(0, 3).map(({ html }) => html.slice(0, 160)).join(' | ')}`);
}

const overflow = (page) => page.evaluate(() => {
  const { scrollWidth, clientWidth } = document.documentElement;
  const out = [...document.body.querySelectorAll('*')].filter((node) => node.getBoundingClientRect().right > clientWidth + 1);
  return scrollWidth > clientWidth ? out.slice(0, 5).map((node) => node.outerHTML.slice(0, 120)) : [];
});

await scenario(async ({ open }) => {
  const grave = new Set();
  const slight = new Set();
  for (const colorScheme of ['light', 'dark']) {
    for (const width of WIDTHS) {
      const page = await open({ colorScheme, viewport: { width, height: 900 } });
      await live(page);
      await page.selectOption('#choice', given.model);
      await page.locator('#bits-chart .lines path').first().waitFor();
      await page.evaluate(AXE);
      const tabs = await page.getByRole('tab').all();
      for (const tab of tabs.length ? tabs : [null]) {
        if (tab) await tab.click();
        const where = `${colorScheme} ${width} ${tab ? await tab.innerText() : ''}`;
        for (const finding of await findings(page)) (GRAVE.includes(finding.split(' ')[0]) ? grave : slight).add(`${finding} (${where})`);
        assert.deepEqual(await overflow(page), [], `one has to scroll sideways: ${where}`);
      }
      await page.context().close();
    }
  }
  measured({ axe_slight_findings: new Set([...slight].map((text) => text.split(':')[0])).size });
  assert.deepEqual([...grave], []);
});
