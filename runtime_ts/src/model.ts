/** @file A loaded package: inputs in, results out, run by run; the first place to read. */
import type { Memory } from "./buffers.ts";
import type { Bound } from "./bound.ts";
import type { Counters } from "./commands.ts";
import { DisposedError, InputError, messageOf, typed, TvmWebgpuError } from "./errors.ts";
import type { LoadReport } from "./load.ts";
import type { Entry, Manifest } from "./manifest.ts";
import { profileOf, LaunchTimes, type Profile } from "./profile.ts";
import { abortable, sleep, Turns } from "./queue.ts";
import type { BindOptions, Inputs, ProfileOptions, RehearsalOptions, RunOptions, RunRequest } from "./requests.ts";
import type { GpuResult } from "./results.ts";
import { Runner } from "./run.ts";
import { destroyProgram, type Session, type Sessions, type Tune } from "./session.ts";
import { checkInputs, type CpuTensor } from "./tensor.ts";
import { prepared, type Warm } from "./warm.ts";

export type { BindOptions, Bound, CpuTensor, Inputs, Memory, ProfileOptions, RunOptions };

/** Two: while the GPU works on one run the next is prepared. More would only hold memory. */
const RUNS_IN_FLIGHT = 2;
/** How soon after loading the first run comes, if the caller loaded for it. */
const AT_ONCE_MS = 200;

export class Model {
  /** How it was loaded: the variant, what came from the cache, and how long each part took. */
  readonly loading: LoadReport;
  readonly #sessions: Sessions;
  readonly #turns = new Turns(RUNS_IN_FLIGHT);
  #runner: Runner;
  #disposed = false;
  /** Runs that were called and have not reached the GPU yet: nothing may overtake them. */
  #unencoded = 0;
  readonly #warm: Warm | undefined;
  readonly #better: Tune | undefined;
  readonly #began: Manifest;
  readonly #stop = new AbortController();
  #tuned: Promise<string | undefined> = Promise.resolve(undefined);
  /** The one to begin with, while callers hold results in its memory. */
  #retired: Runner | undefined;

  /** @internal Use loadModel. */
  constructor(sessions: Sessions, runner: Runner, loading: LoadReport, warm?: Warm, better?: Tune) {
    this.#sessions = sessions;
    this.#runner = runner;
    this.loading = loading;
    this.#warm = warm;
    this.#better = better;
    this.#began = runner.session.manifest;
    this.#tune();
  }

  get name(): string {
    return this.manifest.name;
  }

  /** The device that the model runs on; another one after it was lost and the model made a new one. */
  get device(): GPUDevice {
    return this.#sessions.current.device;
  }

  /** The entry functions: names, inputs and outputs. */
  get entries(): readonly Entry[] {
    return this.manifest.entries;
  }

  get manifest(): Manifest {
    return this.#sessions.current.manifest;
  }

  /** GPU commands since the model was loaded, or since its device was lost. */
  get counters(): Readonly<Counters> {
    return this.#runner.session.commands.counters;
  }

  /**
   * Settles when runs use the tuned kernels: with undefined, or with why they go on with those to begin with. Results
   * may differ in their last bits from then on.
   */
  get tuned(): Promise<string | undefined> {
    return this.#tuned;
  }

  /** Device memory that the model has now, in bytes. */
  memory(): Memory {
    this.#checkUsable();
    return this.#runner.memory();
  }

