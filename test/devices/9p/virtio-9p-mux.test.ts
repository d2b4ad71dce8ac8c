import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Virtio9pMux } from '../../../devices/9p/virtio-9p-mux.js';
import type { DeviceContext } from '../../../devices/virtio/device.js';
import { MemoryFileSystem } from './server/support/memory-file-system.js';
import { TestChain, TestQueue } from './support/test-queue.js';
import { NOFID, NOTAG, type Reply, T } from './server/support/wire.js';

const MULTIPLEX = 1n << 23n;
const ENODEV = 19;
const OPTIONS = {
  maxMsizeBytes: 8192,
  readOnly: false,
  maxFids: 100,
  maxOpenFiles: 100,
  log: () => undefined,
};

/** Offsets of docs/9p-multiplexing.md. */
const [SELECT, QUEUE_COUNT, CHANGES, MOUNT_COUNT] = [224, 226, 228, 232];
const [CHANGED_QUEUE, STATE, FLAGS, SERIAL] = [234, 236, 238, 240];

/** Counts how often it was closed. */
class CountingFileSystem extends MemoryFileSystem {
  closes = 0;

  override close(): void {
    this.closes++;
    super.close();
  }
}

/** A device at work, and its config space as a driver reads it. */
function newDevice(queueCount = 4, features = MULTIPLEX | 1n) {
  const device = new Virtio9pMux(queueCount);
  let announced = 0;
  const queues = device.queueSizes.map((_, index) => new TestQueue(index));
  const context: DeviceContext = {
    features,
    queues,
    configChanged: () => announced++,
    fault: (reason) => expect.unreachable(reason),
  };
  device.activate(context);
  const view = new DataView(device.config.buffer);
  const u16 = (offset: number) => view.getUint16(offset, true);
  const select = (queue: number) => device.writeConfig(SELECT, Uint8Array.of(queue & 0xff, queue >> 8));
  const tag = () => new TextDecoder().decode(device.config.subarray(2, 2 + u16(0)));
  /** What the driver reads of a queue. */
  const shown = (queue: number) => {
    select(queue);
    return { tag: tag(), state: u16(STATE), flags: u16(FLAGS), serial: view.getUint32(SERIAL, true) };
  };
  const changes = () => ({
    changes: view.getUint32(CHANGES, true),
    mounts: u16(MOUNT_COUNT),
    queue: u16(CHANGED_QUEUE),
  });
  return { device, queues, select, tag, shown, changes, u16, announced: () => announced, context };
}

function serve(device: Virtio9pMux, queue: TestQueue, message: Uint8Array): Reply | undefined {
  const chain = new TestChain(message);
  device.handleChain(queue, chain);
  const pushed = queue.pushed.find((entry) => entry.chain === chain);
  return pushed && chain.reply(pushed.writtenBytes);
}

/** Opens 'file' as fid 1; answers the errno of the first message that failed, or 0. */
function open(device: Virtio9pMux, queue: TestQueue): number {
  for (const message of [
    T.version(NOTAG, 8192, '9P2000.L'),
    T.attach(1, 0, NOFID, '', '', 0),
    T.walk(1, 0, 1, 'file'),
    T.lopen(1, 1, 2),
  ]) {
    const errno = serve(device, queue, message)?.errno;
    if (errno !== 0) return errno ?? -1;
  }
  return 0;
}

