/** Requests that wait for something to happen, and signals that end the waiting, against the real server. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Guest, type FileHandle, type Mount } from '../../../guest/index.js';
import { BlockingFileSystem } from '../blocking-file-system.js';
import { Stack } from '../stack.js';

let stack: Stack;
let fs: BlockingFileSystem;
let guest: Guest;
let mount: Mount;
let file: FileHandle;

beforeEach(async () => {
  stack = new Stack();
  fs = new BlockingFileSystem();
  const { fn } = await stack.share('events', { fs });
  stack.machine.plug(1, [{ number: 0, function: fn }]);
  guest = await Guest.boot(stack.machine);
  mount = await guest.mount('events');
  file = await mount.open('events');
});

afterEach(async () => {
  await guest.shutdown();
  expect(stack.fids).toBe(0);
  expect(stack.logs).toEqual([]);
  await stack.close();
});

/** Until so many reads wait in the file system. */
async function untilWaiting(count: number): Promise<void> {
  while (fs.waiting.size < count) await new Promise((resolve) => setImmediate(resolve));
}

function readOne(signal?: AbortSignal): Promise<number> {
  return file.read(new Uint8Array(1), 0, { signal });
}

describe('a read that waits', () => {
  it('resolves when there is something', async () => {
    const target = new Uint8Array(1);
    const read = file.read(target, 0);
    await untilWaiting(1);
    fs.publish(42);
    expect(await read).toBe(1);
    expect(target[0]).toBe(42);
  });

  it('ends with the signal’s reason, and other calls go on', async () => {
    const abort = new AbortController();
    const read = readOne(abort.signal);
    const other = readOne();
    await untilWaiting(2);
    abort.abort(new Error('enough'));
    await expect(read).rejects.toThrow('enough');
    expect(fs.waiting.size).toBe(1);
    expect((await mount.stat('events')).isFile()).toBe(true);
    fs.publish(1);
    expect(await other).toBe(1);
  });

  it('can be ended even where waiting reads fill the whole ring', async () => {
    const abort = new AbortController();
    const reads = Array.from({ length: 140 }, (_, i) => readOne(i === 60 ? abort.signal : undefined));
    await untilWaiting(127);
    abort.abort(new Error('enough'));
    await expect(reads[60]).rejects.toThrow('enough');
    const results = Promise.allSettled(reads);
    while (fs.waiting.size > 0) {
      fs.publish(1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await results).filter(({ status }) => status === 'fulfilled')).toHaveLength(139);
  });

  it('a thousand times over leaves no buffer or tag taken', async () => {
    for (let round = 0; round < 1000; round++) {
      const abort = new AbortController();
      const read = readOne(abort.signal);
      await untilWaiting(1);
      abort.abort();
      await expect(read).rejects.toBe(abort.signal.reason);
    }
    const reads = Array.from({ length: 127 }, () => readOne());
    await untilWaiting(127);
    fs.publish(1);
    expect(await Promise.all(reads)).toEqual(reads.map(() => 1));
  });

  it('holds an unmount up, but not a forced one', async () => {
    const read = expect(readOne()).rejects.toMatchObject({ code: 'EIO', syscall: 'read' });
    await untilWaiting(1);
    let unmounted = false;
    const waits = mount.unmount().then(() => (unmounted = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(unmounted).toBe(false);
    await mount.unmount({ force: true });
    await Promise.all([read, waits]);
    await (await guest.mount('events')).unmount();
  });

  it('holds a shutdown up no longer than it is told to', async () => {
    const read = expect(readOne()).rejects.toMatchObject({ code: 'EIO' });
    await untilWaiting(1);
    await guest.shutdown({ timeoutMs: 1 });
    await read;
  });
});
