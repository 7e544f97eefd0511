/** @file The bundle as it ships, wherever there is WebGPU: pages and workers of strict sites, Node, Deno and Bun. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { openPage, sharedBrowser } from "./browser.ts";
import { ISOLATED, serve, STRICT_CSP } from "./serve.ts";
import { FIXTURE, ROOT } from "./support.ts";

const BUNDLE = join(ROOT, "dist");
const ROOTS = { "/app/": join(ROOT, "test/site"), "/dist/": BUNDLE, "/model/": FIXTURE };
const GLOBALS = { page: "Window", worker: "DedicatedWorkerGlobalScope", service_worker: "ServiceWorkerGlobalScope" };

const browser = sharedBrowser();

/** What test/site leaves in the page, in one context under these headers; errors of the console beside it. */
async function outcomeIn(context: string, headers: Record<string, string>): Promise<object> {
  const site = await serve(ROOTS, headers);
  const { page, problems } = await openPage(await browser(), `${site.url}app/?in=${context}`);
  try {
    return { ...(await page.evaluate<object>("outcome")), problems };
  } finally {
    await page.close();
    site.close();
  }
}

for (const [site, isolated] of [["a strict site", {}], ["a strict, cross-origin isolated site", ISOLATED]] as const) {
  describe(site, () => {
    for (const [context, name] of Object.entries(GLOBALS)) {
      test(context, async () => {
        const found = await outcomeIn(context, { "content-security-policy": STRICT_CSP, ...isolated });
        const fine = { y: [2, 4, 6, 8], violations: [], problems: [] };
        assert.deepEqual(found, { ...fine, isolated: isolated === ISOLATED, global: name });
      });
    }
  });
}

test("a site that allows no WebAssembly is told so", async () => {
  const policy = STRICT_CSP.replace(" 'wasm-unsafe-eval'", "");
  const { error } = (await outcomeIn("page", { "content-security-policy": policy })) as { error: string };
  assert.match(error, /^UnsupportedError: .*Content-Security-Policy must allow script-src 'wasm-unsafe-eval'/);
});

/** The program of another JavaScript runtime: from npm's package for this platform, a variable, or the PATH. */
async function program(name: string): Promise<string | undefined> {
  const scope = join(ROOT, `node_modules/@${name}`);
  const packages = existsSync(scope) ? await readdir(scope) : [];
  const places = packages.map((folder) => join(scope, folder));
  places.push(...(process.env["PATH"] ?? "").split(delimiter));
  return process.env[name.toUpperCase()] ?? places.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const RUNTIMES: Readonly<Record<string, readonly string[]>> = {
  node: [],
  deno: ["run", "--no-prompt", `--allow-read=${ROOT}`], // its own WebGPU, and no other right
  bun: ["run"],
};

for (const [name, args] of Object.entries(RUNTIMES)) {
  const found = await program(name);
  test(name, { skip: found === undefined && `no ${name} here` }, async () => {
    const home = await mkdtemp(join(tmpdir(), `tvm-webgpu-${name}-`));
    try {
      const env = { ...process.env, DENO_DIR: home, DENO_NO_UPDATE_CHECK: "1", XDG_RUNTIME_DIR: home };
      const script = join(ROOT, "test/site/program.mjs");
      const { stdout } = await promisify(execFile)(found!, [...args, script], { cwd: ROOT, env, timeout: 60_000 });
      assert.deepEqual(JSON.parse(stdout), {
        y: [2, 4, 6, 8],
        onGpu: [3, 6, 9, 12],
        counted: [7, 5],
        half: [15360, 49152, 0],
        error: 'InputError: input "x": expected float32[n, 4], got float32[4]',
      });
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  });
}
