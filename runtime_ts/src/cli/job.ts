/** @file A job (a package and runs of it, as JSON) in, a report out: the same in Node and in a browser page. */
import { InputError } from "../errors.ts";
import { loadModel, type LoadOptions } from "../load.ts";
import type { Memory, Model } from "../model.ts";
import type { Profile } from "../profile.ts";
import type { Input, ModelObject } from "../tensor.ts";
import { readNpy, writeNpy } from "./npy.ts";

/** The job file. Paths are relative to it. */
export interface Job {
  /** The package's folder. */
  readonly package: string;
  /** Of the package; the best for this GPU if left out. */
  readonly variant?: string;
  readonly runs: readonly JobRun[];
}

export interface JobRun {
  readonly entry?: string;
  readonly inputs: Readonly<Record<string, JobInput>>;
  /** Where to write results, by name; results not named are dropped. */
  readonly outputs?: Readonly<Record<string, string>>;
  /** How often to run it, with the same inputs; 1 if left out. Only the last run's results count. */
  readonly repeat?: number;
  /** Also time each launch on the GPU, over so many runs; and where to write that as a Chrome trace. */
  readonly profile?: { readonly runs: number; readonly trace?: string };
}

/** The path of a .npy file, a whole number, or a result of an earlier run (by index) of the same job. */
export type JobInput = string | number | { readonly run: number; readonly output: string };

export interface JobReport {
  readonly package: string;
  /** The variant that was run, "baseline" for the one that needs least; and the graphics adapter. */
  readonly variant: string;
  readonly adapter: string;
  /** Wall time of loading: files, shaders, parameters. */
  readonly load_ms: number;
  readonly runs: readonly RunReport[];
}

export interface RunReport {
  readonly entry: string;
  /** Wall time of every repetition, from arrays to arrays. */
  readonly ms: readonly number[];
  readonly outputs: Readonly<Record<string, { readonly dtype: string; readonly shape: readonly number[] } | "object">>;
  /** GPU commands of one repetition. */
  readonly dispatches: number;
  readonly submits: number;
  readonly memory: Memory;
  readonly profile?: Omit<Profile, "table" | "trace">;
}

/** How a job reaches its files: on disk, or through the server that drives the page. */
export interface JobFiles {
  read(path: string): Promise<Uint8Array<ArrayBuffer>>;
  write(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** Runs of a job are made one after the other, in order. */
export async function runJob(
  job: Job, location: string | URL, files: JobFiles, options: LoadOptions = {},
): Promise<JobReport> {
  const start = performance.now();
  const { variant } = job;
  // What is run once only is not worth running before.
  const warmUp = job.runs.some(({ repeat = 1 }) => repeat > 1);
  const model = await loadModel(location, { warmUp, ...options, ...(variant === undefined ? {} : { variant }) });
  try {
    const load_ms = performance.now() - start;
    const kept: Readonly<Record<string, Input>>[] = [];
    const runs: RunReport[] = [];
    for (const [index, run] of job.runs.entries()) {
      const { report, results } = await runOnce(model, run, index, kept, files);
      kept.push(results);
      runs.push(report);
    }
    const { vendor, architecture, description } = model.device.adapterInfo;
    const adapter = [vendor, architecture, description].filter(Boolean).join(", ");
    return { package: model.name, variant: model.loading.variant, adapter, load_ms, runs };
  } finally {
    model.dispose();
  }
}

async function runOnce(
  model: Model, run: JobRun, index: number, kept: readonly Readonly<Record<string, Input>>[], files: JobFiles,
): Promise<{ report: RunReport; results: Readonly<Record<string, Input>> }> {
  const inputs: Record<string, Input> = {};
  for (const [name, input] of Object.entries(run.inputs)) inputs[name] = await resolve(input, index, kept, files);
  const ms: number[] = [];
  let results: Record<string, Input> = {};
  const before = { ...model.counters };
  const repeat = run.repeat ?? 1;
  for (let i = 0; i < repeat; i++) {
    for (const result of Object.values(results)) if (isObject(result)) result.dispose();
    const start = performance.now();
    results = await model.run(inputs, run.entry === undefined ? {} : { entry: run.entry });
    ms.push(performance.now() - start);
  }
  const outputs: Record<string, { dtype: string; shape: readonly number[] } | "object"> = {};
  for (const [name, result] of Object.entries(results)) {
    if (isObject(result)) {
      outputs[name] = "object";
      continue;
    }
    const tensor = result as Parameters<typeof writeNpy>[0];
    outputs[name] = { dtype: tensor.dtype, shape: tensor.shape };
    const path = run.outputs?.[name];
    if (path !== undefined) await files.write(path, writeNpy(tensor));
  }
  const unknown = Object.keys(run.outputs ?? {}).find((name) => !(name in results));
  if (unknown !== undefined) {
    const names = Object.keys(results).map((name) => `"${name}"`);
    throw new InputError(`there is no output "${unknown}", only ${names.join(", ")}`);
  }
  const each = (after: number, start: number): number => (after - start) / repeat;
  const { dispatches, submits } = model.counters;
  const entry = run.entry === undefined ? {} : { entry: run.entry };
  const profile = run.profile && (await model.profile(inputs, { ...entry, runs: run.profile.runs }));
  if (profile && run.profile.trace !== undefined) {
    await files.write(run.profile.trace, new TextEncoder().encode(profile.trace()));
  }
  return {
    results,
    report: {
      entry: run.entry ?? "main", ms, outputs,
      dispatches: each(dispatches, before.dispatches),
      submits: each(submits, before.submits),
      memory: model.memory(),
      ...(profile ? { profile: { ...profile } } : {}),
    },
  };
}

async function resolve(
  input: JobInput, index: number, kept: readonly Readonly<Record<string, Input>>[], files: JobFiles,
): Promise<Input> {
  if (typeof input === "number") return input;
  if (typeof input === "string") return readNpy(await files.read(input), input);
  const found = kept[input.run]?.[input.output];
  if (found === undefined) throw new InputError(`run ${index}: run ${input.run} has no result "${input.output}" yet`);
  return found;
}

function isObject(result: Input | null): result is ModelObject {
  return typeof result === "object" && result !== null && "dispose" in result;
}
