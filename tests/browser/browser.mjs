// What every scenario shares: a headless Chromium, what the page and its policies complained of, and words with the test.
//
// A scenario is a program: node SCENARIO.mjs '{"address": …}'. It ends with 0 when all that it asserts is so. On its standard
// output it asks the test for what only that can do (one JSON line each way) and tells what it measured.
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

export const LIMIT_MS = 60_000; // of a machine that may be busy; how fast things are is measured, not waited for
/** Of all jobs; the page says how many older ones there are. */
export const MAX_JOBS_SHOWN = 10;
export const given = JSON.parse(process.argv[2] ?? '{}');

const lines = createInterface({ input: process.stdin });
const answers = lines[Symbol.asyncIterator]();
const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

/** Has the test do something, and returns what it answers. */
export async function ask(name, arguments_ = {}) {
  say({ ask: name, arguments: arguments_ });
  return JSON.parse((await answers.next()).value);
}

/** Numbers for the record of measurements. */
export const measured = (figures) => say({ figures });

/** Everything that pages said against themselves, that left for elsewhere, or that a policy stopped. */
class Complaints {
  #found = [];

  watch(page, address) {
    const add = (text) => this.#found.push(text);
    page.on('console', (message) => message.type() === 'error' && add(message.text()));
    page.on('pageerror', (error) => add(String(error)));
    page.on('request', (request) => request.url().startsWith(`${address}/`) || add(`left for ${request.url()}`));
  }

  /** Takes out what a scenario has provoked; Chromium tells of every answer that is an error. Says how many there were. */
  forgive(pattern) {
    const before = this.#found.length;
    this.#found = this.#found.filter((text) => !pattern.test(text));
    return before - this.#found.length;
  }

  none() {
    assert.deepEqual(this.#found, []);
  }
}

// A style that is stopped only changes what is seen, so the policy's own event is made an error that everybody sees.
const tellOfViolations = () => {
  document.addEventListener('securitypolicyviolation', (event) => {
    console.error(`policy ${event.effectiveDirective} stopped ${event.blockedURI} ${event.sample}`);
  });
};

/** Plays a scenario: `play({open, complaints, browser})`, where `open(options, path)` gives a page that is watched. */
export async function scenario(play) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--js-flags=--expose-gc'] });
  const complaints = new Complaints();
  const open = async (options = {}, { address = given.address, path = '/' } = {}) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(LIMIT_MS);
    await context.addInitScript(tellOfViolations);
    const page = await context.newPage();
    complaints.watch(page, address);
    await page.goto(`${address}${path}`);
    return page;
  };
  try {
    await play({ open, complaints, browser });
    complaints.none();
  } finally {
    await browser.close();
    lines.close();
  }
}

/** Waits until a question about the page, asked again and again, is answered with what is wanted. */
export async function until(question, wanted, what) {
  const end = Date.now() + LIMIT_MS;
  let found = await question();
  while (!wanted(found)) {
    if (Date.now() > end) assert.fail(`${what}: not within ${LIMIT_MS / 1000} s, but ${JSON.stringify(found)?.slice(0, 1000)}`);
    await new Promise((resume) => setTimeout(resume, 50));
    found = await question();
  }
  return found;
}

export const live = (page) => page.locator('#connection[data-state=live]').waitFor();

/** The number that a text holds, without the separators of thousands. */
export const numberIn = (text) => Number(text.replaceAll(/[^0-9.eE+-]/g, ''));

/** The text of a model's cell in the table, by the heading of its column. */
export async function cell(page, table, row, heading) {
  const heads = await page.locator(`#${table} thead th`).allInnerTexts();
  const column = heads.findIndex((text) => text.trim().toLowerCase() === heading.toLowerCase());
  assert.notEqual(column, -1, `table ${table} has no column ${heading}, but ${heads}`);
  return page.locator(`#${table} tbody tr`, { hasText: row }).first().locator('td, th').nth(column);
}

export async function stepOf(page, model) {
  return numberIn(await (await cell(page, 'models', model, 'Step')).innerText());
}

/** A JSON view of the server, as it is now. */
export async function served(page, path, address = given.address) {
  const response = await page.request.get(`${address}${path}`);
  assert.equal(response.status(), 200, `${path}: ${await response.text()}`);
  return response.json();
}
