/** Slots that were asked for and wait for the guest, each for so long. */
import { ChassisError } from '../../control/api.js';

interface Waiting {
  readonly done: Promise<void>;
  /** Ends the wait, with an error or without. */
  settle(error?: ChassisError): void;
}

export class Ejections {
  readonly #waiting = new Map<number, Waiting>();

  /**
   * Resolves once `ejected` was called for the slot. Rejects with GUEST_TIMEOUT after `timeoutMs`, and calls `timedOut` before.
   * While one waits for a slot, another that asks for it waits for the same.
   */
  wait(slot: number, timeoutMs: number, timedOut: () => void): Promise<void> {
    const waiting = this.#waiting.get(slot) ?? this.#start(slot, timeoutMs, timedOut);
    return waiting.done;
  }

  isWaiting(slot: number): boolean {
    return this.#waiting.has(slot);
  }

  /** The slot is free, however that came about. */
  ejected(slot: number): void {
    this.#waiting.get(slot)?.settle();
  }

  #start(slot: number, timeoutMs: number, timedOut: () => void): Waiting {
    let settle!: Waiting['settle'];
    const done = new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        timedOut();
        settle(guestTimeout(slot, timeoutMs));
      }, timeoutMs);
      settle = (error) => {
        clearTimeout(timer);
        this.#waiting.delete(slot);
        if (error === undefined) resolve();
        else reject(error);
      };
    });
    const waiting = { done, settle };
    this.#waiting.set(slot, waiting);
    return waiting;
  }
}

function guestTimeout(slot: number, timeoutMs: number): ChassisError {
  return new ChassisError(
    'GUEST_TIMEOUT',
    `the guest did not let slot ${slot} go within ${timeoutMs} ms; it stays plugged in`,
    'unmount what is mounted from it, then try again',
  );
}
