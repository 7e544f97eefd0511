/** @file Profiles: launches with their times, bytes and operations, as data, as a table, and as a trace for viewers. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { loadModel } from "../src/index.ts";
import type { Manifest } from "../src/manifest.ts";
import { profileOf, type LaunchTimes } from "../src/profile.ts";
import { adapter, alteredPackage, cleanUp, FIXTURE, gpu, rejects } from "./support.ts";

interface Event {
  ph: string; name: string; pid: number; tid: number; ts: number; dur: number; args: Record<string, unknown>;
}

function eventsOf(trace: string): { complete: Event[]; metadata: Event[] } {
  const { displayTimeUnit, traceEvents } = JSON.parse(trace) as { displayTimeUnit: string; traceEvents: Event[] };
  assert.equal(displayTimeUnit, "ms");
  assert.ok(traceEvents.every(({ ph, pid }) => (ph === "X" || ph === "M") && pid === 1));
  const kind = (wanted: string): Event[] => traceEvents.filter(({ ph }) => ph === wanted);
  return { complete: kind("X"), metadata: kind("M") };
}

/** What Perfetto asks of complete events: those of a thread never overlap, in the nanoseconds that it counts in. */
function assertApart(events: readonly Event[]): void {
  const ends = new Map<number, number>();
  for (const { tid, ts, dur } of events) {
    const from = Math.round(ts * 1000);
    const to = from + Math.round(dur * 1000);
    assert.ok(Math.abs(from - ts * 1000) < 1e-3, `${ts} is no whole number of nanoseconds`);
    assert.ok(from >= (ends.get(tid) ?? 0) && to >= from, `${ts} + ${dur} in thread ${tid}`);
    ends.set(tid, to);
  }
}

after(cleanUp);

test("every launch has its time, bytes and operations", async () => {
  const folder = await alteredPackage((manifest) => {
    manifest.kernels[0].flops = [4, "count", "*"];
    manifest.kernels[0].bytes = [32, "count", "*", 16, "+"];
  });
  const model = await loadModel(folder, { gpu });
  const x = { data: new Float32Array(400).fill(1), shape: [100, 4] };
  const profile = await model.profile({ x, times: 30 }, { entry: "chain", runs: 2 });
  assert.equal(profile.launches.length, 30);
  assert.deepEqual(profile.kernels.map(({ kernel, launches, flops, bytes }) => [kernel, launches, flops, bytes]),
    [["add_bias", 30, 30 * 400, 30 * 3216]]);
  assert.ok(profile.ms > 0 && profile.span > 0 && profile.wall > 0);
  profile.launches.forEach(({ begin }, i) => { assert.ok(begin >= (profile.launches[i - 1]?.begin ?? 0)); });
  assert.match(profile.table(),
    /^kernel +launches +ms +share +MFLOP +GFLOP\/s +MB +GB\/s\nadd_bias +30 +\d+\.\d{3} +100.0% +0.012 +\S+ +0.096 /);
  const { complete, metadata } = eventsOf(profile.trace());
  assert.deepEqual(metadata.map(({ name }) => name), ["process_name", "thread_name"]);
  assert.deepEqual(complete.map(({ name, args }) => [name, args["flops"], args["grid"]]),
    profile.launches.map(({ grid }) => ["add_bias", 400, grid]));
  assertApart(complete);
  // Nothing stays switched on.
  const { submits } = model.counters;
  await model.run({ x, times: 14 }, { entry: "chain" });
  assert.equal(model.counters.submits - submits, 1);
  model.dispose();
});

test("launches of a trace never overlap: averages are whole nanoseconds, what ran at once has lanes", () => {
  const manifest = { name: "m", kernels: [{ name: "k", scalars: [] }] } as unknown as Manifest;
  const grid = [1, 1, 1];
  const run = (...times: (readonly [number, number])[]): LaunchTimes => {
    const launches = times.map(([begin, end]) => ({ kernel: "k", grid, scalars: new Uint32Array(), begin, end }));
    return { wall: 1, launches } as unknown as LaunchTimes;
  };
  const traced = (...runs: LaunchTimes[]): ReturnType<typeof eventsOf> =>
    eventsOf(profileOf(manifest, "main", runs).trace());
  for (let seed = 1; seed < 50; seed++) { // some runs of other lengths, their launches without a gap
    const runs = Array.from({ length: 1 + seed % 10 }, (_, i) => {
      const cuts = Array.from({ length: 40 }, (_, at) => at * (65_536 + (seed * i * 37) % 91));
      return run(...cuts.slice(1).map((end, at) => [cuts[at]!, end] as const));
    });
    const { complete, metadata } = traced(...runs);
    assert.equal(metadata.length, 2);
    assertApart(complete);
  }
  const { complete, metadata } = traced(run([0, 9000], [5000, 12_000], [9000, 10_000]));
  assert.deepEqual(complete.map(({ tid, ts, dur }) => [tid, ts, dur]), [[1, 0, 9], [2, 5, 7], [1, 9, 1]]);
  assert.deepEqual(metadata.slice(1).map(({ tid, name }) => [tid, name]), [[1, "thread_name"], [2, "thread_name"]]);
});

test("a profile on a device without timestamps says what is missing", async () => {
  const device = await (await adapter()).requestDevice();
  const model = await loadModel(FIXTURE, { device });
  const profiling = model.profile({ x: { data: new Float32Array(4), shape: [1, 4] } });
  await assert.rejects(profiling, rejects("UnsupportedError", /"timestamp-query"/));
  model.dispose();
  device.destroy();
});
