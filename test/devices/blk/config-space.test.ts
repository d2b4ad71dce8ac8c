import { describe, expect, it } from 'vitest';
import type { BlockLimits } from '../../../devices/blk/backends/block-backend.js';
import { VirtioBlk, type VirtioBlkOptions } from '../../../devices/blk/virtio-blk.js';
import { ScriptedBackend } from './support/scripted-backend.js';

const NOTHING = { discard: undefined, writeZeroes: undefined, secureErase: undefined, hasLifetime: false };

function newDevice(
  sizeBytes: number,
  limits: Partial<BlockLimits> = {},
  options: Partial<VirtioBlkOptions> = {},
) {
  const backend = new ScriptedBackend(sizeBytes, limits);
  const device = new VirtioBlk(backend, { serial: '', log: () => {}, ...options });
  return { device, view: new DataView(device.config.buffer, device.config.byteOffset) };
}

const bits = (features: bigint) =>
  Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((features >> BigInt(bit)) & 1n) === 1n);

describe('the features on offer', () => {
  it('are all that a disk can have where the backend can do everything', () => {
    const options = { queues: 4, maxSegmentBytes: 65536 };
    expect(bits(newDevice(1 << 20, {}, options).device.features)).toEqual([
      1, 2, 4, 6, 9, 10, 11, 12, 13, 14, 15, 16,
    ]);
  });

  it('are those that need nothing of the backend where it can do nothing', () => {
    expect(bits(newDevice(1 << 20, NOTHING).device.features)).toEqual([2, 4, 6, 9, 10, 11]);
  });

  it.each([
    ['the backend', { readOnly: true }, {}],
    ['the device', {}, { readOnly: true }],
  ])('have nothing that changes the disk where %s is read-only', (_what, limits, options) => {
    expect(bits(newDevice(1 << 20, limits, options).device.features)).toEqual([2, 4, 5, 6, 9, 10, 15]);
  });
});

describe('the config space', () => {
  it('has 72 bytes, with nothing in its padding', () => {
    const { device } = newDevice(1 << 20, {}, { queues: 2 });
    expect(device.config).toHaveLength(72);
    expect([device.config[33], ...device.config.subarray(57, 60)]).toEqual([0, 0, 0, 0]);
  });

  it.each([
    [512, 1],
    [2 ** 20, 2048],
    [2 ** 41, 2 ** 32],
    [2 ** 50 + 512, 2 ** 41 + 1],
  ])('tells the capacity of %i bytes in sectors', (sizeBytes, sectors) => {
    expect(newDevice(sizeBytes).view.getBigUint64(0, true)).toBe(BigInt(sectors));
  });

  it('tells segments, their size, and queues', () => {
    const { view } = newDevice(1 << 20, {}, { queues: 3, queueSize: 128, maxSegmentBytes: 4096 });
    expect([view.getUint32(8, true), view.getUint32(12, true), view.getUint16(34, true)]).toEqual([
      4096, 126, 3,
    ]);
  });

  it.each([
    [256, 126],
    [1024, 126],
    [128, 126],
    [64, 62],
    [4, 2],
  ])(
    'with queues of %i asks for no more than %i segments, which fit the ring that QEMU makes',
    (size, most) => {
      expect(newDevice(1 << 20, {}, { queueSize: size }).view.getUint32(12, true)).toBe(most);
    },
  );

  it.each([
    [256, 256, 254],
    [256, 1024, 254],
    [1024, 256, 254],
    [256, 64, 62],
  ])('with queues of %i that are sure to be %i in use asks for %i segments', (queueSize, sure, most) => {
    const { view } = newDevice(1 << 20, {}, { queueSize, reliableQueueSize: sure });
    expect(view.getUint32(12, true)).toBe(most);
  });

  it.each([
    [2 ** 20, 2],
    [2 ** 40, 65535],
  ])('tells a geometry that old firmware can take for %i bytes', (sizeBytes, cylinders) => {
    const { view } = newDevice(sizeBytes);
    expect([view.getUint16(16, true), view.getUint8(18), view.getUint8(19)]).toEqual([cylinders, 16, 63]);
  });

  it('tells the blocks of the medium, in logical blocks', () => {
    const { view } = newDevice(1 << 20, {
      logicalBlockBytes: 1024,
      physicalBlockBytes: 8192,
      alignmentOffsetBytes: 3072,
      minimumIoBytes: 8192,
      optimalIoBytes: 65536,
    });
    const topology = [
      view.getUint8(24),
      view.getUint8(25),
      view.getUint16(26, true),
      view.getUint32(28, true),
    ];
    expect([view.getUint32(20, true), ...topology]).toEqual([1024, 3, 3, 8, 64]);
  });

  it('tells how ranges may be, in sectors', () => {
    const { view } = newDevice(1 << 20, {
      discard: { maxBytes: 2 ** 31, alignmentBytes: 65536 },
      writeZeroes: { maxBytes: 2 ** 26, alignmentBytes: 512, mayUnmap: true },
      secureErase: { maxBytes: 2 ** 42, alignmentBytes: 4096 },
    });
    const words = (at: number, count: number) =>
      Array.from({ length: count }, (_, i) => view.getUint32(at + 4 * i, true));
    expect(words(36, 3)).toEqual([2 ** 22, 64, 128]);
    expect([...words(48, 2), view.getUint8(56)]).toEqual([2 ** 17, 64, 1]);
    // More sectors than the field can say: as many as it can.
    expect(words(60, 3)).toEqual([0xffff_ffff, 64, 8]);
  });

  it('says nothing of ranges where there are none', () => {
    const { device } = newDevice(1 << 20, NOTHING);
    expect(device.config.subarray(36).every((byte) => byte === 0)).toBe(true);
  });

  it('says that zeroes do not give space back where they do not', () => {
    const writeZeroes = { maxBytes: 1 << 20, alignmentBytes: 512, mayUnmap: false };
    expect(newDevice(1 << 20, { writeZeroes }).device.config[56]).toBe(0);
  });
});

describe('what a disk is made with', () => {
  it.each([
    { queues: 0 },
    { queues: 65 },
    { queues: 1.5 },
    { queueSize: 0 },
    { queueSize: 2 },
    { queueSize: 100 },
    { queueSize: 65536 },
  ])('cannot be %j', (options) => {
    expect(() => newDevice(1 << 20, {}, options)).toThrow(RangeError);
  });

  it('gives it as many queues, of that size', () => {
    expect(newDevice(1 << 20, {}, { queues: 3, queueSize: 64 }).device.queueSizes).toEqual([64, 64, 64]);
    expect(newDevice(1 << 20).device.queueSizes).toEqual([256]);
  });
});
