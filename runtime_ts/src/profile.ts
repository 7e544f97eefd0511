/** @file Launches in, their times on the GPU, bytes and operations out: as data, a table, and a Chrome trace. */
import type { LaunchTimer } from "./commands.ts";
import { MAP_READ, USAGE } from "./device.ts";
import { UnsupportedError } from "./errors.ts";
import type { Kernel, Manifest } from "./manifest.ts";
import { evaluate } from "./postfix.ts";
import type { Launch } from "./plan.ts";

export interface LaunchProfile {
  readonly kernel: string;
  /** Workgroups in x, y and z. */
  readonly grid: readonly [number, number, number];
  /** Begin, counted from the first launch's, and duration on the GPU: milliseconds, averages over the runs. */
  readonly begin: number;
  readonly ms: number;
  /** Bytes that it must read and write at least, and its arithmetic operations, where the package says them. */
  readonly bytes?: number;
  readonly flops?: number;
}

export interface KernelProfile {
  readonly kernel: string;
  readonly launches: number;
  readonly ms: number;
  /** Of the time of all kernels. */
  readonly share: number;
  readonly bytes?: number;
  readonly flops?: number;
}

export interface Profile {
  readonly model: string;
  readonly entry: string;
  readonly runs: number;
  /** In the order of execution. */
  readonly launches: readonly LaunchProfile[];
  /** Longest first. */
  readonly kernels: readonly KernelProfile[];
  /** Sum over the launches, and from the first one's begin to the last one's end: milliseconds. */
  readonly ms: number;
  readonly span: number;
  /** On the CPU from the call until the GPU was done, with timing: milliseconds. */
  readonly wall: number;
  /** Steps of the GPU's clock in milliseconds; browsers make them coarse. */
  readonly resolution: number;
  /** The kernels as lines of text. */
  table(): string;
  /** The launches as JSON for chrome://tracing or ui.perfetto.dev. */
  trace(): string;
}

interface Timed {
  readonly kernel: string;
  readonly grid: readonly [number, number, number];
  readonly scalars: Uint32Array;
  begin: number;
  end: number;
}

const FEATURE = "timestamp-query";
const QUERY_RESOLVE = 0x200;
/** Timestamps in a query set: WebGPU allows 4096, two a launch. */
const SET_SIZE = 4096;

/** The times of one run's launches. Nanoseconds. */
export class LaunchTimes implements LaunchTimer {
  readonly launches: Timed[] = [];
  wall = 0;
  readonly #device: GPUDevice;
  readonly #sets: GPUQuerySet[] = [];
  #used = SET_SIZE;

  /** @throws UnsupportedError */
  constructor(device: GPUDevice) {
    if (!device.features.has(FEATURE)) {
      throw new UnsupportedError(
        `the device was made without the feature "${FEATURE}", which profiles need: request yours with it, or load ` +
          "the model without a device; some browsers have it only with developer features switched on",
      );
    }
    this.#device = device;
  }

  describe({ kernel, at, scalars, end }: Launch, words: Uint32Array): GPUComputePassDescriptor {
    if (this.#used === SET_SIZE) {
      this.#sets.push(this.#device.createQuerySet({ type: "timestamp", count: SET_SIZE }));
      this.#used = 0;
    }
    const grid = [words[at]!, words[at + 1]!, words[at + 2]!] as const;
    this.launches.push({ kernel: kernel.name, grid, scalars: words.slice(scalars, end), begin: 0, end: 0 });
    const [first, last] = [this.#used++, this.#used++];
    return {
      timestampWrites: { querySet: this.#sets.at(-1)!, beginningOfPassWriteIndex: first, endOfPassWriteIndex: last },
    };
  }

  /** Waits for the times. */
  async read(wall: number): Promise<void> {
    this.wall = wall;
    const bytes = this.launches.length * 16;
    if (bytes === 0) return;
    const device = this.#device;
    const size = this.#sets.length * SET_SIZE * 8;
    const resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | USAGE.COPY_SRC });
    const staging = device.createBuffer({ size: bytes, usage: USAGE.MAP_READ | USAGE.COPY_DST });
    const encoder = device.createCommandEncoder();
    this.#sets.forEach((set, i) => {
      const count = Math.min(SET_SIZE, 2 * this.launches.length - i * SET_SIZE);
      encoder.resolveQuerySet(set, 0, count, resolved, i * SET_SIZE * 8);
    });
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    device.queue.submit([encoder.finish()]);
    try {
      await staging.mapAsync(MAP_READ);
      const times = new BigUint64Array(staging.getMappedRange());
      const origin = times[0]!;
      this.launches.forEach((launch, i) => {
        launch.begin = Number(times[2 * i]! - origin);
        launch.end = Number(times[2 * i + 1]! - origin);
      });
    } finally {
      staging.destroy();
      resolved.destroy();
    }
  }

  destroy(): void {
    for (const set of this.#sets) set.destroy();
  }
}

