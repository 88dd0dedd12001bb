// Every form of the page, with good values and bad ones: {address, text, packed}, of an empty state, and two files' paths.
import assert from 'node:assert/strict';
import { given, live, measured, scenario, served, until } from './browser.mjs';
import { act, blamed, controlOf, errorsOf, fill, formOf, outcomeOf, refused, send, set } from './forms.mjs';

const MODEL = 'made';
const SMALL = { preset: 'tiny', d_model: 32, nhead: 1, num_layers: 1, max_seq_len: 64, context_mixing: false };

/** In the order of a day: what to send, and what must be said of it. `{job}` is the last compression. */
const GOOD = {
  init_model: [{ model_id: MODEL, ...SMALL }, /made/],
  train_step: [{ model_id: MODEL, dataset_id: 'text', steps: 30, batch_size: 4, objective: 'mixed' }, /job-/],
  infer: [{ model_id: MODEL, prompt: 'The ', max_new_bytes: 16, seed: 3 }, /16 bytes/],
  infer_long: [{ model_id: MODEL, prompt: 'The language reference of Python. '.repeat(4), ctx_bits: 288, overlap: 72 }, /windows/],
  diffusion_sample: [{ model_id: MODEL, template: 'The ____ of', steps: 8 }, /4 bytes drawn/],
  show_surprise: [{ model_id: MODEL, dataset_id: 'text' }, /bits a byte/],
  score: [{ model_id: MODEL, dataset_id: 'text' }, /[Bb]its per byte/],
  compress: [{ model_id: MODEL, text: 'The language reference of Python. '.repeat(9) }, /: 1/],
  save_checkpoint: [{ model_id: MODEL, name: 'kept' }, /kept/],
  load_checkpoint: [{ name: 'kept', model_id: MODEL, overwrite: true }, /made/],
  list_models: [{ limit: 3 }, /./],
  scale_model: [{ model_id: MODEL, strategy: 'layer' }, /./],
  distill_model: [
    { model_id: MODEL, dataset_id: 'text', student_id: 'pupil', steps: 2, max_rounds: 1, d_model: 16, dim_feedforward: 16, nhead: 1, num_layers: 1, num_clusters: 0 },
    /pupil/,
  ],
  quantize_model: [{ model_id: MODEL, mode: 'int8', to: 'rounded' }, /rounded/],
  add_dataset: [{ dataset_id: 'spare', text: 'to be removed again, and again, and again' }, /spare/],
  list_jobs: [{ limit: 3 }, /./],
  wait_job: [{ job_id: '{job}' }, /completed/],
  cancel_job: [{ job_id: '{job}' }, /completed/],
  read_output: [{ job_id: '{job}', limit: 64 }, /./],
  repair: [{ model_id: MODEL, text: 'The language reference of Python.', places: '4:2' }, /./],
  decompress: [{ codec: 'zlib', model_id: '', data_base64: given.packed }, /./],
  get_telemetry: [{ model_id: MODEL, last: 3 }, /./],
  show_training: [{ model_id: MODEL }, /./],
  inspect_patches: [{ model_id: '', text: 'cut where words end', scheme: 'space' }, /./],
  delete: [{ kind: 'dataset', name: 'spare' }, /spare/],
};
/** Tools that have a scenario of their own here, below. */
const APART = ['calibrate_floors', 'set_telemetry', 'approve_sample', 'push_checkpoint', 'pull_checkpoint'];
/** What bounds do not tell: what to send, beside which control the error stands, and what it says. */
const BAD = [
  ['init_model', { model_id: 'Not A Name' }, 'model_id', /Not A Name/],
  ['init_model', { model_id: MODEL, ...SMALL }, 'model_id', /exists already.*overwrite=true/],
  ['train_step', { dataset_id: '', steps: 1 }, 'dataset_id', /dataset_id/],
  ['infer', { prompt: '', max_new_bytes: 16, prompt_bits: '01' }, 'prompt_bits', /9|nine/],
  ['load_checkpoint', { name: 'kept', model_id: MODEL, overwrite: false }, 'model_id', /exists already.*overwrite=true/],
  ['save_checkpoint', { model_id: MODEL, name: '../kept' }, 'name', /name/],
  ['wait_job', { job_id: 'job-none' }, null, /job-none.*call list_jobs/],
  ['calibrate_floors', { model_id: MODEL, dataset_id: 'text' }, null, /Train the model longer/],
  ['delete', { kind: 'dataset', name: 'none-such' }, null, /none-such/],
];

/** What was not as it must be; all of it is told in the end. */
const wrong = [];

async function check(about, act) {
  try {
    await act();
  } catch (error) {
    wrong.push(`${about}: ${error.message.slice(0, 400)}`);
  }
}

/** A value beyond what a schema allows, if it tells a bound. */
function beyond({ type, maximum, exclusiveMaximum, minimum, exclusiveMinimum }) {
  if (!['integer', 'number'].includes(type)) return null;
  if (maximum !== undefined) return maximum + 1;
  if (exclusiveMaximum !== undefined) return exclusiveMaximum;
  if (minimum !== undefined) return minimum - 1;
  return exclusiveMinimum ?? null;
}

