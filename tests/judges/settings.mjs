// The form that says how a model is watched, in a headless Chromium: node settings.mjs ADDRESS MODEL OTHER, of two idle models.
//
// Exits with 0 when the form shows what the server has, saves what is typed and nothing else, keeps it over a reload, tells
// what the server refuses, stops what cannot be, goes along when another model is chosen, and nothing complained.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

const [address, model, other] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
  const complaints = [];
  const posted = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => request.method() === 'POST' && posted.push(request.postDataJSON()));
  const line = page.locator('#watch-line');
  const field = (name) => page.locator(`#watch-form [name="${name}"]`);
  const value = (name) => field(name).inputValue();
  const save = () => page.locator('#watch-form button').click();
  const kept = async (name) => (await (await page.request.get(`${address}/api/models/${model}/settings`)).json()).settings[name];
  const until = async (told) => {
    for (let round = 0; round < 300 && !(await line.innerText()).includes(told); round++) await page.waitForTimeout(100);
    assert.ok((await line.innerText()).includes(told), `the line says ${JSON.stringify(await line.innerText())}`);
  };
  const open = async () => {
    await page.goto(`${address}/`);
    await page.locator('#models tbody tr', { hasText: model }).waitFor();
    await page.selectOption('#choice', model);
    await page.locator('#watch summary').click();
    await field('lambda_k').waitFor();
    for (let round = 0; round < 100 && !(await value('drift_window')); round++) await page.waitForTimeout(100);
  };

  await open();
  assert.deepEqual([await value('lambda_k'), await value('floor_c'), await value('telemetry_every')], ['1', '0.3', '10']);
  await save();
  await until('Nothing was changed');
  assert.deepEqual(posted, []);

  await field('lambda_k').fill('2.5');
  await field('floor_c').fill('0.25');
  await field('telemetry_every').fill('3');
  await field('composite_loss').fill('0.01');
  await field('halt_on_drift').check();
  await save();
  await until('Saved with the model');
  assert.deepEqual(posted, [{ lambda_k: 2.5, floor_c: 0.25, telemetry_every: 3, composite_loss: 0.01, halt_on_drift: true }]);
  assert.deepEqual([await kept('lambda_k'), await kept('floor_c'), await kept('halt_on_drift')], [2.5, 0.25, true]);

  await page.selectOption('#choice', other);
  for (let round = 0; round < 100 && (await value('lambda_k')) !== '1'; round++) await page.waitForTimeout(100);
  assert.deepEqual([await value('lambda_k'), await value('floor_c')], ['1', '0.3']);
  assert.equal(await field('halt_on_drift').isChecked(), false);

  await open();
  assert.deepEqual([await value('lambda_k'), await value('floor_c'), await value('telemetry_every')], ['2.5', '0.25', '3']);
  assert.equal(await field('halt_on_drift').isChecked(), true);

  posted.length = 0;
  await field('drift_window').fill('0');
  await save();
  await page.waitForTimeout(300);
  assert.deepEqual(posted, []);
  assert.equal(await field('drift_window').evaluate((input) => input.validity.rangeUnderflow), true);
  await field('drift_window').fill('10');

  for (const name of ['lambda_k', 'lambda_c', 'lambda_s']) await field(name).fill('0');
  await field('composite_loss').fill('0');
  await save();
  await until('lambda_k, lambda_c and lambda_s are all 0');
  assert.equal(await kept('lambda_k'), 2.5);
  assert.deepEqual(complaints.splice(0).filter((text) => !text.includes('400')), []); // Chromium tells of every refusal

  await field('lambda_k').fill('2.5');
  await field('profile').selectOption('legacy');
  await save();
  await until('Saved with the model');
  assert.deepEqual([await kept('profile'), await value('floor_c')], ['legacy', '0.3']); // another profile begins with its floors
  if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT, fullPage: true });
  assert.deepEqual(complaints, []);
} finally {
  await browser.close();
}
