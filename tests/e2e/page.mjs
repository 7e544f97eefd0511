/** @file Draws on the digits page in headless Chromium as a person would, and prints what went wrong and what the footer says, as JSON. */
import { startChromium } from "../chromium.mjs";

const [url] = process.argv.slice(2);
const browser = await startChromium();
try {
  const page = await browser.newPage({ reducedMotion: "reduce" });
  page.setDefaultTimeout(180_000); // SwiftShader takes long to compile shaders
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => request.url().startsWith(url) || /^data:/.test(request.url()) || problems.push(request.url()));
  await page.goto(url);
  const text = (selector) => page.locator(selector).innerText();
  await page.waitForFunction(
    () => document.querySelector("#adapter").textContent !== "–" || !document.querySelector("#notice").hidden,
  );
  if (await page.locator("#notice").isVisible()) problems.push(await text("#notice"));

  /** Acts, and waits until the page shows what it should; otherwise what it shows is a problem. */
  const expect = async (digit, action) => {
    await action();
    const shown = (digit) => document.querySelector("#digit").textContent === digit;
    await page.waitForFunction(shown, digit, { timeout: 60_000 }).catch(async () => {
      problems.push(`expected ${digit}, the page shows ${await text(".read")}`);
    });
  };
  for (let digit = 0; digit < 10; digit++) {
    await expect(String(digit), () => page.locator("#examples button").nth(digit).click());
  }
  await expect("–", () => page.locator("#clear").click());
  await expect("1", async () => {
    const { x, y, width, height } = await page.locator("#sheet").boundingBox();
    await page.mouse.move(x + 0.52 * width, y + 0.2 * height);
    await page.mouse.down();
    await page.mouse.move(x + 0.5 * width, y + 0.8 * height, { steps: 12 });
    await page.mouse.up();
  });
  process.stdout.write(JSON.stringify({ problems, footer: await text("footer") }));
} finally {
  await browser.close();
}
