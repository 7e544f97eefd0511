/** @file Cache Storage in Chromium: a second visit downloads nothing, damage is mended, versions replace each other. */
import assert from "node:assert/strict";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import { openPage, sharedBrowser } from "./browser.ts";
import { serve, type Site } from "./serve.ts";
import { alteredPackage, cleanUp, ROOT } from "./support.ts";

after(cleanUp);

const FILES = ["model.wasm", "kernels.wgsl", "params-0.bin"];
const BYTES = "model.loading.fetchedBytes, model.loading.cachedBytes";

describe("the browser's cache", () => {
  const browser = sharedBrowser();
  let site: Site;
  let page: Page;
  let folder: string;
  before(async () => {
    folder = await alteredPackage(() => undefined);
    site = await serve({ "/": join(ROOT, "test/site"), "/dist/": join(ROOT, "dist"), "/model/": folder }, {});
    ({ page } = await openPage(await browser(), `${site.url}blank.html`));
    await page.evaluate('import("/dist/tvm-webgpu.mjs").then((tvm) => { globalThis.tvm = tvm; })');
  });
  after(async () => {
    await page.close();
    site.close();
  });

  /** Loads and runs in the page; gives y[0], bytes from the network, bytes from the cache, and why not all is kept. */
  function visit(options = ""): Promise<[number, number, number, string | null]> {
    return page.evaluate(`(async () => {
      const model = await tvm.loadModel("/model/", { ${options} });
      const { y } = await model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } });
      const kept = await model.loading.kept;
      const found = [y.data[0], ${BYTES}, kept ?? null];
      model.dispose();
      return found;
    })()`);
  }
  const asked = (): string[] => site.asked.splice(0).filter((path) => path.startsWith("/model/"));
  const inCache = <T>(action: string): Promise<T> => page.evaluate<T>(`(async () => {
    const names = await caches.keys();
    const cache = names.length > 0 ? await caches.open(names[0]) : undefined;
    return (${action})(cache, names);
  })()`);
  const count = (): Promise<number> => inCache("async (cache) => cache ? (await cache.keys()).length : 0");

  test("serves the second visit", async () => {
    const [y, total, cached, refusal] = await visit();
    assert.deepEqual([y, cached, refusal], [2, 0, null]);
    assert.deepEqual(asked().sort(), ["manifest.json", ...FILES].sort().map((name) => `/model/${name}`));
    assert.deepEqual(await visit(), [2, 0, total, null]);
    assert.deepEqual(asked(), ["/model/manifest.json"]);
  });

  test("is passed over where the caller wants none", async () => {
    const [, fetched, cached, refusal] = await visit("cache: false");
    assert.deepEqual([fetched > 0, cached, refusal], [true, 0, "the caller wants none"]);
    asked();
  });

  test("drops a piece with a flipped byte, which is fetched again", async () => {
    const flip = `async (cache) => {
      for (const request of await cache.keys()) {
        const bytes = new Uint8Array(await (await cache.match(request)).arrayBuffer());
        if (bytes.length !== 272) continue;
        bytes[260] ^= 1;
        await cache.put(request, new Response(bytes));
      }
    }`;
    await inCache(flip);
    const [y, fetched] = await visit();
    assert.deepEqual([y, fetched], [2, 272]);
    assert.deepEqual(asked(), ["/model/manifest.json", "/model/params-0.bin"]);
    assert.deepEqual((await visit())[1], 0);
    asked();
  });

  test("goes on with what a broken download left", async () => {
    await inCache("async (cache, names) => { await caches.delete(names[0]); }");
    // The last file fails when the others are there.
    await page.route("**/params-0.bin", async (route) => {
      while ((await count()) < FILES.length) await page.waitForTimeout(20);
      await route.fulfill({ status: 404 });
    });
    assert.equal(await page.evaluate('tvm.loadModel("/model/").catch(({ name }) => name)'), "PackageError");
    await page.unroute("**/params-0.bin");
    asked();
    const [y, fetched, cached] = await visit();
    assert.deepEqual([y, fetched, cached > 4000], [2, 272, true]);
    asked();
  });

  test("serves without network", async () => {
    await page.context().setOffline(true);
    const [y, fetched] = await visit();
    assert.deepEqual([y, fetched], [2, 0]);
    await page.context().setOffline(false);
  });

  test("has no room for a package larger than the quota, which runs all the same", async () => {
    await page.evaluate(`(async () => {
      for (const name of await caches.keys()) await caches.delete(name);
      globalThis.estimate = navigator.storage.estimate;
      navigator.storage.estimate = () => Promise.resolve({ quota: 2000, usage: 1500 });
    })()`);
    const [y, , , refusal] = await visit();
    assert.equal(y, 2);
    assert.match(refusal!, /room for 500 bytes, the package needs \d{4}/);
    assert.equal(await count(), 1); // the manifest
    await page.evaluate("navigator.storage.estimate = estimate; 0");
  });

  test("forgets what a new version of the package no longer has", async () => {
    await visit();
    assert.equal(await count(), 1 + FILES.length);
    const other = await alteredPackage(async (manifest, place) => {
      manifest.name = "other";
      await writeFile(join(place, "kernels.wgsl"), `${await readFile(join(place, "kernels.wgsl"), "utf8")}// new\n`);
    });
    for (const name of ["manifest.json", "kernels.wgsl"]) await copyFile(join(other, name), join(folder, name));
    const [y, fetched, cached] = await visit();
    assert.deepEqual([y, fetched < 1000, cached > 4000], [2, true, true]);
    assert.equal(await count(), 1 + FILES.length);
  });

  test("is cleared, of one package or of all", async () => {
    await visit();
    await page.evaluate('tvm.clearCache("/other/")');
    assert.equal((await visit())[1], 0);
    await page.evaluate('tvm.clearCache("/model/")');
    assert.ok((await visit())[1] > 0);
    await page.evaluate("tvm.clearCache()");
    assert.deepEqual(await inCache("(cache, names) => names"), []);
  });
});
