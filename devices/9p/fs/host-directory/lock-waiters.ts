/**
 * Locks that are waited for. A thread in fcntl(F_OFD_SETLKW) could not be called back, and four of them would take all of libuv's
 * threads from the guest's reads; so the lock is tried again: at once when anything in this process releases one, and in steps from
 * 1 to 50 ms for what processes of the host release. Whoever has waited longest is tried first.
 */
import { Errno } from '../../../errno.js';
import { LockStatus, type Lock } from '../file-system.js';

const FIRST_RETRY_MS = 1;
const LAST_RETRY_MS = 50;
/**
 * Then the client is told to come again. Linux waits for our answer in a way that only a fatal signal ends, and for its own next
 * try in one that any signal ends: a server that waited for ever would keep a guest's alarm(2) from ending fcntl(F_SETLKW).
 */
export const LOCK_WAIT_MAX_MS = 5_000;

interface Waiter {
  readonly attempt: () => number;
  readonly resolve: (status: number) => void;
  readonly endMs: number;
  retryMs: number;
  nextMs: number;
}

export class LockWaiters {
  /** By the lock that the call was given, in the order they came. */
  readonly #waiting = new Map<Lock, Waiter>();
  #timer: NodeJS.Timeout | undefined;
  #releasePending = false;

  get size(): number {
    return this.#waiting.size;
  }

  /** Tries until `attempt` answers anything but P9_LOCK_BLOCKED, for LOCK_WAIT_MAX_MS at most, or until `interrupt`: -EINTR. */
  wait(lock: Lock, attempt: () => number): Promise<number> {
    return new Promise((resolve) => {
      const nowMs = performance.now();
      this.#waiting.set(lock, {
        attempt,
        resolve,
        endMs: nowMs + LOCK_WAIT_MAX_MS,
        retryMs: FIRST_RETRY_MS,
        nextMs: nowMs + FIRST_RETRY_MS,
      });
      this.#arm();
    });
  }

  /** Ends the wait for the lock, if there is one. */
  interrupt(lock: Lock): void {
    this.#end(lock, -Errno.EINTR);
    this.#arm();
  }

  /** A lock was released in this process: those that wait are tried again soon. */
  released(): void {
    if (this.#waiting.size === 0 || this.#releasePending) return;
    this.#releasePending = true;
    setImmediate(() => {
      this.#releasePending = false;
      this.#retry(true);
    });
  }

  #retry(all: boolean): void {
    const nowMs = performance.now();
    for (const [lock, waiter] of this.#waiting) {
      if (!all && waiter.nextMs > nowMs) continue;
      const status = waiter.attempt();
      if (status !== LockStatus.P9_LOCK_BLOCKED || waiter.endMs <= nowMs) {
        this.#end(lock, status);
        continue;
      }
      waiter.retryMs = Math.min(2 * waiter.retryMs, LAST_RETRY_MS);
      waiter.nextMs = nowMs + waiter.retryMs;
    }
    this.#arm();
  }

  #end(lock: Lock, status: number): void {
    const waiter = this.#waiting.get(lock);
    this.#waiting.delete(lock);
    waiter?.resolve(status);
  }

  /** One timer for all, at the time of the next try. */
  #arm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    let nextMs = Infinity;
    for (const waiter of this.#waiting.values()) nextMs = Math.min(nextMs, waiter.nextMs);
    if (nextMs === Infinity) return;
    this.#timer = setTimeout(() => this.#retry(false), Math.max(nextMs - performance.now(), 0));
  }
}

/** Of all exports of this process, so that guests which share a directory here find out at once. */
export const lockWaiters = new LockWaiters();
