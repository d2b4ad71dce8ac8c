/** What the device does with each request, and with each that no driver should send. */
import { describe, expect, it } from 'vitest';
import { PENDING, type BlockLimits } from '../../../devices/blk/backends/block-backend.js';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import { Errno } from '../../../devices/errno.js';
import { ScriptedBackend } from './support/scripted-backend.js';
import type { TestChain } from './support/test-queue.js';
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

const SECTORS = 2048;

function newDevice(options: { limits?: Partial<BlockLimits>; readOnly?: boolean; serial?: string } = {}) {
  const backend = new ScriptedBackend(SECTORS * 512, options.limits);
  const logs: string[] = [];
  const device = new VirtioBlk(backend, {
    serial: options.serial ?? 'serial',
    readOnly: options.readOnly ?? false,
    log: (line) => logs.push(line),
  });
  const queue = new TestQueue();
  const context = new TestContext(device.features, [queue]);
  device.activate(context);
  return { device, backend, queue, context, logs };
}

const data = (sectors: number) => new Uint8Array(512 * sectors);
const statusOf = (chain: TestChain) => chain.status;

describe('a request that is not one', () => {
  it.each([0, 1, 15])('is refused with IOERR where its header has %i bytes', (length) => {
    const { device, queue, backend } = newDevice();
    expect(statusOf(serve(device, queue, header(Type.FLUSH).subarray(0, length)))).toBe(Status.IOERR);
    expect(backend.calls).toEqual([]);
  });

  it('breaks the device where it has no room for a status, and is not given back', () => {
    const { device, queue, context, backend } = newDevice();
    serve(device, queue, header(Type.IN), 0);
    expect(context.faults).toEqual(['a block request has no room for its status']);
    expect([queue.pushed, backend.calls]).toEqual([[], []]);
  });

  it.each([2, 3, 6, 7, 9, 12, 15, 16, 24, 255, 0x8000_0000, 0x8000_0001, 0xffff_ffff])(
    'is answered UNSUPP where its type is %i',
    (type) => {
      const { device, queue, backend } = newDevice();
      const chain = serve(device, queue, joined(header(type), data(1)), 513);
      expect([chain.status, queue.written(chain), backend.calls]).toEqual([Status.UNSUPP, 0, []]);
    },
  );
});

describe('VIRTIO_BLK_T_IN', () => {
  it('fills the data from the sector that it names', async () => {
    const disk = new MemoryBackend({ sizeBytes: 8 * 512 });
    const device = new VirtioBlk(disk, { serial: '', log: () => {} });
    const queue = new TestQueue();
    device.activate(new TestContext(device.features, [queue]));
    const bytes = Uint8Array.from({ length: 1024 }, (_, i) => i & 0xff);
    expect(serve(device, queue, joined(header(Type.OUT, 3), bytes)).status).toBe(Status.OK);
    const chain = serve(device, queue, header(Type.IN, 3), 1025);
    expect([...chain.data]).toEqual([...bytes]);
    expect([chain.status, queue.written(chain)]).toEqual([Status.OK, 1025]);
    await device.close();
  });

  it.each([1, 511, 513, 1000])('is refused where its data has %i bytes', (length) => {
    const { device, queue, backend } = newDevice();
    const chain = serve(device, queue, header(Type.IN), length + 1);
    expect([chain.status, queue.written(chain), backend.calls]).toEqual([Status.IOERR, 0, []]);
  });

  it.each<[string, number | bigint, number, number]>([
    ['the last sector', SECTORS - 1, 1, Status.OK],
    ['the whole disk', 0, SECTORS, Status.OK],
    ['one sector beyond the end', SECTORS, 1, Status.IOERR],
    ['two sectors from the last one on', SECTORS - 1, 2, Status.IOERR],
    ['more than the disk has', 0, SECTORS + 1, Status.IOERR],
    ['sector 2^32', 2n ** 32n, 1, Status.IOERR],
    ['sector 2^53', 2n ** 53n, 1, Status.IOERR],
    ['sector 2^55, whose bytes are 2^64', 2n ** 55n, 1, Status.IOERR],
    ['the last sector of 64 bits', 2n ** 64n - 1n, 1, Status.IOERR],
    ['a sector whose end wraps to the start', 2n ** 64n - 8n, 8, Status.IOERR],
    ['nothing at the end', SECTORS, 0, Status.OK],
    ['nothing beyond the end', SECTORS + 1, 0, Status.IOERR],
  ])('of %s', (_what, sector, sectors, status) => {
    const { device, queue, backend } = newDevice();
    const chain = serve(device, queue, header(Type.IN, sector), sectors * 512 + 1);
    expect(chain.status).toBe(status);
    const reached =
      status === Status.OK && sectors > 0 ? [['read', Number(sector) * 512, sectors * 512]] : [];
    expect(backend.calls.map(({ operation, offset, length }) => [operation, offset, length])).toEqual(
      reached,
    );
  });

  it('does not mind what the driver gives it to read', () => {
    const { device, queue } = newDevice();
    expect(serve(device, queue, joined(header(Type.IN), data(3)), 513).status).toBe(Status.OK);
  });

  it.each([Errno.EIO, Errno.EINVAL, Errno.ENOSPC, Errno.ENOMEM, Errno.EROFS])(
    'says IOERR where the backend says -%i, and claims no data',
    (errno) => {
      const { device, queue, backend } = newDevice();
      backend.answer = () => -errno;
      const chain = serve(device, queue, header(Type.IN), 513);
      expect([chain.status, queue.written(chain)]).toEqual([Status.IOERR, 0]);
    },
  );
});

