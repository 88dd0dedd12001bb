// The page of show_surprise in a host's chat: the map, a cell that is chosen, data that takes long, and a host without calls.
import assert from 'node:assert/strict';
import { given, scenario, until } from './browser.mjs';
import { connect, hosting, show, stumbles } from './chat.mjs';

const tool = 'show_surprise';
const arguments_ = { model_id: given.model, text: given.text, cells: 64, shown: 64 };
const text = (frame, selector) => frame.locator(selector).innerText();
const line = (frame, begin) => until(() => text(frame, '#line'), (told) => told.startsWith(begin), begin);
const decoded = (base64) => Buffer.from(base64, 'base64');
const bytesShown = (frame) => frame.locator('.bytes .byte').count();

await scenario(async ({ open, complaints }) => {
  await hosting(async (address) => {
    const { client, call } = await connect();
    const result = await call(tool, arguments_);
    const told = result.structuredContent;
    const page = await open({ viewport: { width: 800, height: 900 } }, { address });
    const { bridge, frame, calls } = await show(page, { client, tool, arguments_, result, context: { theme: 'light' } });

    // Every cell and every shown byte is there, and the numbers are the tool's.
    await line(frame, 'The bytes from offset');
    assert.equal(await text(frame, '#title'), `What surprises ${given.model}`);
    assert.equal(await frame.locator('.heat .cell').count(), decoded(told.peaks_base64).length);
    assert.ok((await text(frame, '.about')).includes(`${told.bits_per_byte.toFixed(3)} bits a byte`));
    assert.equal(await bytesShown(frame), 64);
    assert.deepEqual(calls, []);
    const first = decoded(told.surprise_base64)[0] / 16;
    await frame.locator('.bytes .byte').first().hover();
    assert.ok((await text(frame, '.strip .read')).includes(`${first.toFixed(2)} bits`));

    // A cell has its bytes shown, by the same call for these alone; by the keyboard too. The map stays.
    const at = told.offset + 7 * told.cell_bytes;
    await frame.locator('.heat .cell').nth(7).click();
    await until(() => calls.length, (number) => number === 1, 'the call');
    const { wait_s: _, ...made } = calls[0].arguments;
    const wanted = { ...arguments_, offset: at, num_bytes: Math.min(512, told.num_bytes - 7 * told.cell_bytes), shown: 512 };
    assert.deepEqual([calls[0].name, made], [tool, wanted]);
    await line(frame, `The bytes from offset ${at.toLocaleString('en')}`);
    const there = (await call(tool, wanted)).structuredContent;
    assert.equal(await bytesShown(frame), decoded(there.data_base64).length);
    assert.equal(await frame.locator('.heat .cell').count(), decoded(told.peaks_base64).length);
    await frame.locator('.bytes .byte').first().hover();
    assert.ok((await text(frame, '.strip .read')).includes(`offset ${at.toLocaleString('en')}`));
    await frame.locator('.map .reader').focus();
    await page.keyboard.press('End');
    await page.keyboard.press('Enter');
    await until(() => calls.length, (number) => number === 2, 'the call by the keyboard');
    await line(frame, 'The bytes from offset');

    // The look, narrow and wide, dark and light.
    assert.deepEqual(await stumbles(frame), []);
    await bridge.sendHostContextChange({ theme: 'dark' });
    await until(() => frame.evaluate(() => getComputedStyle(document.body).backgroundColor), (colour) => colour === 'rgb(25, 31, 40)', 'dark');
    assert.deepEqual(await stumbles(frame), []);
    await page.setViewportSize({ width: 360, height: 800 });
    assert.ok(await frame.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'it is too wide for a phone');

    // A result that is not there yet is waited for; an error is told, and what was shown stays.
    const late = await call(tool, { ...arguments_, wait_s: 0 });
    await bridge.sendToolResult({ ...late, structuredContent: { job_id: late.structuredContent.job_id, status: 'running' } });
    await until(() => calls.at(-1).name, (name) => name === 'wait_job', 'it waits for the job');
    await line(frame, 'The bytes from offset');
    await call('delete', { kind: 'model', name: given.model });
    await frame.locator('.heat .cell').nth(3).click();
    await line(frame, `no model '${given.model}'`);
    assert.equal(await bytesShown(frame), 64);
    await bridge.teardownResource({});
    await page.context().close();

    const alone = await open({}, { address });
    const silent = await show(alone, { client, tool, arguments_, result, asks: false });
    await line(silent.frame, 'This host does not let the page ask');
    assert.equal(await bytesShown(silent.frame), 64);
    await silent.frame.locator('.heat .cell').nth(3).click();
    await line(silent.frame, 'This host does not let the page ask');
    await alone.context().close();
    await client.close();
    complaints.none();
  });
});
