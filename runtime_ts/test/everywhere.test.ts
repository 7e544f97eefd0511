/** @file The bundle as it ships, wherever there is WebGPU: pages and workers of strict sites, Node, Deno and Bun. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { after, before, describe, test } from "node:test";
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

interface Program {
  readonly args: readonly string[];
  /** The scope of npm's packages that hold the program for one platform each, and where it lies in them. */
  readonly scope?: string;
  readonly place?: string;
  /** What it says where it finds no WebGPU. */
  readonly without: RegExp;
}

const NO_DAWN = /^UnsupportedError: .* npm package "webgpu" \(npm install webgpu\)/;
const PROGRAMS: Readonly<Record<string, Program>> = {
  node: { args: [], without: NO_DAWN },
  deno: { // its own WebGPU, and no other right than to read
    args: ["run", "--no-prompt", "--allow-read"], scope: "@deno", place: "deno",
    without: /^UnsupportedError: WebGPU found no graphics adapter: install a Vulkan driver/,
  },
  bun: { args: ["run", "--no-install"], scope: "@oven", place: "bin/bun", without: NO_DAWN },
};

/** The path of a program: from a variable, npm's package for this platform, or the PATH. */
async function find(name: string, { scope, place }: Program): Promise<string | undefined> {
  const packages = join(ROOT, "node_modules", scope ?? "");
  const folders = scope && existsSync(packages) ? await readdir(packages) : [];
  const places = folders.map((folder) => join(packages, folder, place ?? name));
  places.push(...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, name)));
  return process.env[name.toUpperCase()] ?? places.find((path) => existsSync(path));
}

const NO_WEBGPU = `import { loadModel } from "./tvm-webgpu.mjs";
  const said = await loadModel("${FIXTURE}").catch(({ name, message }) => name + ": " + message);
  console.log(said);
  globalThis.process?.exit?.(0);`;

for (const [name, kind] of Object.entries(PROGRAMS)) {
  const found = await find(name, kind);
  describe(name, { skip: found === undefined && `no ${name} here` }, () => {
    let home = "";
    before(async () => { home = await mkdtemp(join(tmpdir(), `tvm-webgpu-${name}-`)); });
    after(() => rm(home, { recursive: true, force: true }));

    /** What the program prints for a script; `changes` to its environment. */
    async function run(script: string, changes: Record<string, string> = {}): Promise<string> {
      const own = { NODE_PATH: undefined, DENO_DIR: home, DENO_NO_UPDATE_CHECK: "1", XDG_RUNTIME_DIR: home };
      const options = { cwd: home, env: { ...process.env, ...own, ...changes }, timeout: 60_000 };
      return (await promisify(execFile)(found!, [...kind.args, script], options)).stdout;
    }

    test("runs a package", async () => {
      assert.deepEqual(JSON.parse(await run(join(ROOT, "test/site/program.mjs"))), {
        y: [2, 4, 6, 8],
        onGpu: [3, 6, 9, 12],
        counted: [7, 5],
        half: [15360, 49152, 0],
        error: 'InputError: input "x": expected float32[n, 4], got float32[4]',
      });
    });

    test("says that it has no WebGPU", async () => {
      await copyFile(join(BUNDLE, "tvm-webgpu.mjs"), join(home, "tvm-webgpu.mjs")); // away from the package "webgpu"
      await writeFile(join(home, "without.mjs"), NO_WEBGPU);
      // Only Vulkan, and no driver for it: wgpu, which is in Deno, would else find OpenGL's.
      const none = { VK_DRIVER_FILES: join(home, "none.json"), DENO_WEBGPU_BACKEND: "vulkan" };
      assert.match(await run(join(home, "without.mjs"), none), kind.without);
    });
  });
}