describe('VIRTIO_BLK_T_OUT', () => {
  it('hands its data on, and has nothing but its status to give back', () => {
    const { device, queue, backend } = newDevice();
    const chain = serve(device, queue, joined(header(Type.OUT, 7), data(3)));
    expect([chain.status, queue.written(chain)]).toEqual([Status.OK, 1]);
    const [{ operation, offset, length }] = backend.calls;
    expect([operation, offset, length]).toEqual(['write', 7 * 512, 3 * 512]);
  });

  it.each([1, 511, 513])('is refused where its data has %i bytes', (length) => {
    const { device, queue, backend } = newDevice();
    expect(serve(device, queue, joined(header(Type.OUT), new Uint8Array(length))).status).toBe(Status.IOERR);
    expect(backend.calls).toEqual([]);
  });

  it.each<[string, number | bigint, number]>([
    ['beyond the end', SECTORS, 1],
    ['across the end', SECTORS - 1, 2],
    ['at 2^64', 2n ** 64n - 1n, 1],
  ])('is refused %s', (_where, sector, sectors) => {
    const { device, queue, backend } = newDevice();
    expect(serve(device, queue, joined(header(Type.OUT, sector), data(sectors))).status).toBe(Status.IOERR);
    expect(backend.calls).toEqual([]);
  });

  it('of nothing does nothing', () => {
    const { device, queue, backend } = newDevice();
    expect(serve(device, queue, header(Type.OUT, SECTORS)).status).toBe(Status.OK);
    expect(backend.calls).toEqual([]);
  });

  it.each([
    ['the device', { readOnly: true }],
    ['the backend', { limits: { readOnly: true } }],
  ])('is refused where %s is read-only, and so is everything that changes the disk', (_what, options) => {
    const { device, queue, backend } = newDevice(options);
    const requests = [
      joined(header(Type.OUT), data(1)),
      header(Type.OUT),
      ...[Type.DISCARD, Type.WRITE_ZEROES, Type.SECURE_ERASE].map((type) =>
        joined(header(type), range(0, 8)),
      ),
    ];
    for (const request of requests) expect(serve(device, queue, request).status).toBe(Status.IOERR);
    expect(backend.calls).toEqual([]);
    expect(serve(device, queue, header(Type.FLUSH)).status).toBe(Status.OK);
    expect(serve(device, queue, header(Type.IN), 513).status).toBe(Status.OK);
  });
});

describe('VIRTIO_BLK_T_FLUSH', () => {
  it.each([Type.FLUSH, Type.FLUSH_OUT])('of type %i flushes, whatever sector and data it has', (type) => {
    const { device, queue, backend } = newDevice();
    expect(serve(device, queue, joined(header(type, 2n ** 64n - 1n), data(1))).status).toBe(Status.OK);
    expect(backend.operations).toEqual(['flush']);
  });

  it('says IOERR where the backend cannot', () => {
    const { device, queue, backend } = newDevice();
    backend.answer = () => -Errno.EIO;
    expect(serve(device, queue, header(Type.FLUSH)).status).toBe(Status.IOERR);
  });
});

describe('VIRTIO_BLK_T_GET_ID', () => {
  it.each([
    ['padded with NUL', 'vol-1', 20],
    ['without an end where it is full', 'x'.repeat(20), 20],
    ['cut where there is no room', 'volume', 3],
  ])('answers the serial, %s', (_how, serial, room) => {
    const { device, queue } = newDevice({ serial });
    const chain = serve(device, queue, header(Type.GET_ID), room + 1);
    expect(Buffer.from(chain.data).toString('latin1')).toBe(serial.padEnd(20, '\0').slice(0, room));
    expect([chain.status, queue.written(chain)]).toEqual([Status.OK, room + 1]);
  });

  it('claims no more than it wrote where there is more room', () => {
    const { device, queue } = newDevice();
    const chain = serve(device, queue, header(Type.GET_ID), 101);
    expect([chain.status, queue.written(chain), chain.data[20]]).toEqual([Status.OK, 20, NO_STATUS]);
  });

  it.each(['x'.repeat(21), 'ü', 'a\nb', 'a\0'])('cannot have the serial %j', (serial) => {
    expect(() => newDevice({ serial })).toThrow(RangeError);
  });
});

