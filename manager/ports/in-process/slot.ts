import { ChassisError } from '../../control/api.js';
import type { PluggedFunction } from './plugged-function.js';

/** A device number that holds functions, and the request to have it back, if there is one. */
export class Slot {
  readonly functions: readonly PluggedFunction[];
  #unplug: { readonly done: Promise<void>; readonly settle: (error?: ChassisError) => void } | undefined;

  constructor(functions: readonly PluggedFunction[]) {
    this.functions = functions;
  }

  find(number: number): PluggedFunction | undefined {
    return this.functions.find((fn) => fn.number === number);
  }

  get unplugRequested(): boolean {
    return this.#unplug !== undefined;
  }

  /**
   * Waits until the guest has let the slot go. Rejects with GUEST_TIMEOUT after `timeoutMs`; `timedOut` runs first, to take the
   * request back. While one request waits, another waits for the same.
   */
  requestUnplug(device: number, timeoutMs: number, timedOut: () => void): Promise<void> {
    this.#unplug ??= this.#startUnplug(device, timeoutMs, timedOut);
    return this.#unplug.done;
  }

  /** The slot is free, however that came about. */
  unplugged(): void {
    this.#unplug?.settle();
  }

  #startUnplug(device: number, timeoutMs: number, timedOut: () => void) {
    let settle!: (error?: ChassisError) => void;
    const done = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        timedOut();
        settle(guestTimeout(device, timeoutMs));
      }, timeoutMs);
      settle = (error) => {
        clearTimeout(timer);
        this.#unplug = undefined;
        if (error === undefined) resolve();
        else reject(error);
      };
    });
    return { done, settle };
  }
}

function guestTimeout(device: number, timeoutMs: number): ChassisError {
  return new ChassisError(
    'GUEST_TIMEOUT',
    `The guest did not let device ${device} go within ${timeoutMs} ms; it stays plugged in.`,
    'Unmount what is mounted from it, then try again.',
  );
}
