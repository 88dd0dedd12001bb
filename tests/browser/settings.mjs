// The form that says how a model is watched: {address, model, other}, of two idle models.
//
// It shows what the server has, saves what is set and nothing else, keeps it over a reload, tells what the server refuses beside
// the control, stops what cannot be, and goes along when another model is chosen.
import assert from 'node:assert/strict';
import { given, live, scenario, served, until } from './browser.mjs';

const { model, other } = given;

await scenario(async ({ open, complaints }) => {
  const page = await open();
  const posted = [];
  page.on('request', (request) => request.method() === 'POST' && posted.push(request.postDataJSON()));
  const line = page.locator('#watch-line');
  const field = (name) => page.locator(`#watch-form [name="${name}"]`);
  const value = (name) => field(name).inputValue();
  const save = () => page.locator('#watch-form button').click();
  const kept = async () => (await served(page, `/api/models/${model}/settings`)).settings;
  const told = (text) => until(() => line.innerText(), (line) => line.includes(text), `the line says ${text}`);
  const shown = (wanted) =>
    until(async () => JSON.stringify(await Promise.all(Object.keys(wanted).map(value))), (found) => found === JSON.stringify(Object.values(wanted)), JSON.stringify(wanted));
  const choose = async () => {
    await live(page);
    await page.selectOption('#choice', model);
    await page.locator('#watch summary').click();
    await field('lambda_k').waitFor();
  };

  await choose();
  await shown({ lambda_k: '1', floor_c: '0.3', telemetry_every: '10' });
  await save();
  await told('Nothing was changed');
  assert.deepEqual(posted, []);

  await field('lambda_k').fill('2.5');
  await field('floor_c').fill('0.25');
  await field('telemetry_every').fill('3');
  await field('composite_loss').fill('0.01');
  await field('halt_on_drift').check();
  await save();
  await told('Saved with the model');
  assert.deepEqual(posted, [{ lambda_k: 2.5, floor_c: 0.25, telemetry_every: 3, composite_loss: 0.01, halt_on_drift: true }]);
  const { lambda_k, floor_c, halt_on_drift } = await kept();
  assert.deepEqual([lambda_k, floor_c, halt_on_drift], [2.5, 0.25, true]);

  await page.selectOption('#choice', other);
  await shown({ lambda_k: '1', floor_c: '0.3' });
  assert.equal(await field('halt_on_drift').isChecked(), false);

  await page.reload();
  await choose();
  await shown({ lambda_k: '2.5', floor_c: '0.25', telemetry_every: '3' });
  assert.equal(await field('halt_on_drift').isChecked(), true);

  // What cannot be is stopped before it is sent; what only the server knows comes back as its word.
  posted.length = 0;
  await field('drift_window').fill('0');
  await save();
  await page.waitForFunction(() => document.querySelector('#watch-form [name=drift_window]').validity.rangeUnderflow);
  assert.deepEqual(posted, []);
  await field('drift_window').fill('10');
  for (const name of ['lambda_k', 'lambda_c', 'lambda_s', 'composite_loss']) await field(name).fill('0');
  await save();
  await told('lambda_k, lambda_c and lambda_s are all 0');
  assert.equal((await kept()).lambda_k, 2.5);
  assert.equal(complaints.forgive(/status of 400/), 1);

  await field('lambda_k').fill('2.5');
  await field('profile').selectOption('legacy');
  await save();
  await told('Saved with the model');
  assert.equal((await kept()).profile, 'legacy');
  await shown({ floor_c: '0.3' }); // another profile begins with its floors
});
