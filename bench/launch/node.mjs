/**
 * @file In Node with Dawn: what a launch costs the host, or with --soak what many runs do to memory. JSON on stdout.
 *
 * node node.mjs PACKAGE RUNTIME.mjs [ROUNDS] [DAWN_FLAG ...]           NODE_PATH leads to the npm package "webgpu"
 * node node.mjs --soak PACKAGE RUNTIME.mjs RUNS EXTENT[,EXTENT...] [DAWN_FLAG ...]     symbols of shapes take these
 * values in turn; the flag backend=null leaves the GPU out of it
 */
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describeLaunches, makeBound, makeRun, measureCalls, measureLaunches } from "./measure.mjs";
import { soak } from "./soak.mjs";

const soaking = process.argv[2] === "--soak";
const [folder, runtime, rounds = "200", ...rest] = process.argv.slice(soaking ? 3 : 2);
const { loadModel } = await import(pathToFileURL(resolve(runtime)));
const { create } = createRequire(`${process.cwd()}/package.json`)("webgpu");
globalThis.gpu = create(soaking ? rest.slice(1) : rest); // kept: devices end with the instance that made them
const options = { gpu: globalThis.gpu };
let result;
if (soaking) {
  const extents = (rest[0] ?? "1").split(",").map(Number);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc");
  const measure = async () => {
    for (let i = 0; i < 3; i++) {
      collect();
      await new Promise((later) => setTimeout(later, 20)); // finalisers run between tasks
    }
    const { heapUsed, external, rss } = process.memoryUsage();
    return { heap: heapUsed, external, resident: rss };
  };
  result = await soak({ loadModel, location: resolve(folder), options, runs: Number(rounds), extents, measure });
} else {
  const model = await loadModel(resolve(folder), options);
  const run = makeRun(model);
  const { device, name } = model;
  result = { model: name, ...await measureLaunches({ device, run, bound: await makeBound(model), rounds: Number(rounds) }) };
  result.us_per_call = await measureCalls({ device, run });
  console.error(describeLaunches(result));
}
console.log(JSON.stringify({ runtime: `Node ${process.version}`, ...result }));
process.exit(0); // Dawn's threads would keep Node alive
