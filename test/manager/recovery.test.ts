import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Recovery } from '../../manager/recovery.js';
import { notingLog } from '../support/log.js';

describe('recovery', () => {
  const log: string[] = [];
  let givenUp = 0;
  let revivals: number[] = [];
  let fails = false;
  let recovery: Recovery;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    log.length = 0;
    givenUp = 0;
    revivals = [];
    fails = false;
    recovery = new Recovery({
      log: notingLog(log),
      onGivenUp: () => givenUp++,
      revive: async () => {
        revivals.push(performance.now());
        if (fails) throw new Error('no room');
        recovery.started();
      },
    });
    recovery.started();
  });
  afterEach(() => {
    recovery.end();
    vi.useRealTimers();
  });

  it('starts a process that has lived for a while again at once, as often as it dies', async () => {
    for (let i = 0; i < 20; i++) {
      await vi.advanceTimersByTimeAsync(1500);
      const now = performance.now();
      recovery.begin();
      expect(recovery.isUnderWay).toBe(true);
      await vi.advanceTimersByTimeAsync(0);
      expect(revivals.at(-1)).toBe(now);
      expect(recovery.isUnderWay).toBe(false);
    }
    expect(log.at(-1)).toMatch(/runs again, after 0 ms/);
  });

  it('pauses longer each time before it starts one that does not live long, and gives it up in the end', async () => {
    const pauses: number[] = [];
    for (;;) {
      const died = performance.now();
      const before = revivals.length;
      recovery.begin();
      await vi.advanceTimersByTimeAsync(5000);
      if (revivals.length === before) break;
      pauses.push(revivals[before] - died);
      // As if it died as soon as it was there.
      recovery.started();
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1600]);
    expect([recovery.isUnderWay, givenUp]).toEqual([false, 1]);
    expect(log.at(-1)).toMatch(/died 6 times in a row/);
  });

  it('tries again where a start fails, and says why', async () => {
    await vi.advanceTimersByTimeAsync(1500);
    fails = true;
    recovery.begin();
    await vi.advanceTimersByTimeAsync(50);
    expect(log).toContain('cannot start the device process: no room');
    fails = false;
    await vi.advanceTimersByTimeAsync(200);
    expect(recovery.isUnderWay).toBe(false);
    expect(revivals).toHaveLength(2);
  });

  it('is over once it ends', async () => {
    recovery.begin();
    recovery.end();
    await vi.advanceTimersByTimeAsync(5000);
    expect(revivals).toEqual([]);
    recovery.begin();
    expect(recovery.isUnderWay).toBe(false);
  });
});
