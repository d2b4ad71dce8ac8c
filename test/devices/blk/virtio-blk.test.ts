import { describe, expect, it } from 'vitest';
import { Errno } from '../../../devices/errno.js';
import { VirtioBlk, type VirtioBlkOptions } from '../../../devices/blk/virtio-blk.js';
import { ScriptedBackend } from './support/scripted-backend.js';
import {
  header,
  joined,
  NO_STATUS,
  range,
  serve,
  Status,
  TestContext,
  TestQueue,
  Type,
} from './support/test-queue.js';

const FLUSH = 1n << 9n;
const CONFIG_WCE = 1n << 11n;
const WRITEBACK = 32;

function newDevice(options: Partial<VirtioBlkOptions> = {}) {
  const backend = new ScriptedBackend();
  const device = new VirtioBlk(backend, { serial: '', log: () => {}, ...options });
  return { backend, device };
}

/** The driver that agreed on `features` starts. */
function start(device: VirtioBlk, features: bigint, queues = [new TestQueue()]) {
  const context = new TestContext(features, queues);
  device.activate(context);
  return { context, queue: queues[0], queues };
}

const write = (sector = 0) => joined(header(Type.OUT, sector), new Uint8Array(512));
/** Whether writes are asked to be on the medium when they complete. */
function isDurable({ backend, device }: ReturnType<typeof newDevice>, queue: TestQueue): boolean | undefined {
  serve(device, queue, write());
  return backend.calls.at(-1)?.durable;
}

describe('the cache mode', () => {
  it('is write-back for a driver that flushes', () => {
    const made = newDevice();
    const { queue } = start(made.device, FLUSH);
    expect(isDurable(made, queue)).toBe(false);
  });

  it('is write-through for a driver that does not', () => {
    const made = newDevice();
    const { queue } = start(made.device, 0n);
    expect(isDurable(made, queue)).toBe(true);
  });

  it('is what the driver chooses, from the next write on', () => {
    const made = newDevice();
    const { queue } = start(made.device, FLUSH | CONFIG_WCE);
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([1, false]);
    made.device.writeConfig(WRITEBACK, Uint8Array.of(0));
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([0, true]);
    made.device.writeConfig(WRITEBACK, Uint8Array.of(1));
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([1, false]);
  });

  it('starts as write-through where the driver may choose but cannot flush', () => {
    const made = newDevice();
    const { queue } = start(made.device, CONFIG_WCE);
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([0, true]);
    made.device.writeConfig(WRITEBACK, Uint8Array.of(1));
    expect(isDurable(made, queue)).toBe(false);
  });

  it('may be chosen before the driver is ready', () => {
    const made = newDevice();
    made.device.writeConfig(WRITEBACK, Uint8Array.of(0));
    const { queue } = start(made.device, FLUSH | CONFIG_WCE);
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([0, true]);
  });

  it('stays what was chosen after a reset, for that is what a VMM shows the next driver', async () => {
    for (const writeBack of [true, false]) {
      const made = newDevice({ writeBack: !writeBack });
      start(made.device, FLUSH | CONFIG_WCE);
      made.device.writeConfig(WRITEBACK, Uint8Array.of(writeBack ? 1 : 0));
      await made.device.reset();
      const { queue } = start(made.device, FLUSH | CONFIG_WCE);
      expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([
        Number(writeBack),
        !writeBack,
      ]);
    }
  });

  it('is again what it was after a driver that could not flush', async () => {
    const made = newDevice();
    start(made.device, CONFIG_WCE);
    await made.device.reset();
    const { queue } = start(made.device, FLUSH | CONFIG_WCE);
    expect([made.device.config[WRITEBACK], isDurable(made, queue)]).toEqual([1, false]);
  });

  it('is write-through for a driver of which nobody knows what it chose, until it says or is reset', async () => {
    const made = newDevice();
    const { queue } = start(made.device, FLUSH | CONFIG_WCE);
    made.device.adoptDriver();
    expect(isDurable(made, queue)).toBe(true);
    made.device.writeConfig(WRITEBACK, Uint8Array.of(1));
    expect(isDurable(made, queue)).toBe(false);
    // It has said by now.
    made.device.adoptDriver();
    expect(isDurable(made, queue)).toBe(false);
    await made.device.reset();
    const next = start(made.device, FLUSH | CONFIG_WCE);
    expect(isDurable(made, next.queue)).toBe(false);
  });

  it.each([true, false])('goes on as who had the disk before says (write-back: %s)', (writeBack) => {
    const made = newDevice();
    Object.defineProperty(made.backend, 'writeBackBefore', { value: writeBack });
    expect(made.device.engage()).toBeUndefined();
    made.device.adoptDriver();
    const { queue } = start(made.device, FLUSH | CONFIG_WCE);
    expect(isDurable(made, queue)).toBe(!writeBack);
  });

  it('is all that a driver can change, and not to anything else', () => {
    const { device } = newDevice();
    start(device, FLUSH | CONFIG_WCE);
    const before = [...device.config];
    device.writeConfig(0, new Uint8Array(32).fill(0xff));
    device.writeConfig(WRITEBACK, Uint8Array.of(2));
    device.writeConfig(WRITEBACK + 1, Uint8Array.of(0));
    device.writeConfig(33, new Uint8Array(39));
    device.writeConfig(1000, Uint8Array.of(0));
    expect([...device.config]).toEqual(before);
    device.writeConfig(28, new Uint8Array(8));
    before[WRITEBACK] = 0;
    expect([...device.config]).toEqual(before);
  });

  it('cannot be changed on a disk that is only read', () => {
    const { device } = newDevice({ readOnly: true });
    start(device, FLUSH);
    device.writeConfig(WRITEBACK, Uint8Array.of(0));
    expect(device.config[WRITEBACK]).toBe(1);
  });

  it('has ranges flushed before they complete where it is write-through, after the last of them', () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, 0n);
    backend.hold('flush');
    const chain = serve(device, queue, joined(header(Type.WRITE_ZEROES), range(0, 8), range(8, 8)));
    expect([backend.operations, chain.status]).toEqual([['writeZeroes', 'writeZeroes', 'flush'], NO_STATUS]);
    backend.release();
    expect(chain.status).toBe(Status.OK);
    backend.answer = ({ operation }) => (operation === 'flush' ? -Errno.EIO : 0);
    expect(serve(device, queue, joined(header(Type.DISCARD), range(0, 8))).status).toBe(Status.IOERR);
  });
});