describe('VIRTIO_BLK_T_GET_LIFETIME', () => {
  it('answers how worn the medium is', async () => {
    const { device, queue } = newDevice();
    const flushed = queue.flushed();
    const chain = serve(device, queue, header(Type.GET_LIFETIME), 7);
    await flushed;
    expect([...chain.data]).toEqual([1, 0, 2, 0, 3, 0]);
    expect([chain.status, queue.written(chain)]).toEqual([Status.OK, 7]);
  });

  it('is UNSUPP where the medium does not tell, now or ever', async () => {
    const { device, queue, backend } = newDevice();
    backend.estimate = undefined;
    const flushed = queue.flushed();
    const chain = serve(device, queue, header(Type.GET_LIFETIME), 7);
    await flushed;
    expect(chain.status).toBe(Status.UNSUPP);
    const other = newDevice({ limits: { hasLifetime: false } });
    expect(serve(other.device, other.queue, header(Type.GET_LIFETIME), 7).status).toBe(Status.UNSUPP);
  });

  it('is refused where there is no room for the answer', () => {
    const { device, queue } = newDevice();
    expect(serve(device, queue, header(Type.GET_LIFETIME), 6).status).toBe(Status.IOERR);
  });
});

describe.each([
  ['VIRTIO_BLK_T_DISCARD', Type.DISCARD, 'discard'],
  ['VIRTIO_BLK_T_WRITE_ZEROES', Type.WRITE_ZEROES, 'writeZeroes'],
  ['VIRTIO_BLK_T_SECURE_ERASE', Type.SECURE_ERASE, 'secureErase'],
])('%s', (_name, type, operation) => {
  it('does its ranges one after the other', () => {
    const { device, queue, backend } = newDevice();
    backend.hold(operation);
    const chain = serve(device, queue, joined(header(type), range(8, 16), range(64, 8), range(0, 8)));
    const places = () => backend.calls.map(({ offset, length }) => [offset / 512, length / 512]);
    expect(places()).toEqual([[8, 16]]);
    backend.release();
    expect(places()).toEqual([
      [8, 16],
      [64, 8],
    ]);
    backend.release();
    expect(chain.status).toBe(NO_STATUS);
    backend.release();
    expect([chain.status, queue.written(chain), backend.calls.length]).toEqual([Status.OK, 1, 3]);
  });

  it('ends with the first range that fails', () => {
    const { device, queue, backend } = newDevice();
    backend.answer = ({ offset }) => (offset === 0 ? 0 : -Errno.EIO);
    const request = joined(header(type), range(0, 8), range(8, 8), range(16, 8));
    expect(serve(device, queue, request).status).toBe(Status.IOERR);
    expect(backend.calls).toHaveLength(2);
  });

  it.each([0, 1, 15, 17, 31, 65 * 16])('is refused where its ranges have %i bytes', (length) => {
    const { device, queue, backend } = newDevice();
    expect(serve(device, queue, joined(header(type), new Uint8Array(length))).status).toBe(Status.IOERR);
    expect(backend.calls).toEqual([]);
  });

  it('has 64 ranges at most, and does nothing for empty ones', () => {
    const { device, queue, backend } = newDevice();
    const ranges = Array.from({ length: 64 }, (_, i) => range(i * 8, i === 63 ? 8 : 0));
    expect(serve(device, queue, joined(header(type), ...ranges)).status).toBe(Status.OK);
    expect(backend.calls.map(({ offset }) => offset)).toEqual([63 * 8 * 512]);
  });

  it.each<[string, number | bigint, number]>([
    ['beyond the end', SECTORS, 8],
    ['across the end', SECTORS - 8, 16],
    ['at 2^61', 2n ** 61n, 8],
    ['at 2^64', 2n ** 64n - 8n, 8],
    ['of 2^32 - 1 sectors', 0, 0xffff_ffff],
    ['longer than the disk takes at once', 0, 1024 + 8],
  ])('is refused with a range %s, and then does none of them', (_where, sector, sectors) => {
    const { device, queue, backend } = newDevice();
    const chain = serve(device, queue, joined(header(type), range(0, 8), range(sector, sectors)));
    expect([chain.status, backend.calls]).toEqual([Status.IOERR, []]);
  });

  it.each([2, 3, 0x8000_0000, 0xffff_fffe, 0xffff_ffff])('is UNSUPP with the flags %i', (flags) => {
    const { device, queue, backend } = newDevice();
    const chain = serve(device, queue, joined(header(type), range(0, 8), range(8, 8, flags)));
    expect([chain.status, backend.calls]).toEqual([Status.UNSUPP, []]);
  });

  it('is UNSUPP where the backend cannot, as a whole or this time', () => {
    const without = newDevice({
      limits: { discard: undefined, writeZeroes: undefined, secureErase: undefined },
    });
    const request = joined(header(type), range(0, 8));
    expect(serve(without.device, without.queue, request).status).toBe(Status.UNSUPP);
    const { device, queue, backend } = newDevice();
    backend.answer = () => -Errno.EOPNOTSUPP;
    expect(serve(device, queue, request).status).toBe(Status.UNSUPP);
  });

  it('reads its ranges once: what the driver changes meanwhile has no effect', () => {
    const { device, queue, backend } = newDevice();
    backend.hold(operation);
    const request = joined(header(type), range(0, 8), range(8, 8));
    serve(device, queue, request);
    request.set(range(2n ** 63n, 0xffff_ffff, 0xffff), 32);
    backend.release();
    expect(backend.calls.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 4096],
      [4096, 4096],
    ]);
  });
});

