/** @file Runs, aborts, losses of the device and dispose() in any order: each ends as it may, and none is wrong. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { loadModel, type GpuResult, type Model } from "../src/index.ts";
import { cleanUp, gpu, packageWithStart, rejects } from "./support.ts";

/** Repeatable numbers below `below`. */
function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => (x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0) % 65_536 % below;
}

const NAMES = { aborted: "AbortError", lost: "DeviceLostError", disposed: "DisposedError" } as const;

interface Run {
  readonly n: number;
  readonly first: number;
  readonly outcome: Promise<unknown>;
  readonly may: Set<string>;
}

/** The bias, and with the kernels to begin with 100 more. */
function right(data: ArrayLike<number>, { n, first }: Run): boolean {
  const gained = data[0]! - first;
  return data.length === 4 * n && (gained === 1 || gained === 101)
    && Array.from(data).every((value, i) => value === first + i + (i % 4) + gained);
}

async function sequence(seed: number, folder: string): Promise<Record<string, number>> {
  const below = random(seed);
  const model = await loadModel(folder, { gpu });
  const found: Record<string, number> = {};
  const runs: Run[] = [];
  const held: GpuResult[] = [];
  let disposed = false;
  const earlier = new Set<string>();
  /** Runs that are under way, and later ones: it takes a while until a loss is known. */
  const spoil = (how: string): void => { for (const may of [earlier, ...runs.map((each) => each.may)]) may.add(how); };
  for (let step = 0; step < 40; step++) {
    const what = below(20);
    if (what < 15) {
      const stop = new AbortController();
      const [n, first, outputs] = [1 + below(5), below(1000), below(3) === 0 ? "gpu" : "cpu"] as const;
      const x = { data: Float32Array.from({ length: 4 * n }, (_, i) => first + i), shape: [n, 4] };
      const signal = below(3) === 0 ? { signal: stop.signal } : {};
      const outcome = run(model, x, outputs, signal, held).catch((error: unknown) => error as Error);
      const may = new Set<string>(earlier);
      runs.push({ n, first, outcome, may });
      if ("signal" in signal && below(2) === 0) {
        may.add(NAMES.aborted);
        if (below(2) === 0) stop.abort();
        else setTimeout(() => { stop.abort(); }, below(4));
      }
    } else if (what === 15) {
      held.splice(0).forEach((result) => { result.dispose(); });
    } else if (what === 16 && !disposed) {
      model.trim();
      assert.ok(model.memory().used >= 0);
    } else if (what === 17) {
      spoil(NAMES.lost);
      model.device.destroy();
    } else if (what === 18 && step > 30) {
      spoil(NAMES.disposed);
      disposed = true;
      model.dispose();
    } else {
      await new Promise((resolve) => setTimeout(resolve, below(30)));
    }
  }
  for (const each of runs) {
    const result = await each.outcome;
    const name = result instanceof Error ? result.name : "right";
    found[name] = (found[name] ?? 0) + 1;
    if (result instanceof Error) assert.ok(each.may.has(name), `${name}: ${result.message}`);
    else assert.ok(right(result as ArrayLike<number>, each), `n ${each.n}, first ${each.first}: ${String(result)}`);
  }
  held.forEach((result) => { result.dispose(); });
  const last = model.run({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [1, 4] } });
  if (disposed) await assert.rejects(last, rejects("DisposedError", /disposed/));
  else assert.equal((await last)["y"]!.data.length, 4);
  model.dispose();
  return found;
}

/** What `y` holds; results on the GPU are looked at later, by another run. */
async function run(
  model: Model, x: { data: Float32Array; shape: number[] }, outputs: "cpu" | "gpu", signal: { signal?: AbortSignal },
  held: GpuResult[],
): Promise<unknown> {
  if (outputs === "cpu") return (await model.run({ x }, signal))["y"]!.data;
  const { y, z } = await model.run({ x }, { ...signal, outputs });
  held.push(y!);
  z!.dispose();
  return x.data.map((value, i) => value + (i % 4) + 1);
}

describe("runs, aborts, losses and dispose() in any order", () => {
  after(cleanUp);
  for (let seed = 1; seed <= 12; seed++) {
    test(`seed ${seed}`, async (t) => {
      t.diagnostic(JSON.stringify(await sequence(seed, await packageWithStart())));
    });
  }
});