describe('completions', () => {
  it('within a batch are left to the queue’s service to tell of', () => {
    const { device } = newDevice();
    const { queue } = start(device, FLUSH);
    serve(device, queue, header(Type.IN), 513);
    expect(queue.events).toEqual(['push']);
  });

  it('are told of at once when a batch has moved a megabyte', () => {
    const { device } = newDevice();
    const { queue } = start(device, FLUSH);
    serve(device, queue, header(Type.IN), (1 << 20) + 1);
    expect(queue.events).toEqual(['push', 'flush']);
  });

  it('that come together later are told of together', async () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    backend.hold('read');
    for (let i = 0; i < 3; i++) serve(device, queue, header(Type.IN, i), 513);
    const flushed = queue.flushed();
    backend.release();
    expect(queue.events).toEqual(['push', 'push', 'push']);
    await flushed;
    expect(queue.events).toEqual(['push', 'push', 'push', 'flush']);
  });

  it('go to the queue that the request came from', async () => {
    const { backend, device } = newDevice({ queues: 2 });
    const queues = [new TestQueue(0), new TestQueue(1)];
    start(device, FLUSH, queues);
    backend.hold('read');
    serve(device, queues[1], header(Type.IN), 513);
    serve(device, queues[0], header(Type.FLUSH));
    const flushed = queues[1].flushed();
    backend.release();
    await flushed;
    expect(queues.map(({ pushed }) => pushed.length)).toEqual([1, 1]);
  });
});

describe('a flush', () => {
  it('reaches the backend after every write that the driver knows to be complete', () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    backend.hold('write');
    const early = serve(device, queue, write(1));
    backend.release();
    const late = serve(device, queue, write(2));
    expect([early.status, late.status]).toEqual([Status.OK, NO_STATUS]);
    serve(device, queue, header(Type.FLUSH));
    expect(backend.operations).toEqual(['write', 'write', 'flush']);
    backend.release();
    expect(late.status).toBe(Status.OK);
  });

  it('is never answered from what an earlier one did', () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    for (let i = 0; i < 3; i++) serve(device, queue, header(Type.FLUSH));
    expect(backend.operations).toEqual(['flush', 'flush', 'flush']);
  });
});

describe('a reset', () => {
  it('is done at once where nothing is under way', () => {
    const { device, backend } = newDevice();
    start(device, FLUSH);
    expect([device.reset(), backend.abandoned]).toEqual([undefined, 0]);
  });

  it('is done once the backend has let go of the guest’s memory, and tells it that nobody waits', async () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    backend.hold('read', 'write');
    const chain = serve(device, queue, header(Type.IN), 513);
    serve(device, queue, write());
    let done = false;
    const reset = Promise.resolve(device.reset()).then(() => (done = true));
    const { queue: next } = start(device, FLUSH);
    expect(serve(device, next, header(Type.FLUSH)).status).toBe(Status.OK);
    await Promise.resolve();
    expect([done, backend.abandoned]).toEqual([false, 1]);
    backend.held.shift()?.complete(0);
    await Promise.resolve();
    expect(done).toBe(false);
    backend.release();
    await reset;
    expect(queue.written(chain)).toBe(513);
    expect(next.pushed).toHaveLength(1);
  });

  it('of one queue waits for that queue’s requests alone', async () => {
    const { backend, device } = newDevice({ queues: 2 });
    const queues = [new TestQueue(0), new TestQueue(1)];
    start(device, FLUSH, queues);
    backend.hold('read');
    serve(device, queues[0], header(Type.IN), 513);
    expect(device.resetQueue(1)).toBeUndefined();
    serve(device, queues[1], header(Type.IN), 513);
    const reset = device.resetQueue(1);
    expect(device.resetQueue(1)).toBeUndefined();
    backend.held.pop()?.complete(0);
    await reset;
    expect(backend.held).toHaveLength(1);
  });

  it('of a queue that never was used is done at once', () => {
    const { device } = newDevice();
    expect(device.resetQueue(0)).toBeUndefined();
  });

  it('leaves nothing that a chain which comes too late could reach', () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    void device.reset();
    serve(device, queue, header(Type.IN), 513);
    expect([backend.calls, queue.pushed]).toEqual([[], []]);
  });
});

