/** @file Headless Chromium with WebGPU, as every script of the tests and measurements starts it. */
import { createRequire } from "node:module";

// Nothing that calls home.
const FLAGS = [
  "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-quic", "--disable-dev-shm-usage",
];

/**
 * A browser, or with a folder for its `profile` the one context that has it; `env` is added to this process's
 * environment. SwiftShader, which Chromium brings along, stands in for a GPU unless the environment's CHROMIUM_FLAGS say
 * otherwise; CHROMIUM names another program. The npm package "playwright-core" is looked for beside `from`, a file or
 * folder, and where NODE_PATH leads.
 */
export function startChromium({ flags = [], profile, env = {}, from = `${process.cwd()}/` } = {}) {
  const { chromium } = createRequire(from)("playwright-core");
  const gpu = process.env.CHROMIUM_FLAGS?.split(" ") ?? ["--use-webgpu-adapter=swiftshader"];
  const options = {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: false, // Playwright's own headless flags turn the GPU off
    args: [...FLAGS, ...gpu, ...flags],
    env: { ...process.env, ...env },
    ignoreDefaultArgs: ["--disable-gpu", "--enable-unsafe-swiftshader"],
  };
  return profile === undefined ? chromium.launch(options) : chromium.launchPersistentContext(profile, options);
}