async function upload(page) {
  const form = page.locator('form[data-upload]');
  await send(form);
  await blamed(form, 'file');
  await fill(form, { file: given.text, dataset_id: 'Not A Name' });
  await send(form);
  assert.match(await blamed(form, 'dataset_id'), /Not A Name/);
  await fill(form, { dataset_id: 'text', holdout_fraction: 0.95 });
  await send(form);
  await blamed(form, 'holdout_fraction');
  await fill(form, { dataset_id: 'text', holdout_fraction: 0.1 });
  await send(form);
  assert.deepEqual(await errorsOf(form), []);
  assert.match(await outcomeOf(form).innerText(), /Stored as text/);
  await page.locator('#datasets tbody tr', { hasText: 'text' }).waitFor();
  await fill(form, { file: given.text, dataset_id: 'text' });
  await send(form);
  assert.match(await blamed(form, 'dataset_id'), /exists already.*overwrite/);
}

/** Each number of each form, beyond its bound. Returns how many controls that were. */
async function bounds(page, tools, values) {
  let tried = 0;
  for (const { name: tool, schema } of tools) {
    const bounded = Object.values(schema.properties).some((node) => beyond(node) !== null);
    if (!bounded) continue;
    const form = await formOf(page, tool);
    await check(`${tool}, filled again`, () => fill(form, values[tool] ?? {}));
    for (const [name, node] of Object.entries(schema.properties)) {
      const value = beyond(node);
      if (value === null || !(await controlOf(form, name).count())) continue;
      await check(`${tool}, ${name} = ${value}`, async () => {
        await set(form, name, value);
        await send(form);
        assert.match(await blamed(form, name), new RegExp(`${name}\\b`), tool);
      });
      await set(form, name, values[tool]?.[name] ?? '');
      tried += 1;
    }
  }
  return tried;
}

/** The switches and sliders that this page remembers, or the model does. */
async function remembered(page) {
  const form = await formOf(page, 'train_step');
  for (const [field, on] of [['compress_prob', '0.5'], ['objective', 'diffusion'], ['quantize', 'int4']]) {
    const toggle = form.locator(`[data-toggle="${field}"]`);
    await toggle.check();
    assert.equal(await controlOf(form, field).inputValue(), on);
  }
  await page.reload();
  await live(page);
  const anew = await formOf(page, 'train_step');
  for (const field of ['compress_prob', 'objective', 'quantize']) {
    const toggle = anew.locator(`[data-toggle="${field}"]`);
    assert.ok(await toggle.isChecked(), `${field} is not remembered`);
    await toggle.uncheck();
  }
}

/** What the gate withholds is decided on: floors that nothing reaches, an output that is kept back, and the decision. */
async function withheld(page) {
  await page.selectOption('#choice', MODEL);
  await page.locator('#watch').evaluate((fold) => (fold.open = true));
  const watch = page.locator('#watch-form');
  await until(() => controlOf(watch, 'floor_k').inputValue(), Boolean, 'the settings are shown');
  await fill(watch, { floor_k: 1, floor_c: 1, floor_s: 1 });
  await watch.locator('button[type=submit]').click();
  await until(() => page.locator('#watch-line').innerText(), (text) => text.includes('Saved'), 'the floors are saved');
  const kept = await act(page, 'infer', { model_id: MODEL, prompt: 'The ', prompt_bits: '', max_new_bytes: 16, safety: 'strict' });
  const [sample] = kept.match(/sample-[\w-]+/) ?? [];
  assert.ok(sample, `nothing was withheld: ${kept}`);
  await refused(page, 'approve_sample', { sample_id: 'sample-none', approve: 'true' }, null, /sample-none/);
  assert.match(await act(page, 'approve_sample', { sample_id: sample, approve: 'true' }), /released|approved|data_base64/i);
}

await scenario(async ({ open, complaints }) => {
  const page = await open();
  await live(page);
  await upload(page);
  const { tools } = await served(page, '/api/tools');
  assert.deepEqual(tools.map(({ name }) => name).filter((name) => !GOOD[name] && !APART.includes(name)), [], 'tools without a row here');
  const values = {};
  for (const [tool, [sent, pattern]] of Object.entries(GOOD)) {
    values[tool] = sent;
    if (sent.job_id === '{job}') {
      const { jobs } = await served(page, '/api/status');
      sent.job_id = jobs.findLast(({ kind }) => kind === 'compress').job_id;
    }
    await check(tool, async () => assert.match(await act(page, tool, sent), pattern));
    if (tool === 'train_step') {
      await page.locator('#jobs tbody tr', { hasText: 'train_step' }).getByText('completed', { exact: true }).first().waitFor();
      await page.selectOption('#choice', MODEL);
      await page.locator('#bits-chart .lines path').first().waitFor();
      await until(() => page.locator('#gradient-chart .legend').innerText(), (text) => /step 30\b/.test(text), 'the curve is whole');
    }
    if (tool === 'infer') {
      const panel = outcomeOf(await formOf(page, 'infer'));
      await panel.locator('.byte[class*=" s"]').first().waitFor(); // coloured by its surprise
      assert.equal(await panel.locator('.byte[data-at]').count(), 'The '.length + 16);
    }
  }
  await page.locator('#checkpoints tbody tr', { hasText: 'kept' }).waitFor();
  for (const [tool, sent, name, pattern] of BAD) await check(`${tool} ${JSON.stringify(sent)}`, () => refused(page, tool, sent, name, pattern));
  await check('an output that is withheld', () => withheld(page));
  const { tools: all } = await served(page, '/api/tools');
  const tried = await bounds(page, all.filter(({ name }) => GOOD[name]), values);
  measured({ bounds_tried: tried });
  assert.ok(tried > 50, `${tried} controls`);
  complaints.forgive(/status of 422/);
  await check('what is remembered', () => remembered(page));
  assert.deepEqual(wrong, []);
});