export function profileOf(manifest: Manifest, entry: string, runs: readonly LaunchTimes[]): Profile {
  const kernels = new Map(manifest.kernels.map((kernel) => [kernel.name, kernel]));
  const mean = (value: (run: LaunchTimes) => number): number =>
    runs.reduce((sum, run) => sum + value(run), 0) / runs.length;
  const launches = runs[0]!.launches.map((launch, i): LaunchProfile => ({
    kernel: launch.kernel,
    grid: launch.grid,
    begin: mean((run) => run.launches[i]?.begin ?? 0) / 1e6,
    ms: mean((run) => Math.max(0, (run.launches[i]?.end ?? 0) - (run.launches[i]?.begin ?? 0))) / 1e6,
    ...costOf(kernels.get(launch.kernel)!, launch),
  }));
  const ms = launches.reduce((sum, launch) => sum + launch.ms, 0);
  const last = launches.at(-1);
  const data = {
    model: manifest.name, entry, runs: runs.length, launches, kernels: byKernel(launches, ms), ms,
    span: last ? last.begin + last.ms : 0,
    wall: mean((run) => run.wall),
    resolution: resolutionOf(runs) / 1e6,
  };
  return { ...data, table: () => tableOf(data), trace: () => traceOf(data) };
}

function costOf(kernel: Kernel, { scalars }: Timed): { bytes?: number; flops?: number } {
  const bits = new DataView(scalars.buffer);
  const values = Object.fromEntries(kernel.scalars.map((name, i) => [name, bits.getInt32(4 * i, true)]));
  const { bytes, flops } = kernel;
  return {
    ...(bytes === undefined ? {} : { bytes: evaluate(bytes, values) }),
    ...(flops === undefined ? {} : { flops: evaluate(flops, values) }),
  };
}

function byKernel(launches: readonly LaunchProfile[], total: number): KernelProfile[] {
  const groups = new Map<string, LaunchProfile[]>();
  for (const launch of launches) groups.set(launch.kernel, [...(groups.get(launch.kernel) ?? []), launch]);
  const sum = (all: readonly LaunchProfile[], field: "ms" | "bytes" | "flops"): number =>
    all.reduce((total, launch) => total + (launch[field] ?? 0), 0);
  return Array.from(groups, ([kernel, all]) => ({
    kernel,
    launches: all.length,
    ms: sum(all, "ms"),
    share: total > 0 ? sum(all, "ms") / total : 0,
    ...(all[0]!.bytes === undefined ? {} : { bytes: sum(all, "bytes") }),
    ...(all[0]!.flops === undefined ? {} : { flops: sum(all, "flops") }),
  })).sort((a, b) => b.ms - a.ms);
}

/** The largest step that all times are multiples of, in nanoseconds. */
function resolutionOf(runs: readonly LaunchTimes[]): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  return runs.flatMap((run) => run.launches).reduce((step, { begin, end }) => divisor(divisor(step, begin), end), 0);
}

type Data = Omit<Profile, "table" | "trace">;

function tableOf({ model, entry, runs, launches, kernels, ms, span, wall, resolution }: Data): string {
  const figure = (value = NaN): string => (isFinite(value) ? value.toFixed(value < 10 ? 3 : 1) : "");
  const rows = kernels.map(({ kernel, launches, ms, share, flops, bytes }) => [
    kernel, String(launches), ms.toFixed(3), `${(100 * share).toFixed(1)}%`,
    ...[flops, bytes].flatMap((amount = NaN) => [figure(amount / 1e6), figure(amount / ms / 1e6)]),
  ]);
  const table = [["kernel", "launches", "ms", "share", "MFLOP", "GFLOP/s", "MB", "GB/s"], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const padded = (cell: string, i: number): string => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!));
  const lines = table.map((row) => row.map(padded).join("  ").trimEnd());
  lines.push(
    `${model}, ${entry}: ${launches.length} launches, ${ms.toFixed(3)} ms of kernels in ${span.toFixed(3)} ms on the ` +
      `GPU, ${wall.toFixed(3)} ms from call to end; averages of ${runs} runs`,
  );
  if (resolution >= 0.01) lines.push(`the GPU's clock steps by ${resolution.toFixed(3)} ms: short kernels are rough`);
  return `${lines.join("\n")}\n`;
}

/**
 * Trace Event Format: complete events ("X") in microseconds. Viewers drop an event that overlaps another of its thread,
 * so times are whole nanoseconds and a launch that begins before the last one's end gets a lane of its own.
 */
function traceOf({ model, entry, launches }: Data): string {
  const ends: number[] = [];
  const events = launches.map(({ kernel, begin, ms, grid, bytes, flops }) => {
    const [from, to] = [Math.round(begin * 1e6), Math.round((begin + ms) * 1e6)];
    const free = ends.findIndex((end) => end <= from + 1); // averages are off by one now and then
    const lane = free < 0 ? ends.length : free;
    const start = Math.max(from, ends[lane] ?? 0);
    ends[lane] = Math.max(start, to);
    const dur = (ends[lane] - start) / 1e3;
    const args = { grid, bytes, flops };
    return { name: kernel, cat: "kernel", ph: "X", pid: 1, tid: lane + 1, ts: start / 1e3, dur, args };
  });
  const name = (what: string, text: string, tid = 1): object =>
    ({ name: what, ph: "M", pid: 1, tid, args: { name: text } });
  const lanes = ends.map((_, lane) => name("thread_name", lane ? `GPU, beside ${lane}` : "GPU", lane + 1));
  const traceEvents = [name("process_name", `${model}: ${entry}`), ...lanes, ...events];
  return JSON.stringify({ traceEvents, displayTimeUnit: "ms" });
}
