// A slow network, and none for a while: {address, model}, while the model is trained.
//
// Chromium slows the network down; what it calls offline lets a stream that is open go on, so a cable of our own is pulled.
import net from 'node:net';
import { given, live, measured, scenario, stepOf, until } from './browser.mjs';

const { address, model } = given;
const SLOW = { offline: false, latency: 400, downloadThroughput: 50_000, uploadThroughput: 50_000 };

/** A cable to the server: `pull()` cuts all that goes through it and lets nothing in, until `plug()`. */
async function cable() {
  const { hostname, port } = new URL(address);
  const sockets = new Set();
  let pulled = false;
  const server = net.createServer((near) => {
    if (pulled) return near.destroy();
    const far = net.connect(port, hostname);
    for (const [socket, other] of [[near, far], [far, near]]) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => sockets.delete(socket) && other.destroy());
      socket.pipe(other);
    }
    return near;
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const pull = () => {
    pulled = true;
    for (const socket of sockets) socket.destroy();
  };
  return { address: `http://127.0.0.1:${server.address().port}`, pull, plug: () => (pulled = false), close: () => server.close() };
}

await scenario(async ({ open, complaints }) => {
  const wire = await cable();
  const page = await open({}, { address: wire.address, path: '/static/style.css' });
  const network = await page.context().newCDPSession(page);
  await network.send('Network.enable');
  await network.send('Network.emulateNetworkConditions', SLOW);
  const begun = Date.now();
  await page.goto(`${wire.address}/`);
  await live(page);
  measured({ slow_network_live_ms: Date.now() - begun });
  await page.selectOption('#choice', model);
  await page.locator('#bits-chart .lines path').first().waitFor();
  const further = async (what) => {
    const first = await stepOf(page, model);
    await until(() => stepOf(page, model), (step) => step > first, what);
  };
  await further('steps come over a slow network');

  wire.pull();
  await page.locator('#connection[data-state=reconnecting]').waitFor();
  wire.plug();
  await live(page);
  await further('steps come again after a time without a network');
  await page.getByRole('button', { name: `Cancel train_step of ${model}` }).click();
  await page.locator('#jobs tbody tr', { hasText: model }).getByText('cancelled', { exact: true }).waitFor();
  // At the end: Chromium may tell of the stream that was cut a while after it was.
  complaints.forgive(/ERR_(CONNECTION|EMPTY_RESPONSE|INCOMPLETE|SOCKET)/);
  await page.context().close();
  wire.pull();
  wire.close();
});
