// Two servers share the state directory: {address, other, model}, of two servers; asks for: train, of the other one.
import assert from 'node:assert/strict';
import { ask, given, live, scenario, served, stepOf, until } from './browser.mjs';

const { model, other } = given;

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  const there = await open({}, { address: other });
  await live(there);
  const { job_id: job } = await ask('train');

  const row = page.locator('#jobs tbody tr', { hasText: job });
  await row.getByText('running', { exact: true }).waitFor();
  const first = await stepOf(page, model);
  await until(() => stepOf(page, model), (step) => step > first, 'steps of the other server are shown');

  // Who writes the model, and who serves this page.
  const { servers } = await served(page, '/api/status');
  assert.equal(servers.length, 2);
  const holder = servers.find(({ writes }) => writes.some(({ model_id: id }) => id === model));
  assert.ok(holder && !holder.here, JSON.stringify(servers));
  for (const { pid } of servers) await page.locator('#servers tbody tr', { hasText: String(pid) }).waitFor();
  await page.locator('#servers tbody tr', { hasText: String(holder.pid) }).getByText(model).waitFor();
  await there.locator('#servers tbody tr', { hasText: String(holder.pid) }).getByText(model).waitFor();
  await page.locator('#calls tbody tr', { hasText: 'train_step' }).filter({ hasText: model }).first().waitFor();

  await page.getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  for (const tab of [page, there]) {
    await tab.locator('#jobs tbody tr', { hasText: job }).getByText('cancelled', { exact: true }).waitFor();
    await until(
      () => tab.locator('#servers tbody tr', { hasText: String(holder.pid) }).getByText(model).count(),
      (count) => count === 0,
      'the lease is given back',
    );
  }
});
