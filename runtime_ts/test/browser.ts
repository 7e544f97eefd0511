/** @file One headless Chromium for the tests of a file, and pages in it that tell what went wrong in them. */
import { after } from "node:test";
import type { BrowserContext, Page } from "playwright-core";
import { withBrowser } from "../src/cli/browser.ts";

/** A browser that starts when it is first asked for, and ends with the file's tests. */
export function sharedBrowser(flags: readonly string[] = []): () => Promise<BrowserContext> {
  let started: Promise<BrowserContext> | undefined;
  let end: () => void = () => undefined;
  let ended: Promise<unknown> = Promise.resolve();
  after(async () => {
    end();
    await ended;
  });
  return () => started ??= new Promise((resolve, reject) => {
    ended = withBrowser(undefined, (context) => {
      resolve(context);
      return new Promise<void>((done) => { end = done; });
    }, flags).catch(reject);
  });
}

/** A page and, as they come, its uncaught errors and those on its console. `prepare` runs before its own scripts. */
export async function openPage(
  browser: BrowserContext, url: string, prepare = "",
): Promise<{ page: Page; problems: string[] }> {
  const page = await browser.newPage();
  if (prepare) await page.addInitScript(prepare);
  const problems: string[] = [];
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  page.on("pageerror", ({ message }) => { problems.push(message); });
  await page.goto(url);
  return { page, problems };
}
