// Who may act: {address, token} of a server with a token and --open-page, {readOnly} of one that only reads; each has a model {model}.
import assert from 'node:assert/strict';
import { given, live, scenario } from './browser.mjs';
import { act } from './forms.mjs';

const { model, token, readOnly } = given;

await scenario(async ({ open, complaints }) => {
  const page = await open();
  await live(page);
  await page.locator('#models tbody tr', { hasText: model }).waitFor();
  await page.locator('#bits-chart .lines path').first().waitFor();
  assert.equal(await page.locator('form[data-tool]:visible, form[data-upload]:visible').count(), 0, 'forms are shown to who may not act');
  assert.equal(await page.getByRole('button', { name: /^Cancel|^Load|^Train/ }).count(), 0);
  for (const [path, options] of [['/api/tools'], ['/api/tools/infer', { method: 'POST', data: {} }], ['/api/datasets/x', { method: 'PUT', data: 'x' }]]) {
    const answer = await page.request.fetch(`${given.address}${path}`, options);
    assert.equal(answer.status(), 401, path);
    assert.match(answer.headers()['www-authenticate'], /^Bearer/);
  }

  const unlock = page.locator('#unlock');
  await unlock.locator('[name=token]').fill('not-the-token-at-all');
  await unlock.locator('button').click();
  await page.locator('#unlock-error').getByText(/token/).waitFor();
  await unlock.locator('[name=token]').fill(token);
  await unlock.locator('button').click();
  await page.locator('#acts').waitFor();
  assert.match(await act(page, 'infer', { model_id: model, prompt: 'a', max_new_bytes: 4 }), /4 bytes/);
  await page.reload(); // known to this tab as long as it lives
  await live(page);
  assert.match(await act(page, 'save_checkpoint', { model_id: model, name: 'by-hand' }), /by-hand/);
  assert.equal(await unlock.isVisible(), false);
  complaints.forgive(/status of 401/);

  const reader = await open({}, { address: readOnly });
  await live(reader);
  await reader.locator('#models tbody tr', { hasText: model }).waitFor();
  assert.ok(await reader.locator('#read-only').isVisible());
  const acting = ['init_model', 'train_step', 'save_checkpoint', 'load_checkpoint', 'delete', 'set_telemetry', 'cancel_job'];
  for (const tool of acting) {
    assert.equal(await reader.locator(`form[data-tool=${tool}]`).count(), 0, `${tool} is offered`);
    const answer = await reader.request.post(`${readOnly}/api/tools/${tool}`, { data: {} });
    assert.equal(answer.status(), 403, tool);
  }
  assert.equal(await reader.locator('form[data-upload]:visible').count(), 0);
  assert.equal(await reader.getByRole('button', { name: /^Cancel|^Load|^Train/ }).count(), 0);
});
