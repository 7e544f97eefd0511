/** @file A model just loaded in, one that has run out: what only a run makes ready, is. */
import { dtypeInfo, product, viewAs } from "./dtype.ts";
import type { Entry } from "./manifest.ts";
import type { Inputs, Model } from "./model.ts";

/** What the extents with these names are taken to be: one run for each place in the lists. */
export type WarmExtents = Readonly<Record<string, readonly number[]>>;

/** Runs of the same inputs: engines compile what comes again. More only while they are quick. */
const RUNS = 8;
const QUICK_MS = 100;

/** Runs entries on zeros: those that take tensors of known extents and give no objects. @throws what the runs throw */
export async function warmRuns(model: Model, extents: WarmExtents, signal: AbortSignal): Promise<void> {
  const places = Math.max(1, ...Object.values(extents).map(({ length }) => length));
  for (const entry of model.entries) {
    for (let place = 0; place < places; place++) {
      const inputs = zerosFor(entry, (name) => extents[name]?.[place]);
      if (inputs === undefined) continue;
      const start = performance.now();
      for (let i = 0; i < RUNS && (i < 1 || performance.now() - start < QUICK_MS); i++) {
        await model.run(inputs, { entry: entry.name });
        signal.throwIfAborted();
      }
      if (entry.inputs.every(isFixed)) break; // all places are alike
    }
  }
}

function isFixed(port: Entry["inputs"][number]): boolean {
  return port.kind === "tensor" && port.shape.every((extent) => typeof extent === "number");
}

/** Of an entry that makes objects there would be some that nobody asked for. */
function zerosFor({ inputs, outputs }: Entry, sizeOf: (name: string) => number | undefined): Inputs | undefined {
  if (inputs.length === 0 || outputs.some(({ kind }) => kind === "object")) return undefined;
  const found: Record<string, Inputs[string]> = {};
  for (const port of inputs) {
    if (port.kind !== "tensor") return undefined;
    const shape = port.shape.map((extent) => (typeof extent === "number" ? extent : sizeOf(extent)));
    if (!shape.every((extent) => extent !== undefined)) return undefined;
    const bytes = new ArrayBuffer(product(shape) * dtypeInfo(port.dtype).bytes);
    found[port.name] = { data: viewAs(port.dtype, bytes, product(shape)), shape };
  }
  return found;
}
