// Checkpoints to a hub and from it: {address} of a server with the set hub and a checkpoint `kept`, {usual} of one without that set.
import assert from 'node:assert/strict';
import { given, live, scenario } from './browser.mjs';
import { act, controlOf, formOf, refused } from './forms.mjs';

await scenario(async ({ open, complaints }) => {
  const page = await open();
  await live(page);
  await page.getByRole('button', { name: 'Push kept' }).click();
  const push = page.locator('form[data-tool=push_checkpoint]');
  assert.ok(await push.isVisible());
  assert.equal(await controlOf(push, 'name').inputValue(), 'kept');
  assert.ok(await controlOf(push, 'private').isChecked());
  assert.match(await act(page, 'push_checkpoint', { repo: 'me/bits', license: 'mit' }), /me\/bits/);

  await page.getByRole('button', { name: 'Pull from a hub' }).click();
  assert.ok(await page.locator('form[data-tool=pull_checkpoint]').isVisible());
  assert.match(await act(page, 'pull_checkpoint', { repo: 'me/bits', name: 'came' }), /came/);
  await page.getByRole('button', { name: 'Load came' }).waitFor();
  await refused(page, 'pull_checkpoint', { repo: 'nowhere', name: 'other' }, 'repo', /names no repository/);
  complaints.forgive(/status of 422/);

  const usual = await open({}, { address: given.usual });
  await live(usual);
  await usual.getByRole('button', { name: 'Load kept' }).waitFor();
  await formOf(usual, 'load_checkpoint');
  assert.equal(await usual.getByRole('button', { name: /^Push|^Pull/ }).count(), 0);
  assert.equal(await usual.locator('form[data-tool=push_checkpoint], form[data-tool=pull_checkpoint]').count(), 0);
});
