/**
 * @file A package's launches in, the host's cost of each out: by the runtime, and by a bare loop over the same launches.
 *
 * The bare loop is the least that WebGPU allows: setPipeline, setBindGroup and dispatchWorkgroups of one run, recorded
 * once, with every object at hand, in as many passes. submit(), which they have in common, is left out.
 * The queue drops what it is given, so that no GPU, least of all one in software, takes the host's time.
 */

const PASS_METHODS = ["setPipeline", "setBindGroup", "dispatchWorkgroups", "end"];

const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))];

/** Replaces methods of an object's prototype; gives a function that puts them back. */
function patch(object, methods) {
  const prototype = Object.getPrototypeOf(object);
  const before = Object.fromEntries(Object.keys(methods).map((name) => [name, prototype[name]]));
  for (const [name, make] of Object.entries(methods)) prototype[name] = make(before[name]);
  return () => Object.assign(prototype, before);
}

/** The calls on compute passes that one run makes, one list for each submit. */
async function callsOf(device, run) {
  const submits = [];
  let calls = [];
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.end();
  encoder.finish();
  const restore = [
    patch(pass, Object.fromEntries(PASS_METHODS.map((name) => [name, (original) => function (...args) {
      if (name !== "end") calls.push([name, args]);
      return original.apply(this, args);
    }]))),
    patch(device.queue, { submit: (original) => function (buffers) {
      if (calls.length > 0) submits.push(calls);
      calls = [];
      return original.call(this, buffers);
    } }),
  ];
  await run();
  for (const each of restore) each();
  return submits;
}

/** What the bare loop needs of a launch; what a call does not change is left out. */
function launchesOf(calls) {
  const launches = [];
  let pipeline;
  let group;
  for (const [name, args] of calls) {
    if (name === "setPipeline") pipeline = args[0];
    else if (name === "setBindGroup") group = args[1];
    else launches.push({ pipeline, group, x: args[0], y: args[1] ?? 1, z: args[2] ?? 1 });
  }
  return launches;
}

/** The launches of one run, one list for each submit. */
export async function record(device, run) {
  return (await callsOf(device, run)).map(launchesOf);
}

/** A function that does what WebGPU needs to be told for a run, and nothing else. */
export function bareLoop(device, submits) {
  return () => {
    for (const launches of submits) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, group, x, y, z } of launches) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(x, y, z);
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
  };
}

const CALLS = {
  setPipeline: (pass, { pipeline }) => pass.setPipeline(pipeline),
  setBindGroup: (pass, { group }) => pass.setBindGroup(0, group),
  dispatchWorkgroups: (pass, { x, y, z }) => pass.dispatchWorkgroups(x, y, z),
};

/**
 * Microseconds of each call of the bare loop alone, which nobody can do without: of those that a launch takes, and of
 * those that a submit takes besides. Medians and best deciles. Nothing is submitted.
 */
export async function measureCalls({ device, run, rounds = 50 }) {
  const launches = (await record(device, run)).flat();
  const times = {};
  let start;
  const note = (name, calls) => {
    (times[name] ??= []).push((1000 * (performance.now() - start)) / calls);
    start = performance.now();
  };
  const most = 20;
  for (let round = 0; round < rounds; round++) {
    await new Promise((resolve) => setTimeout(resolve, 0)); // lets what was dropped be collected
    start = performance.now();
    const encoders = Array.from({ length: most }, () => device.createCommandEncoder());
    note("createCommandEncoder", most);
    const passes = encoders.map((encoder) => encoder.beginComputePass());
    note("beginComputePass", most);
    for (const [name, call] of Object.entries(CALLS)) { // in this order, so that a dispatch finds what it needs
      for (const pass of passes) for (const launch of launches) call(pass, launch);
      note(name, most * launches.length);
    }
    for (const pass of passes) pass.end();
    note("end", most);
    for (const encoder of encoders) encoder.finish();
    note("finish", most);
  }
  const at = (q) => Object.fromEntries(Object.entries(times).map(([name, values]) => [name, quantile(values, q)]));
  return { median: at(0.5), best: at(0.1) };
}

/**
 * What a whole run costs the host, from the call to the result's promise, beside a bare loop that submits as much:
 * microseconds, medians of `rounds`. `actions`: ways to run by name; between two of them the GPU comes to rest.
 */
export async function measureRuns({ device, run, actions, rounds = 200, inner = 1 }) {
  for (let i = 0; i < 20; i++) for (const action of Object.values(actions)) await action();
  const all = { bare: bareLoop(device, await record(device, run)), ...actions };
  const times = Object.fromEntries(Object.keys(all).map((name) => [name, { call: [], done: [] }]));
  for (let round = 0; round < rounds; round++) {
    for (const [name, action] of Object.entries(all)) {
      const start = performance.now();
      for (let i = 0; i < inner; i++) {
        const promise = action();
        if (promise) await promise;
      }
      const called = performance.now();
      await device.queue.onSubmittedWorkDone();
      times[name].call.push((1000 * (called - start)) / inner);
      times[name].done.push((1000 * (performance.now() - start)) / inner);
    }
  }
  return Object.fromEntries(Object.entries(times).map(([name, { call, done }]) => [
    name, { call: quantile(call, 0.5), done: quantile(done, 0.5) },
  ]));
}

