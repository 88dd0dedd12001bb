// Field by field: every number that the page shows is the one that the tools tell: {address}, of an idle server.
//
// Asks for: facts = {created, telemetry, jobs, datasets, checkpoints, calls}: of each model what init_model and get_telemetry
// (full) say, the jobs that list_jobs tells, of datasets and checkpoints what made them, and which tools were called; then for
// jobs {ids}: what wait_job says of each.
import assert from 'node:assert/strict';
import { ask, live, measured, scenario, until } from './browser.mjs';

const UNITS = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 };
const NONE = '–';
let compared = 0;

/** That a text shows a number, as exactly as it has digits; what is not there is a dash. */
function agrees(text, value, about) {
  compared += 1;
  const shown = text.trim();
  if (value === null || value === undefined) return assert.equal(shown, NONE, about);
  const [, number, unit] = shown.match(/^([-\d.,]+)\s*(\S*)/) ?? assert.fail(`${about}: ${shown} is no number, but it is ${value}`);
  const plain = number.replaceAll(',', '');
  const scale = UNITS[unit.replace('/s', '')] ?? 1;
  const digits = plain.split('.')[1]?.length ?? 0;
  const difference = Math.abs(Number(plain) - value / scale);
  return assert.ok(difference <= 0.5 * 10 ** -digits + 1e-9, `${about}: the page shows ${shown}, the tool says ${value}`);
}

/** The rows of a table: for each, its cells' main texts by the names of their columns. */
const rowsOf = (page, table) => page.locator(`#${table}`).evaluate((node) => {
  const heads = [...node.querySelectorAll('thead th')].map((head) => head.textContent.trim());
  const text = (cell) => (cell.querySelector('.value') ?? cell).textContent.trim();
  return [...node.tBodies[0].rows].map((row) => ({
    ...Object.fromEntries([...row.cells].map((cell, i) => [heads[i], text(cell)])),
    note: [...row.querySelectorAll('.note')].map((note) => note.textContent).join(' '),
    titles: [...row.querySelectorAll('[title]')].map((one) => one.title).filter(Boolean),
  }));
});

const numeric = (page, table) => page.locator(`#${table} thead th.number`).allInnerTexts();

/** All numbers of a table, each column told by its name; a column of numbers that nobody tells is an error. */
async function compare(page, table, key, things, tell) {
  const rows = await rowsOf(page, table);
  assert.equal(rows.length, things.length, `${table}: ${JSON.stringify(rows)}`);
  const columns = (await numeric(page, table)).map((text) => text.trim());
  for (const thing of things) {
    const row = rows.find((one) => key(one, thing));
    assert.ok(row, `${table} has no row of ${JSON.stringify(thing)}`);
    const told = tell(thing, row);
    for (const column of columns) {
      const name = Object.keys(row).find((one) => one.toLowerCase() === column.toLowerCase());
      assert.ok(name in told, `${table}: nobody tells what is right for ${name}`);
      agrees(row[name], told[name], `${table}, ${name}`);
    }
  }
}

const TILES = {
  Step: (told) => told.step,
  'Bits per byte': (told) => told.bits_per_byte,
  'With context mixing': (told) => told.bits_per_byte_mixed,
  'Compression ratio': (told) => 8 / (told.bits_per_byte_mixed ?? told.bits_per_byte),
  K: (told) => told.k,
  C: (told) => told.c,
  S: (told) => told.s,
  'Gradient norm': (told) => told.grad_norm,
  'Held out': (told) => told.bits_per_byte_held_out,
  Composite: (told) => told.composite,
  'Attention entropy (nats)': (told) => told.attention_entropy,
  'Layers per position': (told) => told.mean_layers,
  'Bytes per patch': (told) => told.patch_mean,
  'Memory in use': (told) => told.memory_bytes,
};

