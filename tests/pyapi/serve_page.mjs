/** @file Runs a package on the page of `tvm-webgpu serve` in headless Chromium, and prints what it shows, as JSON. */
import { startChromium } from "../chromium.mjs";

const [url] = process.argv.slice(2);
const browser = await startChromium();
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(url);
  await page.getByLabel("Values of x").selectOption("ones");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.locator("#results .field, #problem:visible, #failure:visible").first().waitFor();
  const text = await page.locator("body").innerText();
  process.stdout.write(JSON.stringify({ problems, text, isolated: await page.evaluate("crossOriginIsolated") }));
} finally {
  await browser.close();
}
