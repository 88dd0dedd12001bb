// The forms of the page, each of which is a tool: found by the tab of its title or in the list of all, filled by name, and sent.
import assert from 'node:assert/strict';
import { until } from './browser.mjs';

/** The form of a tool, brought to the front. */
export async function formOf(page, tool) {
  await page.locator('#panels form[data-tool]').first().waitFor({ state: 'attached' });
  const form = page.locator(`form[data-tool="${tool}"]`);
  if (!(await form.count())) {
    await page.getByRole('tab', { name: 'All tools' }).click();
    await page.locator('#tool').selectOption(tool);
  } else if (!(await form.isVisible())) {
    const panel = await page.locator('[role=tabpanel]', { has: form }).getAttribute('aria-labelledby');
    await page.locator(`[id="${panel}"]`).click();
  }
  await form.waitFor();
  return form;
}

export const outcomeOf = (form) => form.locator('xpath=ancestor-or-self::*[.//*[contains(@class, "outcome")]][1]').locator('.outcome');
export const controlOf = (form, name) => form.locator(`[name="${name}"]`).first();

/** Opens what a control is folded into. */
async function unfold(control) {
  await control.evaluate((node) => {
    for (let fold = node.closest('details'); fold; fold = fold.parentElement.closest('details')) fold.open = true;
  });
}

/** Sets one control as a person would. */
export async function set(form, name, value) {
  const control = controlOf(form, name);
  await unfold(control);
  const kind = await control.evaluate((node) => (node.localName === 'input' ? node.type : node.localName));
  if (kind === 'checkbox') await control.setChecked(value, { timeout: 5000 });
  else if (kind === 'select') await control.selectOption(String(value), { timeout: 5000 });
  else if (kind === 'file') await control.setInputFiles(value);
  else await control.fill(String(value), { timeout: 5000 });
}

export async function fill(form, values) {
  for (const [name, value] of Object.entries(values)) await set(form, name, value);
}

/** Presses the form's button, and waits until what it began is over. */
export async function send(form) {
  const button = form.locator('button[type=submit]');
  await button.evaluate((node) => {
    node.pressed = false;
    const observer = new MutationObserver(() => {
      if (node.disabled) return;
      node.pressed = true;
      observer.disconnect();
    });
    observer.observe(node, { attributes: true, attributeFilter: ['disabled'] });
  });
  await button.click();
  await until(() => button.evaluate(({ pressed }) => pressed), Boolean, 'the button can be pressed again');
}

/** Whatever the form says against what was sent. */
export async function errorsOf(form) {
  const texts = await form.locator('.error').allInnerTexts();
  return texts.map((text) => text.trim()).filter(Boolean);
}

/** Fills and sends a form whose values are good; what its outcome says then. */
export async function act(page, tool, values) {
  const form = await formOf(page, tool);
  await fill(form, values);
  await send(form);
  assert.deepEqual(await errorsOf(form), [], `${tool} ${JSON.stringify(values)}`);
  assert.equal(await form.locator('[aria-invalid=true]').count(), 0, `${tool}: a control is told to be invalid`);
  return outcomeOf(form).innerText();
}

/** The error that stands beside a control, after it is found to be tied to it. */
export async function blamed(form, name) {
  const error = form.locator(`.error[data-for="${name}"]`);
  const text = (await error.innerText()).trim();
  const about = JSON.stringify([name, await errorsOf(form)]);
  assert.ok(text.length > 10, `nothing stands beside the control: ${about}`);
  assert.ok(await error.isVisible(), `the error is not seen: ${about}`);
  const control = controlOf(form, name);
  assert.equal(await control.getAttribute('aria-invalid'), 'true', `the control is not told to be invalid: ${about}`);
  const told = await control.evaluate((node) => {
    const ids = `${node.getAttribute('aria-describedby') ?? ''} ${node.getAttribute('aria-errormessage') ?? ''}`.trim().split(/\s+/);
    return ids.map((id) => document.getElementById(id)?.textContent ?? '').join(' ');
  });
  assert.ok(told.includes(text), `who hears the control does not hear its error: ${about}`);
  return text;
}

/** Sends what cannot be: the error stands beside the control; where it speaks of none (`name` is null), below the form. */
export async function refused(page, tool, values, name, pattern) {
  const form = await formOf(page, tool);
  await fill(form, values);
  await send(form);
  const text = name === null ? (await form.locator('.error:not([data-for])').innerText()).trim() : await blamed(form, name);
  assert.match(text, pattern);
}
