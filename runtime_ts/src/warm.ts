/** @file A program just made in, one that has run out: what only a run makes ready, is. */
import { dtypeInfo, product, viewAs } from "./dtype.ts";
import { DeviceLostError, UnsupportedError } from "./errors.ts";
import type { Entry } from "./manifest.ts";
import type { Model } from "./model.ts";
import type { Inputs } from "./requests.ts";
import { Runner } from "./run.ts";
import { destroyProgram, type Session } from "./session.ts";

/** What the extents with these names are taken to be: one run for each place in the lists. */
export type WarmExtents = Readonly<Record<string, readonly number[]>>;

/** Runs of the same inputs, or rehearsals: engines compile what comes again. More only while they are quick. */
const RUNS = 16;
const REHEARSALS = 4;
const QUICK_MS = 100;

/** Makes a program ready for its first run. @throws if it can't be run any more, or must not */
export type Warm = (runner: Runner, signal: AbortSignal) => Promise<void>;

/**
 * A program that is warm. Zeros may mean nothing to it: if they broke it, another one that is not warm, for which
 * `make` is given what is there of the first.
 *
 * @throws what `make` throws, or what ended the warming
 */
export async function prepared(
  make: (broken?: Session) => Promise<Session>, warm: Warm | undefined, signal: AbortSignal,
  destroy: (session: Session) => void,
): Promise<Runner> {
  const runner = new Runner(await make());
  const { session } = runner;
  try {
    await warm?.(runner, signal);
    return runner;
  } catch (error) {
    runner.destroy();
    if (!session.host.broken) {
      destroy(session);
      throw error;
    }
    const another = await make(session);
    destroyProgram(session);
    return new Runner(another);
  }
}

/**
 * Runs entries on zeros: those that take tensors alone and give no objects. Extents that nobody gave are 1. What
 * computes on the CPU, or is to answer soon, only rehearses: everything is made that a run needs, drivers' code
 * included, and nothing computed.
 */
export async function warmRuns(
  model: Model, { host }: Session, extents: WarmExtents, signal: AbortSignal, rehearse: boolean,
): Promise<void> {
  for (const entry of model.entries) {
    const symbols = entry.inputs.flatMap((port) => (port.kind === "tensor" ? port.shape : []));
    const places = Math.max(1, ...symbols.map((name) => extents[name]?.length ?? 0));
    for (let place = 0; place < places; place++) {
      const inputs = zerosFor(entry, (name) => extents[name]?.[place] ?? extents[name]?.at(-1) ?? 1);
      if (inputs === undefined) break;
      try {
        await warmRun(model, inputs, entry.name, signal, rehearse);
        const pixels = pixelsFor(entry);
        if (pixels) await model.run({ ...inputs, ...pixels }, { entry: entry.name, rehearse });
      } catch (error) {
        // An input that is refused does no harm.
        if (signal.aborted || host.broken || error instanceof DeviceLostError) throw error;
      }
    }
  }
}

/** As callers do it, so that engines compile all of the way, too. */
async function warmRun(
  model: Model, inputs: Inputs, entry: string, signal: AbortSignal, rehearse: boolean,
): Promise<void> {
  const start = performance.now();
  for (let i = 0; i < (rehearse ? REHEARSALS : RUNS) && (i < 1 || performance.now() - start < QUICK_MS); i++) {
    await model.run(inputs, { entry, rehearse }).catch((error: unknown) => {
      // What looks at its data on the way can't be rehearsed.
      if (!rehearse || !(error instanceof UnsupportedError)) throw error;
      return model.run(inputs, { entry });
    });
    signal.throwIfAborted();
  }
}

/** For inputs that images are meant for: what makes tensors of these has pipelines, too. */
function pixelsFor({ inputs }: Entry): Inputs | undefined {
  const names = inputs.flatMap((port) => (port.kind === "tensor" && port.image ? [port.name] : []));
  const pixel = { data: new Uint8Array(4), width: 1, height: 1 };
  return names.length > 0 ? Object.fromEntries(names.map((name) => [name, pixel])) : undefined;
}

/** Of an entry that makes objects there would be some that nobody asked for. */
function zerosFor({ inputs, outputs }: Entry, sizeOf: (name: string) => number): Inputs | undefined {
  if (inputs.length === 0 || outputs.some(({ kind }) => kind === "object")) return undefined;
  const found: Record<string, Inputs[string]> = {};
  for (const port of inputs) {
    if (port.kind !== "tensor") return undefined;
    const shape = port.shape.map((extent) => (typeof extent === "number" ? extent : sizeOf(extent)));
    const bytes = new ArrayBuffer(product(shape) * dtypeInfo(port.dtype).bytes);
    found[port.name] = { data: viewAs(port.dtype, bytes, product(shape)), shape };
  }
  return found;
}
