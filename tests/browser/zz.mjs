import { given, live, scenario, served, until } from './browser.mjs';
import { act, blamed, controlOf, errorsOf, fill, formOf, outcomeOf, refused, send, set } from './forms.mjs';
await scenario(async ({ open, complaints }) => {
  const page = await open(); await live(page);
  page.on('response', async (r) => r.url().includes('/api/tools/') && console.log(r.url(), r.status(), (await r.text()).slice(0, 600)));
  try { console.log(await act(page, 'infer', { model_id: 'made', prompt: 'The ', max_new_bytes: 16, seed: 3 })); } catch (e) { console.log(e.message.slice(0,600)); }
  await page.waitForTimeout(3000);
  const o = outcomeOf(await formOf(page, 'infer'));
  console.log(await o.count(), (await o.innerHTML()).slice(0, 3000));
  complaints.forgive(/./);
});