  /**
   * Calls an entry function. Calls may overlap: they take effect in order. Leave the inputs' data as it is until the
   * promise settles. Name the results' types as `R` where they are not all tensors, such as
   * `run<{ logits: CpuTensor; cache: ModelObject }>(...)`.
   *
   * @throws InputError, UnsupportedError, ModelError, OutOfMemoryError, GpuError, DeviceLostError, DisposedError, or
   * the signal's reason. After the first three and OutOfMemoryError the model can be used on.
   */
  run<R = Record<string, GpuResult>>(inputs: Inputs, options: RunOptions & { readonly outputs: "gpu" }): Promise<R>;
  run<R = Record<string, CpuTensor>>(inputs: Inputs, options?: RunOptions): Promise<R>;
  /** @internal With `rehearse` all is done but the launches. */
  run(inputs: Inputs, options: RehearsalOptions): Promise<unknown>;
  async run(inputs: Inputs = {}, options: RehearsalOptions = {}): Promise<unknown> {
    const { signal, outputs = "cpu", entry, rehearse } = options;
    if (outputs === "gpu" && !signal && this.#unencoded === 0 && !this.#disposed && !this.#sessions.lost) {
      const results = this.#runner.repeat(this.#entry(entry), inputs);
      if (results) return results;
    }
    return this.#perform(this.#request(inputs, entry, { outputs, signal, rehearse }));
  }

  /**
   * Binds an entry's inputs and outputs to buffers on the GPU, for the least that a run can cost: `run()` of what this
   * gives is synchronous, and tells the GPU what to do without looking at anything again. Write new inputs into the
   * same buffers. Inputs are tensors in buffers, or whole numbers. An output that no buffer is named for gets one; to a
   * buffer of the caller's that has no quarter more room than the output needs, it may be copied at the end. Waits for
   * the tuned kernels.
   *
   * @throws UnsupportedError if the entry takes or gives objects, or looks at data on its way; else as `run`
   */
  async bind(inputs: Inputs, options: BindOptions = {}): Promise<Bound> {
    const { entry, args } = this.#request(inputs, options.entry, { outputs: "gpu" });
    await this.#tuned;
    await this.#turns.enter();
    try {
      if (this.#sessions.lost) await this.#renew();
      this.#checkUsable();
      return await this.#runner.bind(entry, args, options.outputs ?? {});
    } catch (error) {
      throw await this.#explain(error);
    } finally {
      this.#turns.leave();
    }
  }

  /**
   * Calls an entry function a few times and measures each of its launches on the GPU. Every launch gets a compute pass
   * of its own, so that the sum is more than a run takes.
   *
   * Waits for the tuned kernels.
   *
   * @throws UnsupportedError if the device lacks the feature "timestamp-query"; else as run does.
   */
  async profile(inputs: Inputs, options: ProfileOptions = {}): Promise<Profile> {
    const { signal, runs = 5 } = options;
    const request = this.#request(inputs, options.entry, { outputs: "gpu", signal });
    const measured: LaunchTimes[] = [];
    await this.#tuned;
    try {
      for (let i = 0; i <= Math.max(1, runs); i++) {
        const timer = new LaunchTimes(this.device);
        measured.push(timer);
        const start = performance.now();
        const results = await this.#perform({ ...request, timer });
        for (const result of Object.values(results)) (result as Partial<GpuResult> | null)?.dispose?.();
        await timer.read(performance.now() - start);
      }
      return profileOf(this.manifest, request.entry.name, measured.slice(1));
    } finally {
      for (const timer of measured) timer.destroy();
    }
  }

  /** Gives device memory that the model pools between runs back to the GPU. */
  trim(): void {
    this.#checkUsable();
    this.#runner.trim();
  }

  /** Frees everything; runs under way are rejected with a DisposedError. A caller's own device is left alone. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#stop.abort();
    this.#retire(true);
    this.#runner.destroy();
    this.#sessions.destroy();
  }

  #request(inputs: Inputs, name: string | undefined, how: Omit<RunRequest, "entry" | "args">): RunRequest {
    this.#checkUsable();
    const entry = this.#entry(name);
    return { entry, args: checkInputs(entry, inputs), ...how };
  }

  async #perform(request: RunRequest): Promise<Record<string, unknown>> {
    this.#unencoded++;
    let waits = true;
    const encoded = (): void => {
      if (waits) this.#unencoded--;
      waits = false;
    };
    try {
      await this.#turns.enter(request.signal);
    } catch (error) {
      encoded();
      throw error;
    }
    const settled = this.#onRunner({ ...request, encoded }).finally(encoded)
      .catch(async (error: unknown) => { throw await this.#explain(error); });
    settled.then(() => { this.#turns.leave(); }, () => { this.#turns.leave(); });
    return abortable(settled, request.signal);
  }

  async #onRunner(request: RunRequest): Promise<Record<string, unknown>> {
    this.#checkUsable();
    this.#retire();
    if (this.#sessions.lost) await this.#renew(request.signal);
    return this.#runner.run(request);
  }

  async #renew(signal?: AbortSignal): Promise<void> {
    const session = await this.#sessions.ready(signal);
    this.#checkUsable();
    if (this.#runner.session === session) return;
    this.#retire(true);
    this.#runner.destroy();
    this.#runner = new Runner(session);
    if (session.manifest === this.#began) this.#tune();
    else this.#tuned = Promise.resolve(undefined);
  }

  /** Begins to make the tuned kernels, behind the runs. */
  #tune(): void {
    if (this.#better) this.#tuned = this.#improve(this.#better);
  }

  /** Makes the tuned kernels' session and, when no run is under way, has it take the place of the first. */
  async #improve(better: Tune): Promise<string | undefined> {
    const first = this.#sessions.current;
    let runner: Runner;
    try {
      const make = (): Promise<Session> => better(first, this.#stop.signal, () => this.#idle());
      runner = await prepared(make, this.#warm, this.#stop.signal, destroyProgram);
    } catch (error) {
      return messageOf(error);
    }
    return this.#alone(() => {
      if (this.#disposed || this.#sessions.lost || this.#sessions.current !== first) {
        runner.destroy();
        destroyProgram(runner.session);
        return "the device was lost";
      }
      this.#retired = this.#runner;
      this.#sessions.current = runner.session;
      this.#runner = runner;
      this.#retire();
      return undefined;
    });
  }

