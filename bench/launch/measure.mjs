/**
 * @file A package's launches in, the host's cost of each out: by the runtime, and by a bare loop over the same launches.
 *
 * The bare loop is the least that WebGPU allows: setPipeline, setBindGroup and dispatchWorkgroups of one run, recorded
 * once, with every object at hand. Both leave out what they have in common, finish() and submit(); those stand beside.
 * The queue drops what it is given, so that no GPU, least of all one in software, takes the host's time.
 */

const PASS_METHODS = ["setPipeline", "setBindGroup", "dispatchWorkgroups", "end"];

/** Milliseconds of `action`, in a loop long enough for clocks that browsers make coarse. */
function timed(times, action) {
  const start = performance.now();
  for (let i = 0; i < times; i++) action();
  return (performance.now() - start) / times;
}

const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))];

/** Replaces methods of an object's prototype; gives a function that puts them back. */
function patch(object, methods) {
  const prototype = Object.getPrototypeOf(object);
  const before = Object.fromEntries(Object.keys(methods).map((name) => [name, prototype[name]]));
  for (const [name, make] of Object.entries(methods)) prototype[name] = make(before[name]);
  return () => Object.assign(prototype, before);
}

/** The calls on compute passes that one run makes, one list for each submit. */
async function record(device, run) {
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

/**
 * @param {object} options `device`, `run`: one inference with its results left on the GPU, `rounds`, `inner`: runs timed
 * together, for coarse clocks.
 */
export async function measureLaunches({ device, run, rounds = 50, inner = 1 }) {
  for (let i = 0; i < 3; i++) await run();
  const submits = (await record(device, run)).map(launchesOf);
  const count = submits.reduce((sum, launches) => sum + launches.length, 0);
  await device.queue.onSubmittedWorkDone();

  const encoders = [];
  const bare = () => {
    for (const launches of submits) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const { pipeline, group, x, y, z } of launches) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        pass.dispatchWorkgroups(x, y, z);
      }
      pass.end();
      encoders.push(encoder);
    }
  };

  // The runtime's own finish() and submit() are taken out and timed apart.
  let apart = 0;
  let begun = 0;
  let ended = 0;
  const probe = device.createCommandEncoder();
  const restore = [
    patch(probe, {
      beginComputePass: (original) => function (...args) {
        begun ||= performance.now();
        return original.apply(this, args);
      },
      finish: (original) => function (...args) {
        const start = performance.now();
        const buffer = original.apply(this, args);
        ended = performance.now();
        apart += ended - start;
        return buffer;
      },
    }),
    patch(device.queue, { submit: () => () => { ended = performance.now(); } }),
  ];
  const rows = { bare: [], bareFinish: [], encode: [], finish: [], whole: [] };
  try {
    for (let round = 0; round < rounds; round++) {
      rows.bare.push(timed(inner, bare));
      rows.bareFinish.push(timed(1, () => { for (const each of encoders.splice(0)) each.finish(); }) / inner);
      const sums = { encode: 0, finish: 0, whole: 0 };
      for (let i = 0; i < inner; i++) {
        apart = begun = 0;
        const start = performance.now();
        await run();
        sums.encode += ended - begun - apart;
        sums.finish += apart;
        sums.whole += ended - start;
      }
      for (const name of Object.keys(sums)) rows[name].push(sums[name] / inner);
      await new Promise((resolve) => setTimeout(resolve, 0)); // lets what was dropped be collected
    }
  } finally {
    for (const each of restore) each();
  }
  const us = (values, q) => (1000 * quantile(values, q)) / count;
  const report = (q) => ({
    bare: us(rows.bare, q), encode: us(rows.encode, q),
    finish: us(rows.finish, q), whole: us(rows.whole, q),
  });
  return { launches: count, submits: submits.length, us_per_launch: { median: report(0.5), best: report(0.1) } };
}

/** An input for each port: random numbers; symbols count as `extent`. Results are left on the GPU. */
export function makeRun(model, extent = 1) {
  const { device } = model;
  const [entry] = model.entries;
  const sizes = { float32: 4, int64: 8, int32: 4, float16: 2, uint8: 1, bool: 1 };
  const inputs = Object.fromEntries(entry.inputs.map(({ name, dtype, shape: dims, kind }) => {
    if (kind !== "tensor") throw new Error(`${name}: inputs of kind ${kind} are not measured here`);
    const shape = dims.map((dim) => (typeof dim === "number" ? dim : extent));
    const bytes = shape.reduce((product, dim) => product * dim, sizes[dtype]);
    const buffer = device.createBuffer({ size: Math.ceil(bytes / 16) * 16, usage: 0x80 | 0x4 | 0x8 });
    return [name, { buffer, dtype, shape }];
  }));
  return async () => {
    for (const result of Object.values(await model.run(inputs, { outputs: "gpu" }))) result.dispose();
  };
}
