// Pictures of the page: {address, model, folder}: three sizes in both schemes, of a real run. With {readme}: two for the README.
import { live, given, scenario } from './browser.mjs';

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
});
