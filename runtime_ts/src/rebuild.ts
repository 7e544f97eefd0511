/** @file The session that a model runs on; after a lost device, a new one from what is at hand. */
import { deviceLost } from "./device.ts";
import type { DeviceLostError } from "./errors.ts";
import { abortable } from "./queue.ts";
import { destroySession, type Session, type Sessions } from "./session.ts";

export class RenewedSessions implements Sessions {
  current: Session;
  readonly #renew: (() => Promise<Session>) | undefined;
  lost: DeviceLostError | undefined;
  #renewal: Promise<Session> | undefined;
  #destroyed = false;

  /** Without `renew` a loss is final. */
  constructor(first: Session, renew?: () => Promise<Session>) {
    this.#renew = renew;
    this.current = first;
    this.#watch(first);
  }

  async ready(signal?: AbortSignal): Promise<Session> {
    if (!this.lost) return this.current;
    if (!this.#renew) throw this.lost;
    this.#renewal ??= this.#renewed(this.#renew).finally(() => { this.#renewal = undefined; });
    return abortable(this.#renewal, signal);
  }

  destroy(): void {
    this.#destroyed = true;
    destroySession(this.current);
  }

  async #renewed(renew: () => Promise<Session>): Promise<Session> {
    destroySession(this.current); // what a lost device still holds in this process
    const session = await renew();
    this.current = session;
    this.lost = undefined;
    this.#watch(session);
    if (this.#destroyed) destroySession(session);
    return session;
  }

  #watch({ device }: Session): void {
    const advice = this.#renew ? "the next run makes a new one" : "load the model again, with a new device";
    void device.lost.then((info) => {
      if (device === this.current.device) this.lost = deviceLost(info, advice);
    });
  }
}
