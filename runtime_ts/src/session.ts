/** @file What loading puts together and a lost device takes away: all that a model runs on. */
import type { Buffers } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import type { Host, Value } from "./host.ts";
import type { Manifest } from "./manifest.ts";

export interface Session {
  readonly manifest: Manifest;
  readonly device: GPUDevice;
  readonly ownsDevice: boolean;
  readonly buffers: Buffers;
  readonly commands: Commands;
  readonly host: Host;
  /** The parameters, in the manifest's order. */
  readonly params: readonly Value[];
  /** Buffers of the parameters, to be destroyed at the end. */
  readonly shards: readonly GPUBuffer[];
}

/** Frees all but the parameters and the device, which another session of the same model goes on using. */
export function destroyProgram({ buffers, commands }: Session): void {
  commands.destroy();
  buffers.destroy();
}

/** Frees all of it; a caller's own device is left alone. */
export function destroySession(session: Session): void {
  const { device, ownsDevice, shards } = session;
  destroyProgram(session);
  for (const shard of shards) shard.destroy();
  if (ownsDevice) device.destroy();
}

/** Makes a session of the tuned kernels that shares the parameters of the `first`, whose runs `idle` waits for. */
export type Tune = (first: Session, stop: AbortSignal, idle: () => Promise<void>) => Promise<Session>;

/** The session that runs go to: after a lost device a new one, where that can be made. */
export interface Sessions {
  /** Another one of the same model, device and parameters may take its place. */
  current: Session;
  /** Why the current one is of no use, if so. */
  readonly lost: Error | undefined;
  /** The living session, made anew if need be. @throws DeviceLostError, or what making it anew throws */
  ready(signal?: AbortSignal): Promise<Session>;
  destroy(): void;
}
