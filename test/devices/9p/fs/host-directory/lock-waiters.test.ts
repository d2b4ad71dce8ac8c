import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { LockWaiters, LOCK_WAIT_MAX_MS } from '../../../../../devices/9p/fs/host-directory/lock-waiters.js';
import { LockStatus, type Lock } from '../../../../../devices/9p/fs/file-system.js';
import { Errno } from '../../../../../devices/errno.js';

const { P9_LOCK_BLOCKED, P9_LOCK_SUCCESS } = LockStatus;

let waiters: LockWaiters;
/** When each try was made, in milliseconds from the start. */
let tries: number[];
let status: number;
let start: number;

beforeEach(() => {
  vi.useFakeTimers();
  waiters = new LockWaiters();
  tries = [];
  status = P9_LOCK_BLOCKED;
  start = performance.now();
});

afterEach(() => {
  expect([waiters.size, vi.getTimerCount()]).toEqual([0, 0]);
  vi.useRealTimers();
});

function lock(): Lock {
  return { type: 1, startBytes: 0, lengthBytes: 0, processId: 1, clientId: '' };
}

function attempt(): number {
  tries.push(Math.round(performance.now() - start));
  return status;
}

describe('a lock that is waited for', () => {
  it('is tried again soon, then less and less often, and at last the client is told to come again', async () => {
    const wait = waiters.wait(lock(), attempt);
    await vi.advanceTimersByTimeAsync(LOCK_WAIT_MAX_MS + 100);
    expect(await wait).toBe(P9_LOCK_BLOCKED);
    expect(tries.slice(0, 8)).toEqual([1, 3, 7, 15, 31, 63, 113, 163]);
    expect(tries.at(-1)).toBeLessThanOrEqual(LOCK_WAIT_MAX_MS + 50);
    expect(tries.length).toBeLessThan(LOCK_WAIT_MAX_MS / 45);
  });

  it('is had at the next try', async () => {
    const wait = waiters.wait(lock(), attempt);
    await vi.advanceTimersByTimeAsync(5);
    status = P9_LOCK_SUCCESS;
    await vi.advanceTimersByTimeAsync(2);
    expect(await wait).toBe(P9_LOCK_SUCCESS);
    expect(tries).toEqual([1, 3, 7]);
  });

  it('is tried at once when one is released here, once for many', async () => {
    const wait = waiters.wait(lock(), attempt);
    await vi.advanceTimersByTimeAsync(100);
    tries.length = 0;
    status = P9_LOCK_SUCCESS;
    for (let i = 0; i < 100; i++) waiters.released();
    await vi.advanceTimersByTimeAsync(0);
    expect(await wait).toBe(P9_LOCK_SUCCESS);
    expect(tries).toEqual([100]);
    waiters.released();
  });

  it('ends with the failure of a try', async () => {
    const wait = waiters.wait(lock(), attempt);
    status = -Errno.EBADF;
    await vi.advanceTimersByTimeAsync(1);
    expect(await wait).toBe(-Errno.EBADF);
  });

  it('that is interrupted, or never waited, is tried no more', async () => {
    const mine = lock();
    const wait = waiters.wait(mine, attempt);
    waiters.interrupt(lock());
    expect(waiters.size).toBe(1);
    waiters.interrupt(mine);
    expect(await wait).toBe(-Errno.EINTR);
    await vi.advanceTimersByTimeAsync(1000);
    expect(tries).toEqual([]);
  });
});