describe('the config space', () => {
  it('shows the first queue as the plain device does, and what there is in all', () => {
    const { device, tag, u16 } = newDevice();
    device.attach(0, new MemoryFileSystem(), 'first', OPTIONS);
    expect([device.deviceId, device.features, device.config.length]).toEqual([9, MULTIPLEX | 1n, 256]);
    expect([tag(), u16(SELECT), u16(QUEUE_COUNT), u16(MOUNT_COUNT)]).toEqual(['first', 0, 4, 1]);
  });

  it('shows the selected queue: tag, state, flags, and a serial of its own for each mount', async () => {
    const { device, shown } = newDevice();
    device.attach(1, new MemoryFileSystem(), 'ä', OPTIONS);
    device.attach(2, new MemoryFileSystem(), 'x'.repeat(222), { ...OPTIONS, readOnly: true });
    expect(shown(0)).toEqual({ tag: '', state: 0, flags: 0, serial: 0 });
    expect(shown(1)).toEqual({ tag: 'ä', state: 1, flags: 0, serial: 1 });
    expect(shown(2)).toEqual({ tag: 'x'.repeat(222), state: 1, flags: 1, serial: 2 });
    await device.detach(1);
    expect(shown(1)).toEqual({ tag: '', state: 0, flags: 0, serial: 0 });
    device.attach(1, new MemoryFileSystem(), 'ä', OPTIONS);
    expect(shown(1).serial).toBe(3);
  });

  it('tells that a mount has become read-only, once, and that it is still the same mount', async () => {
    const { device, shown, changes, announced } = newDevice();
    device.attach(1, new MemoryFileSystem(), 'a', OPTIONS);
    device.setLimits(1, { readOnly: true, maxFids: 5 });
    device.setLimits(1, { readOnly: true, maxFids: 7 });
    expect(shown(1)).toEqual({ tag: 'a', state: 1, flags: 1, serial: 1 });
    expect(changes()).toEqual({ changes: 2, mounts: 1, queue: 1 });
    expect(announced()).toBe(2);
    expect(() => device.setLimits(2, { readOnly: true })).toThrow(RangeError);
  });

  it('follows the selected queue as its mount comes and goes', async () => {
    const { device, select, tag } = newDevice();
    select(3);
    device.attach(3, new MemoryFileSystem(), 'here', OPTIONS);
    expect(tag()).toBe('here');
    await device.detach(3);
    expect(tag()).toBe('');
  });

  it('counts what changed, names the queue, and announces each change', async () => {
    const { device, changes, announced } = newDevice();
    device.attach(2, new MemoryFileSystem(), 'a', OPTIONS);
    expect(changes()).toEqual({ changes: 1, mounts: 1, queue: 2 });
    device.attach(0, new MemoryFileSystem(), 'b', OPTIONS);
    await device.detach(2);
    expect(changes()).toEqual({ changes: 3, mounts: 1, queue: 2 });
    expect(announced()).toBe(3);
  });

  it('does not let a driver that did not agree to the feature select, nor wakes it for queues that it does not know', async () => {
    const { device, select, tag, announced } = newDevice(4, 1n);
    device.attach(0, new MemoryFileSystem(), 'first', OPTIONS);
    device.attach(1, new MemoryFileSystem(), 'second', OPTIONS);
    select(1);
    expect([tag(), announced()]).toEqual(['first', 1]);
  });

  it('selects the first queue again after a reset, for the next driver', () => {
    const { device, select, tag, context } = newDevice();
    device.attach(0, new MemoryFileSystem(), 'first', OPTIONS);
    device.attach(1, new MemoryFileSystem(), 'second', OPTIONS);
    select(1);
    void device.reset();
    expect(tag()).toBe('first');
    select(1);
    expect(tag()).toBe('first');
    device.activate(context);
    select(1);
    expect(tag()).toBe('second');
  });

  it('survives any writes, shows zeros for queues that are not there, and keeps the rest from the driver', () => {
    const write = fc.record({
      offset: fc.nat(260),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 20 }), (writes) => {
        const { device, shown, u16, changes } = newDevice();
        device.attach(0, new MemoryFileSystem(), 'first', OPTIONS);
        device.attach(3, new MemoryFileSystem(), 'last', OPTIONS);
        for (const { offset, bytes } of writes) {
          device.writeConfig(offset, bytes);
          const selected = u16(SELECT);
          const expected = selected === 0 ? 'first' : selected === 3 ? 'last' : '';
          expect(new TextDecoder().decode(device.config.subarray(2, 2 + u16(0)))).toBe(expected);
          const isThere = expected !== '';
          expect([u16(STATE), u16(SERIAL) > 0]).toEqual([isThere ? 1 : 0, isThere]);
          expect(device.config.subarray(2 + u16(0), SELECT).every((byte) => byte === 0)).toBe(true);
          expect(device.config.subarray(SERIAL + 4).every((byte) => byte === 0)).toBe(true);
        }
        expect([u16(QUEUE_COUNT), changes()]).toEqual([4, { changes: 2, mounts: 2, queue: 3 }]);
        for (const queue of [4, 5, 255, 256, 0x8000, 0xffff]) {
          expect(shown(queue)).toEqual({ tag: '', state: 0, flags: 0, serial: 0 });
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('queues', () => {
  it('serve a mount each, with a session each', () => {
    const { device, queues } = newDevice();
    for (const queue of [0, 1]) {
      const fs = new MemoryFileSystem();
      fs.file('file', `of ${queue}`);
      device.attach(queue, fs, `tag${queue}`, OPTIONS);
      expect(open(device, queues[queue])).toBe(0);
    }
    expect([0, 1, 2].map((queue) => device.statistics(queue)?.fids)).toEqual([2, 2, undefined]);
    expect(device.freeQueue).toBe(2);
  });

  it('that serve nothing answer every message with ENODEV, and what is no message not at all', () => {
    const { device, queues } = newDevice();
    expect(open(device, queues[2])).toBe(ENODEV);
    expect(serve(device, queues[2], T.clunk(1, 1))?.errno).toBe(ENODEV);
    const chain = new TestChain(Uint8Array.of(1, 2, 3));
    chain.writable.clear();
    device.handleChain(queues[2], chain);
    expect(queues[2].pushed.at(-1)).toEqual({ chain, writtenBytes: 0 });
  });

  it('that lose their mount give back what is under way unanswered, once it is over, and leave the others alone', async () => {
    const { device, queues } = newDevice();
    const [kept, lost] = [new CountingFileSystem(), new CountingFileSystem()];
    for (const [queue, fs] of [kept, lost].entries()) {
      fs.file('file', 'hello');
      device.attach(queue, fs, `tag${queue}`, OPTIONS);
      expect(open(device, queues[queue])).toBe(0);
    }
    const gate = lost.gate('read');
    const chain = new TestChain(T.read(1, 1, 0, 100));
    device.handleChain(queues[1], chain);
    const before = queues[1].pushed.length;
    const detached = device.detach(1);
    expect(serve(device, queues[1], T.clunk(2, 1))?.errno).toBe(ENODEV);
    expect(queues[1].pushed).toHaveLength(before + 1);
    expect(() => device.attach(1, new MemoryFileSystem(), 'x', OPTIONS)).toThrow(RangeError);
    await expect(device.detach(1)).rejects.toThrow(RangeError);
    gate.open();
    await detached;
    expect(queues[1].pushed.find((entry) => entry.chain === chain)?.writtenBytes).toBe(0);
    expect([lost.closes, kept.closes]).toEqual([1, 0]);
    expect(serve(device, queues[0], T.read(1, 1, 0, 100))?.errno).toBe(0);
    device.attach(1, new MemoryFileSystem(), 'next', OPTIONS);
  });

  it('are reset alone, after what is under way', async () => {
    const { device, queues } = newDevice();
    const fs = new MemoryFileSystem();
    fs.file('file', 'hello');
    device.attach(1, fs, 'a', OPTIONS);
    expect(open(device, queues[1])).toBe(0);
    const gate = fs.gate('read');
    device.handleChain(queues[1], new TestChain(T.read(1, 1, 0, 100)));
    let done = false;
    const reset = Promise.resolve(device.resetQueue(1)).then(() => (done = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(false);
    gate.open();
    await reset;
    expect(device.statistics(1)?.fids).toBe(0);
    expect(device.resetQueue(0)).toBeUndefined();
  });

  it('are refused what cannot be', async () => {
    const { device } = newDevice();
    const attach = (queue: number, tag: string) => () =>
      device.attach(queue, new MemoryFileSystem(), tag, OPTIONS);
    for (const queue of [-1, 4, 0.5, NaN]) expect(attach(queue, 'a')).toThrow(RangeError);
    for (const tag of ['', 'a\0b', 'x'.repeat(223)]) expect(attach(0, tag)).toThrow(RangeError);
    attach(0, 'a')();
    expect(attach(0, 'b')).toThrow(RangeError);
    await expect(device.detach(1)).rejects.toThrow(RangeError);
    for (const count of [0, 513, 1.5]) expect(() => new Virtio9pMux(count)).toThrow(RangeError);
  });
});

describe('leaving', () => {
  it('closes every file system once, those that are being detached too', async () => {
    const { device } = newDevice();
    const all = [0, 1, 2].map((queue) => {
      const fs = new CountingFileSystem();
      device.attach(queue, fs, `${queue}`, OPTIONS);
      return fs;
    });
    const detached = device.detach(1);
    await Promise.all([device.close(), detached]);
    expect(all.map(({ closes }) => closes)).toEqual([1, 1, 1]);
    expect(() => device.attach(3, new MemoryFileSystem(), 'a', OPTIONS)).toThrow(RangeError);
  });

  it('says that a file system did not close, once the others have', async () => {
    const { device } = newDevice();
    const bad = { attach: () => -2, close: () => Promise.reject(new Error('stuck')) };
    const good = new CountingFileSystem();
    device.attach(0, bad, 'bad', OPTIONS);
    device.attach(1, good, 'good', OPTIONS);
    await expect(device.close()).rejects.toThrow('stuck');
    expect(good.closes).toBe(1);
  });
});
