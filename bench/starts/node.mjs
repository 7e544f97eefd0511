/**
 * @file One start in a process of Node, which keeps files in CACHE; prints it as JSON.
 *
 * node node.mjs RUNTIME.mjs ADDRESS CACHE OPTIONS       the working folder or NODE_PATH leads to the npm package "webgpu"
 */
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { start } from "./start.mjs";

const [runtime, address, cache, given] = process.argv.slice(2);
const { folderCache, loadModel } = await import(pathToFileURL(resolve(runtime)));
const { create } = createRequire(`${process.cwd()}/package.json`)("webgpu");
const begin = performance.now(); // the driver's own start counts
globalThis.gpu = create([]); // kept: devices end with the instance that made them
const options = { ...JSON.parse(given), gpu: globalThis.gpu, cache: folderCache(cache) };
const result = await start(loadModel, address, options, begin).catch((error) => ({ error: String(error) }));
process.stdout.write(JSON.stringify(result), () => process.exit(0)); // Dawn's threads would keep Node alive
