// The form that says how a model is watched: {address, model, other}, of two idle models.
//
// It shows what the server has, sends what is set and nothing else, keeps it over a reload, moves with its sliders, tells what the
// server refuses beside the control, and goes along when another model is chosen.
import assert from 'node:assert/strict';
import { given, live, scenario, served, until } from './browser.mjs';
import { blamed, errorsOf, fill, send } from './forms.mjs';

const { model, other } = given;

await scenario(async ({ open, complaints }) => {
  const page = await open();
  const posted = [];
  page.on('request', (request) => request.method() === 'POST' && posted.push(request.postDataJSON()));
  const form = page.locator('#watch-form');
  const field = (name) => form.locator(`[name="${name}"]`);
  const kept = async () => (await served(page, `/api/models/${model}`)).config;
  const told = (text) => until(() => page.locator('#watch-line').allInnerTexts(), ([line = '']) => line.includes(text), `the line says ${text}`);
  const valuesOf = (names) => Promise.all(names.map((name) => field(name).inputValue().then(Number)));
  const shown = (wanted) =>
    until(() => valuesOf(Object.keys(wanted)), (found) => `${found}` === `${Object.values(wanted)}`, JSON.stringify(wanted));
  const choose = async (id) => {
    await live(page);
    await page.selectOption('#choice', id);
    await page.locator('#watch').evaluate((fold) => (fold.open = true));
    await field('lambda_k').waitFor();
  };

  await choose(model);
  await shown({ lambda_k: 1, floor_c: 0.3, telemetry_every: 10, drift_window: 10 });
  await send(form);
  await told('Nothing was changed');
  assert.deepEqual(posted, []);

  await fill(form, { lambda_k: 2.5, telemetry_every: 3, composite_loss: 0.01, halt_on_drift: true });
  const slider = field('floor_c').locator('xpath=..').locator('input[type=range]');
  await slider.fill('0.25');
  await shown({ floor_c: 0.25 });
  await field('floor_k').fill('0.5');
  assert.equal(await field('floor_k').locator('xpath=..').locator('input[type=range]').inputValue(), '0.5');
  await field('floor_k').fill('0');
  await send(form);
  await told('Saved with the model');
  assert.deepEqual(await errorsOf(form), []);
  const changed = { lambda_k: 2.5, floor_c: 0.25, telemetry_every: 3, composite_loss: 0.01, halt_on_drift: true };
  assert.deepEqual(posted, [{ model_id: model, ...changed }]);
  const { telemetry, floors } = await kept();
  assert.deepEqual([telemetry.lambda_k, floors.c, telemetry.halt_on_drift], [2.5, 0.25, true]);

  await choose(other);
  await shown({ lambda_k: 1, floor_c: 0.3 });
  assert.equal(await field('halt_on_drift').inputValue(), 'false');

  await page.reload();
  await choose(model);
  await shown({ lambda_k: 2.5, floor_c: 0.25, telemetry_every: 3 });
  assert.equal(await slider.inputValue(), '0.25');
  assert.equal(await field('halt_on_drift').inputValue(), 'true');

  // What cannot be is told beside its control, and changes nothing.
  await fill(form, { drift_window: 0 });
  await send(form);
  assert.match(await blamed(form, 'drift_window'), /drift_window=0/);
  await fill(form, { drift_window: 10, lambda_k: 0, lambda_c: 0, lambda_s: 0, composite_loss: 0 });
  await send(form);
  assert.match(await blamed(form, 'lambda_k'), /lambda_k, lambda_c and lambda_s are all 0/);
  assert.equal((await kept()).telemetry.lambda_k, 2.5);
  assert.equal(complaints.forgive(/status of 422/), 2);

  await fill(form, { lambda_k: 2.5, profile: 'legacy' });
  await send(form);
  await told('Saved with the model');
  assert.deepEqual(await errorsOf(form), []);
  assert.equal((await kept()).telemetry.profile, 'legacy');
  await shown({ floor_c: 0.3 }); // another profile begins with its floors
});
