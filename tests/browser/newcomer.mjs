// The path of a new user, with nothing but the page: {address, file}, of an empty state: upload, create, train, generate, look, save.
import assert from 'node:assert/strict';
import { given, live, scenario, until } from './browser.mjs';
import { act, errorsOf, formOf, outcomeOf, send, set } from './forms.mjs';

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  await page.locator('#start').getByText('Choose a file').waitFor();
  const upload = page.locator('form[data-upload]');
  await set(upload, 'file', given.file);
  await send(upload);
  assert.deepEqual(await errorsOf(upload), []);
  const row = page.locator('#datasets tbody tr').first();
  await row.waitFor();

  // The settings that stand there are taken as they are; only the time is made short.
  await act(page, 'init_model', {});
  await page.locator('#models tbody tr', { hasText: 'default' }).waitFor();
  await row.getByRole('button', { name: /^Train/ }).click();
  const train = await formOf(page, 'train_step');
  assert.notEqual(await train.locator('[name=dataset_id]').inputValue(), '');
  await act(page, 'train_step', { seconds: 10 });
  await page.locator('#jobs tbody tr', { hasText: 'train_step' }).getByText('completed', { exact: true }).waitFor({ timeout: 120_000 });
  await page.locator('#bits-chart .lines path').first().waitFor();
  assert.equal(await page.locator('#start').isVisible(), false);

  await act(page, 'infer', { prompt: 'The ' });
  const generated = outcomeOf(await formOf(page, 'infer'));
  await generated.locator('.byte[class*=" s"]').first().waitFor();

  await row.getByRole('button', { name: /^Show the surprise/ }).click();
  const surprise = await formOf(page, 'show_surprise');
  const map = outcomeOf(surprise).locator('svg.heat');
  await map.waitFor();
  const strip = outcomeOf(surprise).locator('code.bytes');
  const before = await strip.innerText();
  await map.locator('.cell').nth(20).click();
  await until(() => strip.innerText(), (text) => text !== before, 'the bytes of the cell are shown');

  await act(page, 'save_checkpoint', { name: 'first' });
  await page.locator('#checkpoints tbody tr', { hasText: 'first' }).waitFor();
});