  /** Waits for the runs that come at once, such as the first one. */
  async #idle(): Promise<void> {
    await sleep(AT_ONCE_MS);
    await this.#alone(() => { this.#stop.signal.throwIfAborted(); });
  }

  /** Does something while no run is under way. */
  async #alone<T>(action: () => T): Promise<T> {
    // Asked for together: two that had one turn each would wait for each other.
    await Promise.all(Array.from({ length: RUNS_IN_FLIGHT }, () => this.#turns.enter()));
    try {
      return action();
    } finally {
      for (let i = 0; i < RUNS_IN_FLIGHT; i++) this.#turns.leave();
    }
  }

  /** Frees what the model began with, unless callers hold results there. */
  #retire(always?: boolean): void {
    const retired = this.#retired;
    if (!retired || (retired.outputs.lent > 0 && !always)) return;
    retired.destroy();
    destroyProgram(retired.session);
    this.#retired = undefined;
  }

  #entry(name?: string): Entry {
    const { entries } = this;
    const found = name === undefined
      ? (entries.find((entry) => entry.name === "main") ?? (entries.length === 1 ? entries[0] : undefined))
      : entries.find((entry) => entry.name === name);
    if (found) return found;
    const names = entries.map((entry) => `"${entry.name}"`).join(", ");
    const problem = name === undefined ? "say which entry to run:" : `there is no entry "${name}", only`;
    throw new InputError(`${problem} ${names}`);
  }

  #checkUsable(): void {
    if (this.#disposed) throw new DisposedError("the model was disposed of");
  }

  /** What lies behind an error of WebGPU's own: a map that fails says little, the reason comes beside it. */
  async #explain(error: unknown): Promise<unknown> {
    if (this.#disposed) return new DisposedError("the model was disposed of while it ran");
    const { lost } = this.#sessions;
    if (error instanceof TvmWebgpuError) return lost ?? error;
    if (lost) return lost;
    await Promise.race([this.device.lost, sleep(100)]);
    return this.#sessions.lost ?? typed(error);
  }
}
