/** @file The npm package as users get it: packed, installed into an empty folder, type-checked, bundled and run. */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { build as bundle } from "esbuild";
import { publint } from "publint";
import { openPage, sharedBrowser } from "./browser.ts";
import { serve, STRICT_CSP } from "./serve.ts";
import { FIXTURE, ROOT } from "./support.ts";

const run = promisify(execFile);
const browser = sharedBrowser();
const TOOLS = join(ROOT, "node_modules");

let app: string;
let installed: string;
let tarball: string;

before(async () => {
  app = await mkdtemp(join(tmpdir(), "tvm-webgpu-app-"));
  await cp(join(ROOT, "test/vite_app"), app, { recursive: true });
  await cp(join(ROOT, "test/types/fixture.d.ts"), join(app, "src/fixture.d.ts"));
  await cp(FIXTURE, join(app, "public/model"), { recursive: true });
  tarball = await pack();
  const cache = ["--cache", join(app, ".npm")];
  await run("npm", ["install", "--offline", "--no-audit", "--no-fund", ...cache, tarball], { cwd: app });
  installed = join(app, "node_modules/tvm-webgpu");
});
after(() => rm(app, { recursive: true, force: true }));

/** The tarball of what `npm run build` made; Bazel's tests have the build's own. */
async function pack(): Promise<string> {
  const built = (await readdir(ROOT)).find((name) => name.endsWith(".tgz"));
  if (!existsSync(join(ROOT, "dist/types")) && built !== undefined) return join(ROOT, built);
  const { stdout } = await run("npm", ["pack", "--ignore-scripts", "--pack-destination", app], { cwd: ROOT });
  return join(app, stdout.trim().split("\n").at(-1)!);
}

test("holds the licence, the manual, types, and neither sources nor tests", async () => {
  const files = await readdir(installed, { recursive: true });
  for (const file of ["LICENSE", "README.md", "dist/tvm-webgpu.mjs", "dist/types/index.d.ts"]) {
    assert.ok(files.includes(file), file);
  }
  assert.deepEqual(files.filter((file) => /^(src|test|node_modules)\b|tsconfig|\.test\./.test(file)), []);
  assert.match(await readFile(join(installed, "LICENSE"), "utf8"), /Apache License/);
});

test("publint finds nothing wrong", async () => {
  const bytes = await readFile(tarball);
  const contents = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  assert.deepEqual((await publint({ pack: { tarball: contents } })).messages, []);
});

test("its program starts by its name", async () => {
  const program = join(app, "node_modules/.bin/tvm-webgpu-run");
  assert.match((await run(program, ["--help"])).stdout, /^Usage: /); // a shebang line, and the right to be run
  const { stdout } = await run("npm", ["exec", "--offline", "--", "tvm-webgpu", "--help"], { cwd: app });
  assert.match(stdout, /^Usage: /);
});

// The app's library is of 2022: a name such as Float16Array in the declarations would be an error.
for (const rules of ["bundler", "nodenext"]) {
  test(`its types hold in an older project, found by the rules of "${rules}"`, async () => {
    const module = rules === "bundler" ? "esnext" : rules;
    const args = ["-p", app, "--module", module, "--moduleResolution", rules];
    const said = await run(process.execPath, [join(TOOLS, "typescript/bin/tsc"), ...args])
      .then(({ stdout }) => stdout, (error: unknown) => (error as { stdout: string }).stdout);
    assert.equal(said, "");
  });
}

test("bundles for the web without a warning, and without a thing of Node's", async () => {
  const { warnings, outputFiles } = await bundle({
    entryPoints: [join(app, "src/main.ts")], bundle: true, write: false, format: "esm", platform: "browser",
    absWorkingDir: app, outdir: "out",
  });
  assert.deepEqual(warnings, []);
  assert.doesNotMatch(outputFiles[0]!.text, /require\(|from "node:/);
});

/** What the app leaves in its page; nothing may go wrong there, nor be fetched from elsewhere. */
async function outcomeOf(url: string): Promise<void> {
  const { page, problems } = await openPage(await browser(), url);
  const found = await page.evaluate<object>("outcome").catch((error: unknown) => String(error));
  await page.close();
  const expected = { page: [2, 4, 6, 8], worker: [2, 4, 6, 8], progress: true, error: "InputError" };
  assert.deepEqual({ found, problems }, { found: expected, problems: [] });
}

const vite = (...args: string[]): [string, string[], { cwd: string }] =>
  [process.execPath, [join(TOOLS, "vite/bin/vite.js"), ...args], { cwd: app }];

test("a Vite app that uses it is built, and runs on a strict site", async () => {
  await run(...vite("build"));
  const site = await serve({ "/": join(app, "dist") }, { "content-security-policy": STRICT_CSP });
  try {
    await outcomeOf(site.url);
  } finally {
    site.close();
  }
});

test("a Vite app that uses it runs from Vite's own server", async () => {
  const server = spawn(...vite("--host", "127.0.0.1", "--port", "0"));
  try {
    const lines = createInterface({ input: server.stdout });
    let url: string | undefined;
    for await (const line of lines) {
      url = /http:\/\/127\.0\.0\.1:\d+\//.exec(line.replace(/\x1b\[[\d;]*m/g, ""))?.[0];
      if (url !== undefined) break;
    }
    await outcomeOf(url!);
  } finally {
    server.kill();
  }
});
