// Pictures of the page: {address, model, dataset, folder, readme}, while the model is trained, until it asks for rest.
//
// Three sizes in both schemes go into the folder, and those that the README shows into the other one.
import { ask, given, live, scenario } from './browser.mjs';
import { act, formOf, outcomeOf } from './forms.mjs';

const SIZES = [[360, 800], [1280, 900], [3840, 2160]];

await scenario(async ({ open }) => {
  const show = async (width, height, colorScheme) => {
    const page = await open({ viewport: { width, height }, colorScheme });
    await live(page);
    await page.selectOption('#choice', given.model);
    await page.locator('#bits-chart .lines path').first().waitFor();
    return page;
  };
  for (const [width, height] of SIZES) {
    for (const scheme of ['light', 'dark']) {
      const page = await show(width, height, scheme);
      await page.screenshot({ path: `${given.folder}/${width}x${height}-${scheme}.png` });
      await page.screenshot({ path: `${given.folder}/${width}-${scheme}-whole.png`, fullPage: true });
      await page.context().close();
    }
  }

  for (const [scheme, name] of [['light', 'training'], ['dark', 'training-dark']]) {
    const page = await show(1280, 1150, scheme);
    await page.locator('#selected').evaluate((node) => node.scrollIntoView());
    await page.screenshot({ path: `${given.readme}/${name}.png` });
    await page.context().close();
  }
  await ask('rest');
  const page = await show(1280, 900, 'light');
  await act(page, 'show_surprise', { model_id: given.model, dataset_id: given.dataset });
  const outcome = outcomeOf(await formOf(page, 'show_surprise'));
  await outcome.locator('svg.heat .cell').first().waitFor();
  await outcome.evaluate((node) => node.scrollIntoView());
  await page.screenshot({ path: `${given.readme}/surprise.png` });
  await page.context().close();
});