async function compareSelected(page, model, told) {
  await page.selectOption('#choice', model);
  const at = () => page.locator('#bits-chart .at').innerText();
  await until(at, (text) => text === `step ${told.step.toLocaleString('en')}`, `the curve of ${model} is shown`);
  const tiles = await page.locator('#selected dl.tiles > div').evaluateAll((nodes) =>
    nodes.map((node) => [node.querySelector('dt').textContent, node.querySelector('dd').textContent]));
  assert.ok(tiles.length >= 8, JSON.stringify(tiles));
  for (const [name, text] of tiles) {
    assert.ok(name in TILES, `nobody tells what is right for the figure ${name}`);
    agrees(text, TILES[name](told), `${model}, ${name}`);
  }
  // Each value of a curve is seen, those too that stand alone between gaps: asked at once, for a redraw makes all curves anew.
  const unseen = await page.locator('#selected').evaluate((node) => [...node.querySelectorAll('.chart path.series')].flatMap((path) => {
    const points = [...path.getAttribute('d').matchAll(/M([-\d.]+) ([-\d.]+)/g)].map(([, x, y]) => new DOMPoint(x, y));
    return points.filter((point) => !path.isPointInStroke(point)).map(({ x, y }) => `${path.getAttribute('class')} at ${x} ${y}`);
  }));
  assert.deepEqual(unseen, [], `${model}: points that are not painted`);
  // The curves, read with the keyboard from the end to the beginning.
  const { history } = told;
  const read = { 'bits-chart': ['bits_per_byte', 'bits_per_byte_mixed'], 'gradient-chart': ['grad_norm'], 'kcs-chart': ['k', 'c', 's'] };
  for (const [chart, names] of Object.entries(read)) {
    if (!(await page.locator(`#${chart}`).isVisible())) continue;
    await page.locator(`#${chart} .reader`).focus();
    await page.keyboard.press('End');
    for (let back = 0; back < 4; back += 1) {
      const step = Number((await page.locator(`#${chart} .at`).innerText()).replaceAll(/\D/g, ''));
      const place = history.step.indexOf(step);
      assert.notEqual(place, -1, `${chart} shows step ${step}, which get_telemetry does not tell`);
      const shown = await page.locator(`#${chart} .legend .key b`).allInnerTexts();
      const wanted = names.map((name) => history[name]?.[place]).filter((value) => value !== undefined);
      for (let i = 0; i < Math.min(shown.length, wanted.length); i += 1) agrees(shown[i], wanted[i], `${model}, ${chart}, step ${step}, ${names[i]}`);
      await page.keyboard.press('ArrowLeft');
    }
  }
}

await scenario(async ({ open }) => {
  const page = await open();
  await live(page);
  const facts = await ask('facts');
  await until(() => page.locator('#checkpoints tbody tr').count(), (count) => count === facts.checkpoints.length, 'all is shown');
  const telemetry = Object.values(facts.telemetry);
  await compare(page, 'models', (row, told) => row.Model === told.model_id, telemetry, (told) => ({
    Parameters: facts.created[told.model_id].num_parameters,
    'Memory (estimate)': facts.created[told.model_id].memory_estimate_bytes,
    Step: told.step,
    'Loss (nats)': told.loss,
    'Bits per byte': told.bits_per_byte,
    'Mixed bits per byte': told.bits_per_byte_mixed,
  }));
  const ids = (await rowsOf(page, 'jobs')).map(({ note }) => note.match(/job-[\w-]+/)[0]);
  for (const id of facts.jobs) assert.ok(ids.includes(id), `the page does not show ${id}`);
  const jobs = await ask('jobs', { ids });
  await compare(page, 'jobs', (row, told) => row.note.includes(told.job_id), jobs, (told, row) => {
    assert.equal(row.Status, told.status);
    agrees(row.Progress, Math.floor(told.progress * 100), 'progress');
    const done = told.steps_done || null;
    if (told.steps_total && done) assert.equal(row.Steps, `${done.toLocaleString('en')} of ${told.steps_total.toLocaleString('en')}`);
    return { Steps: done, Speed: told.bytes_per_second, 'Time left': null };
  });
  await compare(page, 'datasets', (row, told) => row.Dataset === told.dataset_id, facts.datasets, (told, row) => {
    assert.ok(row.titles.includes(told.sha256), 'the digest is another');
    return { Size: told.bytes, 'To train': told.train_bytes, 'Held out': told.holdout_bytes };
  });
  await compare(page, 'checkpoints', (row, told) => row.Checkpoint === told.name, facts.checkpoints, (told, row) => {
    assert.ok(row.titles.includes(told.sha256), 'the digest is another');
    return { Step: told.step, Size: told.bytes };
  });
  const called = [...facts.calls, ...ids.map(() => 'wait_job')].sort();
  const calls = async () => (await rowsOf(page, 'calls')).map(({ Tool }) => Tool).sort();
  await until(calls, (tools) => `${tools}` === `${called}`, `the calls are ${called}`);
  for (const told of telemetry) await compareSelected(page, told.model_id, told);
  measured({ numbers_compared: compared });
  assert.ok(compared > 60, `${compared} numbers`);
});
