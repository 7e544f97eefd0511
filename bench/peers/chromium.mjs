/**
 * @file One engine of the comparison on one work in headless Chromium: a line "RESULT {json}", as its node-one.mjs prints.
 *
 * node chromium.mjs BENCH ENGINE WORK OPTIONS      NODE_PATH leads to "playwright-core"; BENCH is the comparison's folder
 *
 * A browser and a profile of its own, so that a first result finds nothing that an earlier one left. SwiftShader stands
 * in for a GPU unless CHROMIUM_FLAGS says otherwise; CHROMIUM names another browser.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { startChromium } from "../../tests/chromium.mjs";
import { serveFiles } from "../files.mjs";

const [bench, engine, work, options = "{}"] = process.argv.slice(2);
let row;
const files = Object.fromEntries(readdirSync(bench).map((name) => [name, resolve(bench, name)]));
const server = await serveFiles({ files });
const profile = await mkdtemp(join(tmpdir(), "peers-"));
const flags = ["--enable-precise-memory-info"]; // JavaScript's heap in bytes instead of steps
const context = await startChromium({ flags, profile, from: `${resolve(bench)}/` });
try {
  const page = await context.newPage();
  const errors = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  const crash = new Promise((_, reject) => page.on("crash", () => reject(new Error("the page crashed"))));
  page.setDefaultTimeout(0);
  await page.goto(`${server.address}page.html`);
  await page.waitForFunction("window.cell");
  const cell = page.evaluate(([name, on, how]) => window.cell(name, on, how), [engine, work, JSON.parse(options)]);
  row = await Promise.race([cell, crash]);
  if (row.error) row.console = errors.slice(0, 4);
} finally {
  await context.close();
  server.close();
  await rm(profile, { recursive: true, force: true, maxRetries: 3 });
}
console.log(`RESULT ${JSON.stringify(row)}`);
