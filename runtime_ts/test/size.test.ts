/** @file The runtime's bundle is small: what a page downloads before any model. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { ROOT } from "./support.ts";

test("the runtime has at most 30 kB with gzip", async () => {
  const { length } = gzipSync(await readFile(join(ROOT, "dist/tvm-webgpu.mjs")), { level: 9 });
  assert.ok(length <= 30_000, `${length} bytes`);
});
