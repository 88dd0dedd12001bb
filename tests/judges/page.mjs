// The status page in a headless Chromium: node page.mjs ADDRESS MODEL, while MODEL is trained at ADDRESS.
//
// Exits with 0 when the page shows the model, follows its steps by itself, cancels the training, and neither it nor its policies complained.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [address, model] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage();
  const complaints = [];
  const outside = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => request.url().startsWith(address) || outside.push(request.url()));
  await page.goto(`${address}/`);
  const row = page.locator('#models tbody tr', { hasText: model });
  await row.waitFor();
  await page.selectOption('#choice', model);
  const step = async () => Number((await row.locator('td, th').nth(5).innerText()).replaceAll(/[^0-9]/g, ''));
  const first = await step();
  for (let round = 0; round < 300 && (await step()) <= first; round++) await page.waitForTimeout(100);
  assert.ok((await step()) > first, `the page stayed at step ${first}`);
  await page.locator('#bits-chart svg, #bits-chart canvas').first().waitFor();
  await page.getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  await page.locator('#jobs tbody tr', { hasText: model }).getByText('cancelled', { exact: true }).waitFor();
  assert.equal(await page.locator('#connection').getAttribute('data-state'), 'live');
  assert.deepEqual(complaints, []);
  assert.deepEqual(outside, []);
} finally {
  await browser.close();
}
