/** A disk as programs in the guest use it, over every kind of ring and interrupt. */
import { describe, expect, it } from 'vitest';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { Errno } from '../../../devices/errno.js';
import { BlkFeature } from '../../../guest/blk/constants.js';
import type { BlkOptions } from '../../../guest/blk/virtio-driver.js';
import { GuestError } from '../../../guest/errors.js';
import { machineWith } from '../../devices/blk/machine.js';
import { ScriptedBackend } from '../../devices/blk/support/scripted-backend.js';
import { pattern } from '../../devices/blk/support/vectors.js';

const SIZE = 4 << 20;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

const MODES: readonly (readonly [string, BlkOptions, boolean])[] = [
  ['split, indirect, event indices, MSI-X', { packed: false }, true],
  ['split, chained, flags, the pin', { packed: false, indirect: false, eventIndex: false }, false],
  ['packed, indirect, event indices, MSI-X', {}, true],
  ['packed, chained, flags, the pin', { indirect: false, eventIndex: false }, false],
];

async function failure(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof GuestError) return error.code;
    throw error;
  }
  return 'it succeeded';
}

describe.each(MODES)('a disk over rings that are %s', (_name, guest, msix) => {
  it.each([1, 4])('with %i queues is read, written, flushed and discarded', async (queues) => {
    const backend = new MemoryBackend({ sizeBytes: SIZE });
    const { disk, logs } = await machineWith(backend, {
      guest: { ...guest, queues },
      msix,
      device: { queues },
    });
    expect(disk.info.queues).toBe(queues);
    const bytes = pattern(SIZE - 512, 1);
    await disk.write(512, bytes);
    await disk.flush();
    expect(Buffer.from(await disk.read(512, SIZE - 512)).equals(bytes)).toBe(true);
    await disk.discard(0, SIZE / 2);
    await disk.writeZeroes(SIZE / 2, SIZE / 4, { unmap: true });
    await disk.secureErase((3 * SIZE) / 4, SIZE / 4);
    expect((await disk.read(0, SIZE)).every((byte) => byte === 0)).toBe(true);
    expect(backend.allocatedBytes).toBe(0);
    expect(await disk.id()).toBe('test-disk');
    expect(logs).toEqual([]);
  });

  it('serves many requests side by side', async () => {
    const { disk } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }), { guest, msix });
    const pieces = Array.from({ length: 100 }, (_, i) => pattern(512 * (1 + (i % 7)), i));
    await Promise.all(pieces.map((bytes, i) => disk.write(i * 8192, bytes)));
    const read = await Promise.all(pieces.map((bytes, i) => disk.read(i * 8192, bytes.length)));
    expect(read.every((bytes, i) => Buffer.from(bytes).equals(pieces[i]))).toBe(true);
  });
});

