// The page without a mouse: {address}, of an empty state: a model is made with the keyboard alone.
import assert from 'node:assert/strict';
import { live, scenario, until } from './browser.mjs';
import { outcomeOf } from './forms.mjs';

const MAX_STOPS = 150;

const focused = (page, selector) => page.evaluate((one) => document.activeElement?.matches(one) ?? false, selector);

/** Presses Tab until something that fits has the focus; each stop on the way must be seen, and seen to be focused. */
async function tabTo(page, selector) {
  for (let stop = 0; stop < MAX_STOPS; stop += 1) {
    if (await focused(page, selector)) return;
    await page.keyboard.press('Tab');
    const unseen = await page.evaluate(() => {
      const node = document.activeElement;
      if (!node || node === document.body) return null;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(node);
      const marked = (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
      const { width, height } = node.getBoundingClientRect();
      return marked && width && height ? null : `${node.outerHTML.slice(0, 200)} ${outlineStyle} ${outlineWidth} ${width}×${height}`;
    });
    assert.equal(unseen, null, 'the focus is not seen');
  }
  assert.fail(`no ${selector} within ${MAX_STOPS} stops`);
}

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  await tabTo(page, '[role=tab]');
  const current = () => page.evaluate(() => {
    const tab = document.activeElement;
    return [tab.getAttribute('role'), tab.getAttribute('aria-selected'), tab.textContent.trim()];
  });
  const names = await page.getByRole('tab').allInnerTexts();
  const seen = [(await current())[2]];
  await page.keyboard.press('ArrowRight');
  seen.push((await current())[2]);
  assert.notEqual(seen[0], seen[1], 'an arrow does not reach the next tab');
  await page.keyboard.press('ArrowLeft');
  assert.equal((await current())[2], seen[0]);
  await page.keyboard.press('End');
  assert.equal((await current())[2], names.at(-1).trim());
  await page.keyboard.press('Home');
  assert.equal((await current())[2], names[0].trim());
  for (let i = 0; i < names.length && (await current())[2] !== 'Create a model'; i += 1) await page.keyboard.press('ArrowRight');
  if ((await current())[1] !== 'true') await page.keyboard.press('Enter');
  assert.deepEqual(await current(), ['tab', 'true', 'Create a model']);

  await tabTo(page, 'form[data-tool=init_model] [name=model_id]');
  await page.keyboard.press('ControlOrMeta+A');
  await page.keyboard.type('by-keyboard');
  await page.keyboard.press('Enter');
  await page.locator('#models tbody tr', { hasText: 'by-keyboard' }).waitFor();
  await until(() => outcomeOf(page.locator('form[data-tool=init_model]')).innerText(), (text) => /by-keyboard/.test(text), 'the outcome is told');
});
