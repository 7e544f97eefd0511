/** @file A model just loaded in, one that has run out: what only a run makes ready, is. */
import { dtypeInfo, product, viewAs } from "./dtype.ts";
import { UnsupportedError } from "./errors.ts";
import type { Entry } from "./manifest.ts";
import type { Inputs } from "./requests.ts";
import type { Runner } from "./run.ts";
import { checkInputs } from "./tensor.ts";

/** What the extents with these names are taken to be: one run for each place in the lists. */
export type WarmExtents = Readonly<Record<string, readonly number[]>>;

/** Runs of the same inputs: engines compile what comes again. More only while they are quick. */
const RUNS = 8;
const QUICK_MS = 100;

/** Makes a program ready for its first run. @throws what running it does */
export type Warm = (runner: Runner, signal: AbortSignal) => Promise<void>;

/**
 * Runs entries on zeros: those that take tensors of known extents and give no objects. What computes on the CPU, or is
 * to answer soon, only rehearses: everything is made that a run needs, drivers' code included, and nothing computed.
 *
 * @throws what the runs throw
 */
export async function warmRuns(
  runner: Runner, extents: WarmExtents, signal: AbortSignal, rehearse: boolean,
): Promise<void> {
  const places = Math.max(1, ...Object.values(extents).map(({ length }) => length));
  for (const entry of runner.session.manifest.entries) {
    for (let place = 0; place < places; place++) {
      const inputs = zerosFor(entry, (name) => extents[name]?.[place]);
      if (inputs === undefined) continue;
      const request = { entry, args: checkInputs(entry, inputs), outputs: "cpu" } as const;
      const start = performance.now();
      for (let i = 0; i < RUNS && (i < 1 || performance.now() - start < QUICK_MS); i++) {
        await runner.run({ ...request, rehearse }).catch((error: unknown) => {
          // What looks at its data on the way can't be rehearsed.
          if (!rehearse || !(error instanceof UnsupportedError)) throw error;
          return runner.run(request);
        });
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
