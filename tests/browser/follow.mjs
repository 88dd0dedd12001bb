// The page follows a training by itself and cancels it: {address, model}, while the model is trained.
import assert from 'node:assert/strict';
import { given, live, scenario, stepOf, until } from './browser.mjs';

const { model } = given;

await scenario(async ({ open }) => {
  const page = await open();
  await page.locator('#models tbody tr', { hasText: model }).waitFor();
  await page.selectOption('#choice', model);
  const first = await stepOf(page, model);
  await until(() => stepOf(page, model), (step) => step > first, 'the next step is shown');
  await page.locator('#bits-chart svg .lines path').first().waitFor();
  await page.getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  await page.locator('#jobs tbody tr', { hasText: model }).getByText('cancelled', { exact: true }).waitFor();
  await live(page);
  assert.equal(await page.title(), 'bitlm');
});
