#!/usr/bin/env node
/** @file Command line in, .npy files and a report out: runs a package in Node with Dawn, or in headless Chromium. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, resolve } from "node:path";
import { parseArgs } from "node:util";
import { InputError, messageOf, TvmWebgpuError } from "../errors.ts";
import { runInBrowser } from "./browser.ts";
import { runJob, type Job, type JobInput, type JobReport } from "./job.ts";
import { requireOptional } from "./optional.ts";

const USAGE = `Usage: node node_cli.mjs DIR --input NAME=FILE.npy ... [--output [NAME=]FILE.npy ...]
       node node_cli.mjs --job JOB.json

Runs the package in DIR with WebGPU: in Node with the npm package "webgpu" (Dawn), or in Chromium.

  --input NAME=VALUE   a .npy file, or a whole number for an input of kind int
  --output FILE        where to write the result as .npy; NAME=FILE if there is more than one
  --entry NAME         the entry function (default: main)
  --variant NAME       the variant of the package, or "baseline" (default: the best for this GPU)
  --repeat N           run N times and report the times
  --job FILE           many runs in one process:
                       {"package": DIR, "variant", "runs": [{"entry", "repeat", "outputs": {NAME: FILE},
                       "inputs": {NAME: FILE | INT | {"run": I, "output": NAME}}}]}; paths are relative to the job file
  --browser            run in headless Chromium, through the npm package "playwright-core"
  --chromium PATH      the browser (default: $CHROMIUM or /usr/bin/chromium)
  --json               print the report as JSON
  --help
`;

const OPTIONS = {
  input: { type: "string", multiple: true },
  output: { type: "string", multiple: true },
  entry: { type: "string" },
  variant: { type: "string" },
  repeat: { type: "string" },
  job: { type: "string" },
  browser: { type: "boolean" },
  chromium: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean" },
} as const;

type Parsed = ReturnType<typeof parseArgs<{ options: typeof OPTIONS; allowPositionals: true; args: string[] }>>;
type Values = Parsed["values"];

function parse(argv: string[]): Parsed {
  try {
    return parseArgs({ args: argv, options: OPTIONS, allowPositionals: true });
  } catch (error) {
    throw new InputError(`${messageOf(error)} (--help shows what there is)`);
  }
}

async function main(argv: string[]): Promise<void> {
  const { values, positionals } = parse(argv);
  if (values.help) {
    process.stdout.write(USAGE);
    return;
  }
  const { job, base } = await readJob(values, positionals);
  const files = {
    read: async (path: string) => new Uint8Array(await readFile(resolve(base, path)).catch((error: unknown) => {
      throw new InputError(`${path} can't be read: ${messageOf(error)}`);
    })),
    write: async (path: string, bytes: Uint8Array) => {
      await mkdir(dirname(resolve(base, path)), { recursive: true });
      await writeFile(resolve(base, path), bytes);
    },
  };
  const folder = resolve(base, job.package);
  const report = values.browser
    ? await runInBrowser(job, folder, files, values.chromium)
    : await runJob(job, folder, files, { gpu: await dawn() });
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : describe(report));
}

async function dawn(): Promise<GPU> {
  process.env["XDG_RUNTIME_DIR"] ??= tmpdir(); // or drivers complain on stderr
  return (await requireOptional<{ create(flags: string[]): GPU }>("webgpu")).create([]);
}

async function readJob(values: Values, positionals: string[]): Promise<{ job: Job; base: string }> {
  if (values.job !== undefined) {
    const path = resolve(values.job);
    const text = await readFile(path, "utf8").catch((error: unknown) => { throw new InputError(messageOf(error)); });
    try {
      return { job: checkJob(JSON.parse(text)), base: dirname(path) };
    } catch (error) {
      throw new InputError(`${values.job}: ${messageOf(error)}`);
    }
  }
  // The word "run" may stand first, as in the Python command line.
  const [folder, ...more] = positionals[0] === "run" && positionals.length > 1 ? positionals.slice(1) : positionals;
  if (folder === undefined || more.length > 0) throw new InputError(`expected one package folder\n${USAGE}`);
  const inputs: Record<string, JobInput> = {};
  for (const text of values.input ?? []) {
    const [, name, value] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || value === undefined) throw new InputError(`--input ${text}: expected NAME=FILE.npy`);
    inputs[name] = /^-?\d+$/.test(value) ? Number(value) : value;
  }
  const repeat = Number(values.repeat ?? "1");
  if (!Number.isSafeInteger(repeat) || repeat < 1) throw new InputError(`--repeat ${values.repeat!}: no count`);
  const outputs = await namedOutputs(values, resolve(folder));
  const entry = values.entry === undefined ? {} : { entry: values.entry };
  const variant = values.variant === undefined ? {} : { variant: values.variant };
  return { job: { package: folder, ...variant, runs: [{ ...entry, inputs, outputs, repeat }] }, base: process.cwd() };
}

/** `--output FILE` is for the entry's first output. */
async function namedOutputs(values: Values, folder: string): Promise<Record<string, string>> {
  const outputs: Record<string, string> = {};
  for (const text of values.output ?? []) {
    const [, name, path] = /^([^=]+)=(.+)$/.exec(text) ?? [];
    if (name !== undefined && path !== undefined) outputs[name] = path;
    else outputs[await firstOutput(folder, values.entry ?? "main")] = text;
  }
  return outputs;
}

async function firstOutput(folder: string, entry: string): Promise<string> {
  const text = await readFile(resolve(folder, "manifest.json"), "utf8").catch((error: unknown) => {
    throw new InputError(messageOf(error));
  });
  const { entries } = JSON.parse(text) as { entries: { name: string; outputs: { name: string }[] }[] };
  return (entries.find(({ name }) => name === entry) ?? entries[0])?.outputs[0]?.name ?? "output";
}

function checkJob(json: unknown): Job {
  const job = json as Partial<Job> | null;
  if (typeof job?.package !== "string" || !Array.isArray(job.runs)) {
    throw new InputError('a job has "package" and "runs"');
  }
  for (const run of job.runs as unknown[]) {
    if (typeof (run as { inputs?: unknown }).inputs !== "object") throw new InputError('each run has "inputs"');
  }
  return job as Job;
}

function describe(report: JobReport): string {
  const lines = [`${report.package} on ${report.adapter}: loaded in ${report.load_ms.toFixed(0)} ms`];
  for (const { entry, ms, outputs, dispatches } of report.runs) {
    const results = Object.entries(outputs).map(([name, output]) =>
      output === "object" ? `${name}: object` : `${name}: ${output.dtype}[${output.shape.join(", ")}]`);
    const sorted = [...ms].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
    const first = ms.length > 1 ? `first ${ms[0]!.toFixed(1)} ms, median of ${ms.length} ` : "";
    lines.push(`${entry}: ${first}${median.toFixed(1)} ms, ${dispatches} launches -> ${results.join(", ")}`);
  }
  return `${lines.join("\n")}\n`;
}

// Dawn keeps Node alive, and its devices outlive a plain return: leave by exit().
main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    const expected = error instanceof TvmWebgpuError;
    const text = expected ? `${error.name}: ${error.message}` : ((error as Error).stack ?? String(error));
    process.stderr.write(`${text}\n`, () => process.exit(1));
  },
);