describe('a disk', () => {
  it('is cut in buffers as large as it takes', async () => {
    const { disk, device } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }), {
      device: { maxSegmentBytes: 1024 },
    });
    expect(disk.info.maxSegmentBytes).toBe(1024);
    await disk.write(0, pattern(65536, 1));
    expect(Buffer.from(await disk.read(0, 65536)).equals(pattern(65536, 1))).toBe(true);
    expect(device.statistics.writes).toBe(Math.ceil(65536 / (14 * 1024)));
  });

  it('cannot be used where its requests have no room for a sector', async () => {
    const options = { device: { maxSegmentBytes: 16 } };
    await expect(machineWith(new MemoryBackend({ sizeBytes: SIZE }), options)).rejects.toThrow(
      /room for a sector/,
    );
  });

  it('refuses what is no range of sectors without asking', async () => {
    const backend = new ScriptedBackend(SIZE);
    const { disk } = await machineWith(backend);
    for (const [offset, length] of [
      [1, 512],
      [0, 511],
      [SIZE, 512],
      [SIZE - 512, 1024],
      [-512, 512],
    ]) {
      expect(await failure(disk.read(offset, length))).toBe('EINVAL');
      expect(await failure(disk.discard(offset, length))).toBe('EINVAL');
    }
    expect(await failure(disk.write(0, new Uint8Array(100)))).toBe('EINVAL');
    expect(backend.calls).toEqual([]);
  });

  it('says why it failed, and what', async () => {
    const backend = new ScriptedBackend(SIZE);
    const { disk } = await machineWith(backend);
    backend.answer = () => -Errno.EIO;
    await expect(disk.read(0, 512)).rejects.toThrow("EIO: input/output error, read '0000:01:00.0'");
    await expect(disk.flush()).rejects.toThrow('flush');
    backend.answer = () => -Errno.EOPNOTSUPP;
    expect(await failure(disk.discard(0, 512))).toBe('EOPNOTSUPP');
  });

  it('that is only read says so before it is asked', async () => {
    const { disk } = await machineWith(MemoryBackend.of(pattern(SIZE, 1), { readOnly: true }));
    expect([disk.info.readOnly, await failure(disk.write(0, new Uint8Array(512)))]).toEqual([true, 'EROFS']);
    expect(await failure(disk.writeZeroes(0, 512))).toBe('EROFS');
    await disk.flush();
    expect(Buffer.from(await disk.read(0, 512)).equals(pattern(512, 1))).toBe(true);
  });

  it('that cannot says so', async () => {
    const backend = new ScriptedBackend(SIZE, {
      discard: undefined,
      secureErase: undefined,
      hasLifetime: false,
    });
    const { disk } = await machineWith(backend, { guest: { without: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES } });
    expect(await failure(disk.discard(0, 512))).toBe('EOPNOTSUPP');
    expect(await failure(disk.secureErase(0, 512))).toBe('EOPNOTSUPP');
    expect(await failure(disk.writeZeroes(0, 512))).toBe('EOPNOTSUPP');
    expect(await failure(disk.lifetime())).toBe('EOPNOTSUPP');
  });

  it('tells how worn it is', async () => {
    const { disk } = await machineWith(new ScriptedBackend(SIZE));
    expect([disk.info.hasLifetime, await disk.lifetime()]).toEqual([
      true,
      { preEolInfo: 1, typeA: 2, typeB: 3 },
    ]);
  });

  it('has ranges cut to the length that it takes', async () => {
    const backend = new ScriptedBackend(SIZE);
    const { disk } = await machineWith(backend);
    await disk.discard(512, SIZE - 512);
    const ranges = backend.calls.map(({ offset, length }) => [offset, length]);
    const step = 1 << 19;
    expect(ranges[0]).toEqual([512, step]);
    expect(ranges.reduce((sum, [, length]) => sum + length, 0)).toBe(SIZE - 512);
    expect(Math.max(...ranges.map(([, length]) => length))).toBe(step);
  });

  it('has its cache mode chosen by its user, where it lets itself', async () => {
    const backend = new ScriptedBackend(SIZE);
    const { disk } = await machineWith(backend);
    expect(disk.info.writeBack).toBe(true);
    await disk.write(0, new Uint8Array(512));
    disk.setWriteBack(false);
    expect(disk.info.writeBack).toBe(false);
    await disk.write(0, new Uint8Array(512));
    expect(backend.calls.map(({ durable }) => durable)).toEqual([false, true]);
    const fixed = await machineWith(new ScriptedBackend(SIZE), {
      guest: { without: BlkFeature.VIRTIO_BLK_F_CONFIG_WCE },
    });
    expect(await failure(() => fixed.disk.setWriteBack(false))).toBe('EOPNOTSUPP');
  });

  it('tells its user when it was resized', async () => {
    const { disk, device } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }));
    const sizes: number[] = [];
    const heard = () => new Promise<void>((resolve) => disk.onResize(() => resolve()));
    const stop = disk.onResize((size) => sizes.push(size));
    let next = heard();
    expect(await device.resize(2 * SIZE)).toBe(0);
    await next;
    await disk.write(2 * SIZE - 512, pattern(512, 1));
    next = heard();
    await device.resize(SIZE);
    await next;
    expect([sizes, disk.sizeBytes]).toEqual([[2 * SIZE, SIZE], SIZE]);
    expect(await failure(disk.read(SIZE, 512))).toBe('EINVAL');
    stop();
    next = heard();
    await device.resize(2 * SIZE);
    await next;
    expect(sizes).toHaveLength(2);
    expect((await disk.read(2 * SIZE - 512, 512)).every((byte) => byte === 0)).toBe(true);
  });

  it('is for one user at a time', async () => {
    const { disk, binding } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }));
    expect([binding.inUse, await failure(binding.open())]).toEqual([true, 'EBUSY']);
    await disk.close();
    expect(binding.inUse).toBe(false);
    const again = await binding.open();
    expect(again.sizeBytes).toBe(SIZE);
  });

  it('that is pulled out fails what is under way, and everything after', async () => {
    const backend = new ScriptedBackend(SIZE);
    backend.hold('read');
    const { disk, machine, binding } = await machineWith(backend);
    const reads = [failure(disk.read(0, 512)), failure(disk.read(512, 4 << 18))];
    await nextTurn();
    machine.remove(1);
    expect(await Promise.all(reads)).toEqual(['ENODEV', 'ENODEV']);
    expect(await failure(disk.flush())).toBe('ENODEV');
    await disk.close();
    expect(await failure(binding.open())).toBe('ENODEV');
    backend.release();
  });

  it('gives the guest all of its memory back when it leaves', async () => {
    const { disk, machine, ram } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }));
    await disk.write(0, pattern(1 << 20, 1));
    await disk.close();
    await machine.requestUnplug(1);
    expect(ram.freeBytes).toBe(ram.sizeBytes - 4096);
  });

  it('fails what it cannot hold in the guest’s memory', async () => {
    const { disk } = await machineWith(new MemoryBackend({ sizeBytes: SIZE }), { ramSizeBytes: 1 << 20 });
    expect(await failure(disk.read(0, SIZE))).toBe('ENOMEM');
    expect((await disk.read(0, 65536)).length).toBe(65536);
  });
});