/**
 * Microseconds of each way to run, for a launch: `launch`, what passes are told, from a pass's opening or the run's begin
 * to its end; `open`, its share of making encoders and passes, whether before the run or in it, and of finish(); `whole`,
 * from the run's begin to its last submit. `bare` is the bare loop.
 *
 * @param {object} options `device`, `run`: one inference with its results left on the GPU, `bound`: the same through a
 * binding, if it can be bound; `rounds`, `inner`: runs timed together, for coarse clocks.
 */
export async function measureLaunches({ device, run, bound, rounds = 50, inner = 1 }) {
  for (let i = 0; i < 3; i++) await run();
  const submits = await record(device, run);
  const count = submits.reduce((sum, launches) => sum + launches.length, 0);
  await device.queue.onSubmittedWorkDone();

  let sums;
  let mark = 0; // since when passes are told something
  let ended = 0;
  const probe = device.createCommandEncoder();
  const probePass = probe.beginComputePass();
  probePass.end();
  const opening = (original) => function (...args) {
    const start = performance.now();
    const made = original.apply(this, args);
    mark = performance.now();
    sums.open += mark - start;
    return made;
  };
  const restore = [
    patch(device, { createCommandEncoder: opening }),
    patch(probe, { beginComputePass: opening, finish: opening }),
    patch(probePass, {
      end: (original) => function () {
        sums.launch += performance.now() - mark;
        original.call(this);
      },
    }),
    patch(device.queue, { submit: () => () => { ended = performance.now(); } }),
  ];
  const kinds = { bare: bareLoop(device, submits), run, ...(bound && { bound }) };
  const rows = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  try {
    for (let round = 0; round < rounds; round++) {
      for (const [kind, action] of Object.entries(kinds)) {
        sums = { launch: 0, open: 0, whole: 0 };
        for (let i = 0; i < inner; i++) {
          const start = mark = performance.now();
          const promise = action();
          if (promise) await promise;
          sums.whole += ended - start;
        }
        rows[kind].push(sums);
      }
      await new Promise((resolve) => setTimeout(resolve, 0)); // lets what was dropped be collected
    }
  } finally {
    for (const each of restore) each();
  }
  const us = (kind, part, q) => (1000 * quantile(rows[kind].map((row) => row[part]), q)) / count / inner;
  const report = (q) => Object.fromEntries(Object.keys(kinds).map((kind) => [
    kind, Object.fromEntries(["launch", "open", "whole"].map((part) => [part, us(kind, part, q)])),
  ]));
  return { launches: count, submits: submits.length, us_per_launch: { median: report(0.5), best: report(0.1) } };
}

/** What was measured, in a few lines. */
export function describeLaunches({ model, launches, submits, us_per_launch, us_per_call }) {
  const lines = [`${model}: ${launches} launches, ${submits} submits; us a launch, median (best decile)`];
  const { median, best } = us_per_launch;
  for (const [kind, parts] of Object.entries(median)) {
    const figures = Object.keys(parts).map((part) => `${part} ${parts[part].toFixed(3)} (${best[kind][part].toFixed(3)})`);
    lines.push(`  ${kind.padEnd(5)} ${figures.join(", ")}; ${(parts.launch / median.bare.launch).toFixed(2)} x`);
  }
  const calls = Object.entries(us_per_call.median).map(([name, us]) => (
    `${name} ${us.toFixed(3)} (${us_per_call.best[name].toFixed(3)})`));
  return [...lines, `  us a call: ${calls.join(", ")}`].join("\n");
}

const ARRAYS = {
  float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array, float16: Uint16Array,
};

/** A tensor of small whole numbers for each input of the first entry; symbols count as `extent`. */
export function makeInputs(model, extent = 1) {
  let seed = 1;
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) >>> 31;
  return Object.fromEntries(model.entries[0].inputs.map(({ name, dtype, shape: dims, kind }) => {
    if (kind !== "tensor") throw new Error(`${name}: inputs of kind ${kind} are not measured here`);
    const shape = dims.map((dim) => (typeof dim === "number" ? dim : extent));
    const elements = shape.reduce((product, dim) => product * dim, 1);
    const one = dtype === "int64" ? BigInt : Number;
    return [name, { data: ARRAYS[dtype].from({ length: elements }, () => one(random())), shape }];
  }));
}

/** The inputs of makeInputs in buffers of the model's device. */
export function onGpu(model, extent = 1) {
  const { device } = model;
  const [{ inputs: ports }] = model.entries;
  return Object.fromEntries(Object.entries(makeInputs(model, extent)).map(([name, { data, shape }], i) => {
    const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage: 0x80 | 0x4 | 0x8 });
    device.queue.writeBuffer(buffer, 0, data);
    return [name, { buffer, dtype: ports[i].dtype, shape }];
  }));
}

/** The same through a binding; nothing for what can't be bound. */
export async function makeBound(model, extent = 1) {
  if (model.entries.some(({ name }) => name === "chain")) return undefined;
  const bound = await model.bind(onGpu(model, extent));
  return () => bound.run();
}

/** One inference from inputs on the GPU to results on the GPU; of the runtime's test fixture, 200 launches of nothing. */
export function makeRun(model, extent = 1) {
  if (model.entries.some(({ name }) => name === "chain")) {
    const x = { data: new Float32Array(4), shape: [1, 4] };
    return () => model.run({ x, times: 200 }, { entry: "chain" });
  }
  const inputs = onGpu(model, extent);
  return async () => {
    for (const result of Object.values(await model.run(inputs, { outputs: "gpu" }))) result.dispose();
  };
}
