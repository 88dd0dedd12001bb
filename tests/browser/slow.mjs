// A slow network, and none for a while: {address, model}, while the model is trained.
import { given, live, measured, scenario, stepOf, until } from './browser.mjs';

const { model } = given;
const SLOW = { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 };

await scenario(async ({ open, complaints }) => {
  const page = await open({}, { path: '/static/style.css' });
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  await network.send('Network.emulateNetworkConditions', SLOW);
  const begun = Date.now();
  await page.goto(`${given.address}/`);
  await live(page);
  measured({ slow_network_live_ms: Date.now() - begun });
  await page.selectOption('#choice', model);
  await page.locator('#bits-chart .lines path').first().waitFor();
  const further = async (what) => {
    const first = await stepOf(page, model);
    await until(() => stepOf(page, model), (step) => step > first, what);
  };
  await further('steps come over a slow network');

  await network.send('Network.emulateNetworkConditions', { ...SLOW, offline: true });
  await page.locator('#connection[data-state=reconnecting]').waitFor();
  await network.send('Network.emulateNetworkConditions', SLOW);
  await live(page);
  complaints.forgive(/ERR_INTERNET_DISCONNECTED|ERR_NETWORK|ERR_INCOMPLETE|ERR_FAILED/);
  await further('steps come again after a time without a network');
  await page.getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  await page.locator('#jobs tbody tr', { hasText: model }).getByText('cancelled', { exact: true }).waitFor();
});
