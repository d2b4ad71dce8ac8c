import { writeFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Unclaimed, UNCLAIMED_MS } from '../../manager/unclaimed.js';
import { temporaryFolders } from './temporary-folder.js';

describe('a process that no daemon asks for', () => {
  const folder = temporaryFolders();
  let socketPath: string;
  let inUse: boolean;
  let ended: number;
  let unclaimed: Unclaimed;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    socketPath = join(folder(), 'device.sock');
    writeFileSync(socketPath, '');
    inUse = false;
    ended = 0;
    unclaimed = new Unclaimed({
      ...{ limitMs: UNCLAIMED_MS, socketPath },
      inUse: () => inUse,
      onUnclaimed: () => ended++,
    });
    unclaimed.abandoned();
  });
  afterEach(() => vi.useRealTimers());

  it('ends after the time that the documentation names, once', () => {
    vi.advanceTimersByTime(UNCLAIMED_MS - 1);
    expect(ended).toBe(0);
    vi.advanceTimersByTime(UNCLAIMED_MS);
    expect(ended).toBe(1);
  });

  it('lives while a daemon is there, and begins to count when it goes', () => {
    unclaimed.claimed();
    vi.advanceTimersByTime(2 * UNCLAIMED_MS);
    unclaimed.abandoned();
    vi.advanceTimersByTime(UNCLAIMED_MS - 1);
    expect(ended).toBe(0);
  });

  it('lives while a guest uses it, and begins to count when that ends', () => {
    inUse = true;
    vi.advanceTimersByTime(2 * UNCLAIMED_MS);
    inUse = false;
    vi.advanceTimersByTime(UNCLAIMED_MS - 10_000);
    expect(ended).toBe(0);
    vi.advanceTimersByTime(20_000);
    expect(ended).toBe(1);
  });

  it('ends at once where no daemon can find it any more, unless a guest uses it', () => {
    rmSync(socketPath);
    inUse = true;
    vi.advanceTimersByTime(60_000);
    expect(ended).toBe(0);
    inUse = false;
    vi.advanceTimersByTime(5000);
    expect(ended).toBe(1);
  });
});
