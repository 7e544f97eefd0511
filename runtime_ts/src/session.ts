/** @file What loading puts together and a lost device takes away: all that a model runs on. */
import type { Buffers } from "./buffers.ts";
import type { Commands } from "./commands.ts";
import type { Host } from "./host.ts";
import type { Manifest } from "./manifest.ts";

export interface Session {
  readonly manifest: Manifest;
  readonly device: GPUDevice;
  readonly ownsDevice: boolean;
  readonly buffers: Buffers;
  readonly commands: Commands;
  readonly host: Host;
  /** Buffers of the parameters, to be destroyed at the end. */
  readonly shards: readonly GPUBuffer[];
}

/** Frees all of it; a caller's own device is left alone. */
export function destroySession({ device, ownsDevice, buffers, commands, shards }: Session): void {
  commands.destroy();
  buffers.destroy();
  for (const shard of shards) shard.destroy();
  if (ownsDevice) device.destroy();
}

/** The session that runs go to: after a lost device a new one, where that can be made. */
export interface Sessions {
  readonly current: Session;
  /** Why the current one is of no use, if so. */
  readonly lost: Error | undefined;
  /** The living session, made anew if need be. @throws DeviceLostError, or what making it anew throws */
  ready(signal?: AbortSignal): Promise<Session>;
  destroy(): void;
}
