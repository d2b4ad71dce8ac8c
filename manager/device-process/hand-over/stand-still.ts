/** Waiting until a device has nothing under way, for as long as its guest may wait. */
import { setTimeout as delay } from 'node:timers/promises';
import type { VirtioDevice } from '../../../devices/virtio/device.js';

const LOOK_MS = 1;

/** Nothing is taken from its rings any more. */
export interface StandStill {
  readonly device: Pick<VirtioDevice, 'hold'>;
  /** Whether it has requests that it has not given back, or a reset to finish. */
  readonly isBusy: () => boolean;
  /** Whether it has a reset to finish. */
  readonly isResetting: () => boolean;
}

/**
 * Resolves to true once the device touches neither guest memory nor the host: once it has given all requests back, or, where it can hold
 * them, once none has begun that it has. False after that time: `unhold` is to come then.
 */
export async function standStill(still: StandStill, timeoutMs: number): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  let held = still.device.hold === undefined;
  void Promise.resolve(still.device.hold?.()).then(() => (held = true));
  const isDone = () => held && !(still.device.hold === undefined ? still.isBusy() : still.isResetting());
  // Most requests end within a turn of the event loop.
  await new Promise(setImmediate);
  while (!isDone()) {
    if (performance.now() > end) return false;
    await (performance.now() < end - timeoutMs + LOOK_MS ? new Promise(setImmediate) : delay(LOOK_MS));
  }
  return true;
}
