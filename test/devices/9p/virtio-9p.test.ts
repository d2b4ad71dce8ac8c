import { describe, expect, it } from 'vitest';
import { LINUX_VIRTIO_MSIZE_MAX_BYTES, Virtio9p } from '../../../devices/9p/virtio-9p.js';
import type { DeviceContext } from '../../../devices/virtio/device.js';
import { IoVector } from '../../../devices/io-vector.js';
import { MemoryFileSystem } from './server/support/memory-file-system.js';
import { TestChain, TestQueue } from './support/test-queue.js';
import { NOFID, NOTAG, type Reply, T } from './server/support/wire.js';

function contextOf(queue: TestQueue | undefined): DeviceContext {
  const nothing = (): void => undefined;
  return { features: 1n, queues: [queue], configChanged: nothing, fault: nothing };
}

function newDevice(tag = 'share') {
  const fs = new MemoryFileSystem();
  const log: unknown[] = [];
  const options = {
    maxMsizeBytes: LINUX_VIRTIO_MSIZE_MAX_BYTES,
    readOnly: false,
    maxFids: 100,
    maxOpenFiles: 100,
    log: (message: string) => log.push(message),
  };
  return { fs, log, device: new Virtio9p(fs, tag, options) };
}

/** Serves a message; what the device pushed by then. */
function serve(device: Virtio9p, queue: TestQueue, message: Uint8Array): Reply | undefined {
  const chain = new TestChain(message);
  device.handleChain(queue, chain);
  const pushed = queue.pushed.find((entry) => entry.chain === chain);
  return pushed && chain.reply(pushed.writtenBytes);
}

/** A device with a file open as fid 1, and its queue. */
function openDevice() {
  const { fs, log, device } = newDevice();
  const queue = new TestQueue();
  fs.file('file', 'hello');
  device.activate(contextOf(queue));
  for (const message of [
    T.version(NOTAG, 512000, '9P2000.L'),
    T.attach(1, 0, NOFID, '', '', 0),
    T.walk(1, 0, 1, 'file'),
    T.lopen(1, 1, 2),
  ])
    expect(serve(device, queue, message)?.errno).toBe(0);
  queue.events.length = 0;
  return { fs, log, device, queue };
}

describe('Virtio9p', () => {
  it.each(['', 'a\0b', 'x'.repeat(256), 'ü'.repeat(128)])('is refused the tag %o', (tag) => {
    expect(() => newDevice(tag)).toThrow(RangeError);
  });

  it('shows its tag in config space, and the feature that says so', () => {
    const { device } = newDevice('dätä');
    expect([...device.config]).toEqual([6, 0, 0x64, 0xc3, 0xa4, 0x74, 0xc3, 0xa4]);
    expect([device.features, device.deviceId, device.pciClass]).toEqual([1n, 9, 0x000200]);
    expect(newDevice('x'.repeat(255)).device.config).toHaveLength(257);
  });

  it('keeps its config space from the driver', () => {
    const { device } = newDevice();
    const before = [...device.config];
    device.writeConfig();
    expect([...device.config]).toEqual(before);
  });

  it('has one queue, as long as Linux’s longest chain', () => {
    const { device } = newDevice();
    expect(device.queueSizes).toEqual([128]);
    expect(LINUX_VIRTIO_MSIZE_MAX_BYTES).toBe(512000);
  });

  it('pushes what is answered at once and leaves the flush to the queue’s service', () => {
    const { device, queue } = openDevice();
    const reply = serve(device, queue, T.read(1, 1, 0, 10));
    expect(Buffer.from(reply?.data ?? []).toString()).toBe('hello');
    expect(queue.events).toEqual(['push']);
  });

  it('flushes once for all that is answered later in one turn', async () => {
    const { fs, device, queue } = openDevice();
    const gate = fs.gate('read');
    for (let tag = 1; tag <= 5; tag++) serve(device, queue, T.read(tag, 1, 0, 10));
    expect(queue.events).toEqual([]);
    const flushed = queue.nextFlush;
    gate.open();
    await flushed;
    expect(queue.events).toEqual(['push', 'push', 'push', 'push', 'push', 'flush']);
    const again = fs.gate('read');
    serve(device, queue, T.read(1, 1, 0, 10));
    const flushedAgain = queue.nextFlush;
    again.open();
    await flushedAgain;
    expect(queue.events.slice(6)).toEqual(['push', 'flush']);
  });

  it('answers a chain that holds no message, and gives one without room back empty', () => {
    const { device, queue } = openDevice();
    expect(serve(device, queue, new Uint8Array(3))?.errno).toBe(71);
    const chain = { readable: new IoVector(), writable: new IoVector() };
    device.handleChain(queue, chain);
    expect(queue.pushed.at(-1)).toEqual({ chain, writtenBytes: 0 });
  });

  it('is reset at once where nothing is under way, and every fid is gone', () => {
    const { fs, device, queue } = openDevice();
    expect(device.reset()).toBeUndefined();
    expect([fs.liveNodes, fs.liveFiles, device.statistics.fids]).toEqual([0, 0, 0]);
    device.activate(contextOf(queue));
    expect(serve(device, queue, T.getattr(1, 1))?.errno).toBe(71);
  });

  it('is reset once nothing touches the guest’s memory any more; what ends late goes to the old queue alone', async () => {
    const { fs, device, queue } = openDevice();
    const gate = fs.gate('read');
    serve(device, queue, T.read(7, 1, 0, 10));
    let settled = false;
    const reset = Promise.resolve(device.reset()).then(() => (settled = true));
    const next = new TestQueue();
    device.activate(contextOf(next));
    expect(serve(device, next, T.version(NOTAG, 8192, '9P2000.L'))?.type).toBe(101);
    expect(settled).toBe(false);
    gate.open();
    await reset;
    expect(queue.pushed.at(-1)?.writtenBytes).toBe(0);
    expect(next.events).toEqual(['push']);
    expect([fs.liveNodes, fs.liveFiles]).toEqual([0, 0]);
  });

  it.each(['reset', 'close'] as const)(
    'is through with %s although reads and locks wait for ever',
    async (end) => {
      const { fs, log, device, queue } = openDevice();
      const file = fs.root.entries.get('file')!;
      file.target = 'blocks';
      serve(device, queue, T.read(7, 1, 0, 10));
      file.target = 'locked';
      serve(device, queue, T.lock(8, 1, 1, 1, 0, 0, 1, 'guest'));
      expect(queue.pushed).toHaveLength(4);
      await device[end]();
      expect(queue.pushed.slice(4).map(({ writtenBytes }) => writtenBytes)).toEqual([0, 0]);
      expect([fs.liveNodes, fs.liveFiles, log]).toEqual([0, 0, []]);
    },
  );

  it('can be activated without its queue', () => {
    const { device } = newDevice();
    device.activate(contextOf(undefined));
    expect(device.reset()).toBeUndefined();
  });

  it('closes its file system with it', async () => {
    const { fs, device } = openDevice();
    await device.close();
    expect([fs.closed, fs.liveNodes, fs.liveFiles]).toEqual([true, 0, 0]);
  });
});