describe('the unmap flag', () => {
  it('is for zeroes alone', () => {
    const { device, queue, backend } = newDevice();
    const withFlag = (type: number) => serve(device, queue, joined(header(type), range(0, 8, 1))).status;
    expect([Type.DISCARD, Type.SECURE_ERASE].map(withFlag)).toEqual([Status.UNSUPP, Status.UNSUPP]);
    expect(withFlag(Type.WRITE_ZEROES)).toBe(Status.OK);
    expect(serve(device, queue, joined(header(Type.WRITE_ZEROES), range(0, 8))).status).toBe(Status.OK);
    expect(backend.calls.map(({ mayUnmap }) => mayUnmap)).toEqual([true, false]);
  });
});

describe('a secure erase', () => {
  it('is refused where it is not aligned as the medium needs, which others may be', () => {
    const { device, queue } = newDevice();
    const at = (type: number, sector: number, sectors: number) =>
      serve(device, queue, joined(header(type), range(sector, sectors))).status;
    expect(at(Type.SECURE_ERASE, 1, 8)).toBe(Status.IOERR);
    expect(at(Type.SECURE_ERASE, 8, 7)).toBe(Status.IOERR);
    expect(at(Type.SECURE_ERASE, 8, 8)).toBe(Status.OK);
    expect(at(Type.DISCARD, 1, 7)).toBe(Status.OK);
    expect(at(Type.WRITE_ZEROES, 1, 7)).toBe(Status.OK);
  });
});

describe('failures of the backend', () => {
  it('are logged in a number of lines that a guest cannot drive up', () => {
    const { device, queue, backend, logs } = newDevice();
    backend.answer = ({ operation }) => (operation === 'write' ? -Errno.ENOSPC : -Errno.EIO);
    for (let i = 0; i < 1000; i++) serve(device, queue, joined(header(Type.OUT, i % 8), data(1)));
    serve(device, queue, header(Type.IN, 5), 513);
    expect(logs[0]).toBe('cannot write at byte 0: ENOSPC');
    expect(logs.at(-1)).toBe('cannot read at byte 2560: EIO');
    expect(logs).toHaveLength(11);
    expect(device.statistics.backendErrors).toBe(1001);
  });

  it('are told apart from requests that make no sense, which are counted and not logged', () => {
    const { device, queue, logs } = newDevice();
    for (let i = 0; i < 10; i++) serve(device, queue, header(Type.IN, SECTORS), 513);
    expect([logs, device.statistics.refused, device.statistics.backendErrors]).toEqual([[], 10, 0]);
  });
});

describe('the statistics', () => {
  it('count what was done', () => {
    const { device, queue, backend } = newDevice();
    serve(device, queue, header(Type.IN), 1025);
    serve(device, queue, joined(header(Type.OUT), data(3)));
    serve(device, queue, header(Type.FLUSH));
    serve(device, queue, joined(header(Type.DISCARD), range(0, 8)));
    backend.answer = () => PENDING;
    serve(device, queue, header(Type.IN), 513);
    expect(device.statistics).toMatchObject({
      reads: 1,
      writes: 1,
      flushes: 1,
      rangeRequests: 1,
      bytesRead: 1024,
      bytesWritten: 1536,
      refused: 0,
      backendErrors: 0,
    });
  });
});
