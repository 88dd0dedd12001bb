// Pictures of the page: {address, model, folder, readme}, while the model is trained: three sizes in both schemes into the folder,
// and the two that the README shows into the other one.
import { given, live, scenario } from './browser.mjs';
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

  const training = await show(1280, 1100, 'light');
  await training.locator('#selected').scrollIntoViewIfNeeded();
  await training.screenshot({ path: `${given.readme}/training.png` });
  await training.context().close();

  const surprise = await show(1280, 1000, 'dark');
  await act(surprise, 'show_surprise', { model_id: given.model, dataset_id: 'python-reference' });
  const outcome = outcomeOf(await formOf(surprise, 'show_surprise'));
  await outcome.locator('svg.heat .cell').first().waitFor();
  await surprise.locator('#acts').scrollIntoViewIfNeeded();
  await surprise.screenshot({ path: `${given.readme}/surprise.png` });
  await surprise.context().close();
});
