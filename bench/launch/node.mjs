/**
 * @file What a launch costs the host in Node with Dawn: JSON, or one line for people on stderr.
 *
 * node node.mjs PACKAGE RUNTIME.mjs [ROUNDS] [DAWN_FLAG ...]     the npm package "webgpu" is found through NODE_PATH
 */
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { makeRun, measureLaunches } from "./measure.mjs";

const [folder, runtime, rounds = "200", ...flags] = process.argv.slice(2);
const { loadModel } = await import(pathToFileURL(resolve(runtime)));
const { create } = createRequire(`${process.cwd()}/package.json`)("webgpu");
globalThis.gpu = create(flags); // kept: devices end with the instance that made them
const model = await loadModel(resolve(folder), { gpu: globalThis.gpu });
const result = await measureLaunches({ device: model.device, run: makeRun(model), rounds: Number(rounds) });
const { median: m } = result.us_per_launch;
console.error(`${model.name}: ${result.launches} launches; us a launch: bare loop ${m.bare.toFixed(2)}, encode ` +
  `${m.encode.toFixed(2)} (${(m.encode / m.bare).toFixed(2)} x), finish ${m.finish.toFixed(2)}, whole run ${m.whole.toFixed(2)}`);
console.log(JSON.stringify({ model: model.name, runtime: `Node ${process.version}`, ...result }));
process.exit(0);
