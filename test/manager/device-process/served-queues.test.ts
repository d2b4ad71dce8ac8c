import { describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../devices/9p/fs/file-system.js';
import { Virtio9pMux } from '../../../devices/9p/virtio-9p-mux.js';
import { ServedMount } from '../../../manager/device-process/served-mount.js';
import { ServedQueues } from '../../../manager/device-process/served-queues.js';
import { NO_COUNTERS } from '../fakes.js';
import { refusal } from '../refusal.js';
import { notingLog } from '../../support/log.js';

/** A multiplexing device of file systems that only note when they are closed; `close` can be held back. */
function setUp(queueCount = 3) {
  const closed: string[] = [];
  const log: string[] = [];
  const mux = new Virtio9pMux(queueCount);
  let opened = 0;
  const held: { close: () => void | Promise<void> } = { close: () => undefined };
  const served = new ServedQueues({
    mux,
    openMount: async (_, terms) => {
      const name = `fs${++opened}`;
      const fs: FileSystem = {
        attach: () => -2,
        close: () => {
          closed.push(name);
          return held.close();
        },
      };
      return new ServedMount({ fs, overlay: undefined, inMemory: [] }, terms);
    },
    serverOptions: (_, limits) => ({
      ...{ maxMsizeBytes: 8192, readOnly: false, maxFids: 10, maxOpenFiles: 10, log: () => undefined },
      ...limits,
    }),
    log: notingLog(log),
  });
  const add = (tag: string, ...queues: number[]) =>
    served.add({ function: 'f', queues, tag, source: { type: 'memory' }, readOnly: false });
  /** As if the guest had files of it. */
  const mount = (queue: number, fids: number) => {
    (mux.statistics(queue) as { fids: number }).fids = fids;
  };
  return { served, add, mount, closed, held, log, mux };
}

describe('the queues of a device process', () => {
  it('take a mount on the first that is free of those asked for', async () => {
    const { served, add } = setUp();
    expect(await add('a', 1, 2)).toBe(1);
    expect(await add('b', 0, 1)).toBe(0);
    expect(await add('c', 0, 1, 2)).toBe(2);
    expect(served.list(NO_COUNTERS).map(({ queue }) => queue)).toEqual([1, 0, 2]);
  });

  it('open nothing where none of them is free, or there is no such queue', async () => {
    const { add, closed } = setUp();
    await add('a', 0);
    for (const queues of [[0], [], [3, 400]])
      await expect(add('b', ...queues)).rejects.toMatchObject(refusal('NO_SLOT_FREE', /./, /--via tree/));
    expect(closed).toEqual([]);
  });

  it('close what they had opened where the device refuses it', async () => {
    const { served, add, closed } = setUp();
    await expect(add('x'.repeat(223), 0)).rejects.toThrow(RangeError);
    expect(closed).toEqual(['fs1']);
    expect(served.list(NO_COUNTERS)).toEqual([]);
  });

  it('let nothing go that the guest has mounted, unless forced, and then say what it had', async () => {
    const { served, add, mount, closed } = setUp();
    await add('a', 0);
    await add('b', 1);
    mount(0, 2);
    expect(() => served.remove(0, false)).toThrow(
      expect.objectContaining(refusal('MOUNT_BUSY', /"a"/, /--force/)) as Error,
    );
    expect(closed).toEqual([]);
    expect(served.remove(0, true)).toEqual({ fids: 2, openFiles: 0 });
    expect(served.list(NO_COUNTERS).map(({ queue }) => queue)).toEqual([1]);
    await expect.poll(() => closed).toEqual(['fs1']);
  });

  it('say nothing of one that is not there', () => {
    const { served } = setUp();
    expect(served.remove(0, false)).toEqual({ fids: 0, openFiles: 0 });
    expect(served.remove(99, true)).toEqual({ fids: 0, openFiles: 0 });
  });

  it('stay taken while a file system that hangs is being closed, and keep nobody else waiting', async () => {
    const { served, add, held } = setUp(2);
    let release: () => void = () => undefined;
    held.close = () => new Promise<void>((resolve) => (release = resolve));
    await add('a', 0);
    served.remove(0, true);
    expect(served.remove(0, true)).toEqual({ fids: 0, openFiles: 0 });
    expect(await add('b', 0, 1)).toBe(1);
    await expect(add('c', 0, 1)).rejects.toMatchObject(refusal('NO_SLOT_FREE', /under way/));
    release();
    await expect.poll(() => add('c', 0).catch(() => undefined)).toBe(0);
  });

  it('survive a file system that cannot be closed', async () => {
    const { served, add, held, log } = setUp();
    held.close = () => Promise.reject(new Error('stuck'));
    await add('a', 0);
    served.remove(0, false);
    await expect.poll(() => log.join()).toMatch(/a: not closed as it should be: .*stuck/);
    expect(await add('b', 0)).toBe(0);
  });

  it('count each for itself and all together', async () => {
    const { served, add, mount } = setUp();
    await add('a', 0);
    await add('b', 2);
    mount(0, 1);
    mount(2, 4);
    const none = { kicks: 0, interrupts: 0, wakes: 0, spuriousWakes: 0, polls: 0, requests: 0 };
    const queues = [{ ...none, requests: 5 }, none, { ...none, requests: 7 }];
    expect(served.list({ ...NO_COUNTERS, queues })).toMatchObject([
      { queue: 0, counters: { requests: 5, fids: 1, queues: [{ requests: 5 }] } },
      { queue: 2, counters: { requests: 7, fids: 4 } },
    ]);
    expect(served.counted()).toMatchObject({ fids: 5 });
  });
});