describe('closing', () => {
  it('waits for what is under way, flushes nothing and closes the backend', async () => {
    const { backend, device } = newDevice();
    const { queue } = start(device, FLUSH);
    backend.hold('write');
    serve(device, queue, write());
    const closed = device.close();
    await Promise.resolve();
    expect(backend.closed).toBe(0);
    backend.release();
    await closed;
    expect([backend.closed, backend.operations]).toEqual([1, ['write']]);
  });
});

describe('resizing', () => {
  const capacity = (device: VirtioBlk) => Number(new DataView(device.config.buffer).getBigUint64(0, true));

  it('grows the backend first, and then tells the guest', async () => {
    const { backend, device } = newDevice();
    const { context, queue } = start(device, FLUSH);
    const result = device.resize(2 << 20);
    expect([capacity(device), context.configChanges]).toEqual([2048, 0]);
    expect(await result).toBe(0);
    expect([capacity(device), context.configChanges, device.sizeBytes]).toEqual([4096, 1, 2 << 20]);
    expect(serve(device, queue, header(Type.IN, 4095), 513).status).toBe(Status.OK);
    expect(backend.operations).toEqual(['resize 2097152', 'read']);
  });

  it('tells the guest first of a smaller size, and cuts once nothing is under way', async () => {
    const { backend, device } = newDevice();
    const { context, queue } = start(device, FLUSH);
    backend.hold('write');
    const chain = serve(device, queue, write(2047));
    const result = device.resize(512 << 10);
    await new Promise((resolve) => setImmediate(resolve));
    expect([capacity(device), context.configChanges]).toEqual([1024, 1]);
    expect(serve(device, queue, header(Type.IN, 1024), 513).status).toBe(Status.IOERR);
    expect(backend.operations).toEqual(['write']);
    backend.release();
    expect([await result, chain.status]).toEqual([0, Status.OK]);
    expect(backend.operations).toEqual(['write', 'resize 524288']);
  });

  it.each([
    ['larger', 2 << 20],
    ['smaller', 1 << 19],
  ])('to a %s size that the backend refuses leaves the disk as it was', async (_what, sizeBytes) => {
    const { backend, device } = newDevice();
    start(device, FLUSH);
    backend.resizeResult = -Errno.ENOSPC;
    expect(await device.resize(sizeBytes)).toBe(-Errno.ENOSPC);
    expect([capacity(device), device.sizeBytes]).toEqual([2048, 1 << 20]);
  });

  it.each([0, -512, 1, 513, 1.5, NaN, Infinity, 2 ** 60])('to %d bytes is refused', async (sizeBytes) => {
    const { backend, device } = newDevice();
    expect(await device.resize(sizeBytes)).toBe(-Errno.EINVAL);
    expect(backend.calls).toEqual([]);
  });

  it('happens one at a time', async () => {
    const { backend, device } = newDevice();
    const results = [device.resize(2 << 20), device.resize(4 << 20), device.resize(1 << 20)];
    expect(await Promise.all(results)).toEqual([0, 0, 0]);
    expect(backend.operations).toEqual(['resize 2097152', 'resize 4194304', 'resize 1048576']);
    expect(device.sizeBytes).toBe(1 << 20);
  });

  it('works while no guest is there', async () => {
    const { device } = newDevice();
    expect([await device.resize(2 << 20), capacity(device)]).toEqual([0, 4096]);
  });

  it('by somebody else is told on request, and by the backend itself at once', async () => {
    const { backend, device } = newDevice();
    const { context } = start(device, FLUSH);
    backend.sizeBytes = 3 << 20;
    expect([await device.refreshSize(), capacity(device), context.configChanges]).toEqual([0, 6144, 1]);
    expect([await device.refreshSize(), context.configChanges]).toEqual([0, 1]);
    backend.sizeBytes = 1 << 20;
    backend.sizeChanged();
    expect([capacity(device), context.configChanges]).toEqual([2048, 2]);
  });
});

describe('the PCI class', () => {
  it('is that of a storage controller', () => {
    const { device } = newDevice();
    expect([device.deviceId, device.pciClass >>> 16]).toEqual([2, 1]);
  });
});
