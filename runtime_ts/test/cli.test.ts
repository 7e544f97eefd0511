/** @file The command line in Node and in headless Chromium, the same job in both; .npy files. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { JobReport } from "../src/cli/job.ts";
import { readNpy, writeNpy } from "../src/cli/npy.ts";
import type { CpuTensor } from "../src/index.ts";
import { FIXTURE, ROOT, cleanUp, packageWithVariants, rejects } from "./support.ts";

const CLI = join(ROOT, "dist/node_cli.mjs");
let folder: string;
before(async () => { folder = await mkdtemp(join(tmpdir(), "tvm-webgpu-cli-")); });
after(() => rm(folder, { recursive: true }));
after(cleanUp);

const X: CpuTensor = { dtype: "float32", shape: [2, 4], data: Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7) };
const Y = Float32Array.of(1, 3, 5, 7, 5, 7, 9, 11);

async function save(name: string, tensor: CpuTensor): Promise<string> {
  await writeFile(join(folder, name), writeNpy(tensor));
  return join(folder, name);
}

async function saved(name: string): Promise<CpuTensor> {
  return readNpy(new Uint8Array(await readFile(join(folder, name))), name);
}

interface Outcome { status: number; stdout: string; stderr: string }

function cli(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args], { cwd: ROOT, timeout: 120_000 }, (error, stdout, stderr) => {
      resolve({ status: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

describe(".npy files", () => {
  for (const tensor of [
    X,
    { dtype: "int64", shape: [], data: BigInt64Array.of(-5n) },
    { dtype: "bool", shape: [3], data: Uint8Array.of(1, 0, 1) },
    { dtype: "bfloat16", shape: [1, 2, 1], data: Uint16Array.of(0x3f80, 0xc000) },
    { dtype: "uint8", shape: [0, 3], data: new Uint8Array(0) },
  ] as CpuTensor[]) {
    test(`${tensor.dtype}[${tensor.shape.join()}] comes back`, () => {
      const bytes = writeNpy(tensor);
      assert.equal((bytes.length - tensor.data.byteLength) % 64, 0);
      assert.deepEqual(readNpy(bytes, "x"), tensor);
    });
  }
  const header = (text: string): Uint8Array<ArrayBuffer> =>
    new TextEncoder().encode(`\0NUMPY\x01\0\x76\0${text}`.padEnd(256));
  for (const [what, bytes, message] of [
    ["other bytes", new Uint8Array(100), /not a \.npy file/],
    ["big-endian", header("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }"), /">f4" are not supported/],
    ["complex64", header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }"), /"<c8" are not supported/],
    ["Fortran order", header("{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }"), /C order/],
    ["too few bytes", header("{'descr': '<f4', 'fortran_order': False, 'shape': (99,), }"), /breaks off/],
  ] as const) {
    test(`${what} is an InputError`, () => {
      if (bytes[1] === 0x4e) bytes[0] = 0x93;
      assert.throws(() => readNpy(bytes, "x"), rejects("InputError", message));
    });
  }
});

for (const flags of [[], ["--browser"]]) {
  const where = flags.length > 0 ? "Chromium" : "Node";

  test(`a run in ${where}`, async () => {
    const input = `x=${await save("x.npy", X)}`;
    const output = join(folder, "y.npy");
    const { status, stdout, stderr } = await cli("run", FIXTURE, "--input", input, "--output", output, ...flags);
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^fixture on .*\nmain: .* 2 launches -> y: float32\[2, 4\], z: float32\[2, 4\]\n$/);
    assert.deepEqual((await saved("y.npy")).data, Y);
  });

  test(`a job in ${where}`, async () => {
    await save("x.npy", X);
    const job = {
      package: FIXTURE,
      runs: [
        { inputs: { x: "x.npy" }, outputs: { y: "out/y.npy" }, repeat: 3 },
        { entry: "start", inputs: {} },
        { entry: "step", inputs: { counter: { run: 1, output: "counter" }, by: 5 }, outputs: { value: "value.npy" } },
        { inputs: { x: { run: 0, output: "z" } }, outputs: { z: "z.npy" } },
      ],
    };
    await writeFile(join(folder, "job.json"), JSON.stringify(job));
    const { status, stdout, stderr } = await cli("--job", join(folder, "job.json"), "--json", ...flags);
    assert.equal(status, 0, stderr);
    const report = JSON.parse(stdout) as JobReport;
    assert.deepEqual(report.runs.map(({ ms }) => ms.length), [3, 1, 1, 1]);
    assert.deepEqual(report.runs.map(({ dispatches }) => dispatches), [2, 0, 0, 2]);
    assert.equal(report.runs[1]!.outputs["counter"], "object");
    assert.deepEqual((await saved("out/y.npy")).data, Y);
    assert.deepEqual((await saved("value.npy")).data, Int32Array.of(7, 5));
    assert.equal((await saved("z.npy")).data[3], 3 + 4 * 4);
  });

  test(`the variant that is asked for runs in ${where}`, async () => {
    const input = `x=${await save("x.npy", X)}`;
    const varied = await packageWithVariants({ small: {}, none: { features: ["warp-drive"] } });
    const run = (...more: string[]): ReturnType<typeof cli> =>
      cli(varied, "--input", input, "--json", ...more, ...flags);
    for (const name of ["small", "baseline"]) {
      const { status, stdout, stderr } = await run("--variant", name);
      assert.equal(status, 0, stderr);
      assert.equal((JSON.parse(stdout) as JobReport).variant, name);
    }
    assert.match((await run("--variant", "none")).stderr, /^UnsupportedError: .*feature "warp-drive"/m);
  });

  test(`an error in ${where} has one line and status 1`, async () => {
    const input = `x=${await save("wrong.npy", { ...X, shape: [8, 1] })}`;
    const { status, stdout, stderr } = await cli(FIXTURE, "--input", input, ...flags);
    assert.deepEqual([status, stdout], [1, ""]);
    assert.match(stderr, /^InputError: input "x": expected float32\[n, 4\], got float32\[8, 1\]\n$/m);
  });
}

describe("wrong arguments", () => {
  for (const [args, message] of [
    [["--wrong"], /^InputError: Unknown option '--wrong'/],
    [[], /^InputError: expected one package folder/],
    [[FIXTURE, "--input", "x"], /^InputError: --input x: expected NAME=/],
    [[FIXTURE, "--input", "x=/none.npy"], /InputError: \/none\.npy can't be read/],
    [["/none"], /PackageError: \/none\/manifest\.json can't be read/],
    [[FIXTURE, "--repeat", "x"], /^InputError: --repeat x/],
    [[FIXTURE, "--entry", "print", "--output", "q=q.npy"], /InputError: there is no output "q"/],
    [["--job", "/none.json"], /^InputError: .*none\.json/],
    [[FIXTURE, "--browser", "--chromium", "/none"], /UnsupportedError: no browser at \/none: apt-get install/],
  ] as const) {
    test(args.join(" ").replace(FIXTURE, "DIR") || "none", async () => {
      const { status, stderr } = await cli(...args);
      assert.equal(status, 1);
      assert.match(stderr, message);
    });
  }
});
