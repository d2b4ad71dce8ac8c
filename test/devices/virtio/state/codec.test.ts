import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../../devices/virtio/state/checksum.js';
import { decodeState, encodeState } from '../../../../devices/virtio/state/codec.js';
import type { FunctionState } from '../../../../devices/virtio/state/function-state.js';

const STATE: FunctionState = {
  interface: 1,
  status: 0x0f,
  started: 1,
  faulted: 0,
  isrStatus: 2,
  configGeneration: 0xfe,
  configVector: 0x0102,
  driverFeatures0: 0x1111_1111,
  driverFeatures1: 0x2222_2222,
  driverFeatures2: 0x3333_3333,
  driverFeatures3: 0xffff_ffff,
  deviceFeatureSelect: 5,
  driverFeatureSelect: 6,
  queueSelect: 7,
  legacyQueueSelect: 8,
  configSpace: Uint8Array.of(0xc0, 0xc1),
  msixTable: Uint8Array.of(),
  msixPending: Uint8Array.of(0xb0),
  deviceConfig: Uint8Array.of(0xd0),
  queues: [
    {
      size: 0x8000,
      vector: 0xffff,
      enabled: 1,
      descriptorAreaLow: 0xa1,
      descriptorAreaHigh: 0xa2,
      driverAreaLow: 0xa3,
      driverAreaHigh: 0xa4,
      deviceAreaLow: 0xa5,
      deviceAreaHigh: 0xa6,
      nextAvail: 0x0b0a,
      nextUsed: 0x0d0c,
      chains: [
        {
          id: 3,
          ringEntries: 1,
          completed: true,
          usedLength: 9,
          readable: [{ guestAddress: 2 ** 40 + 1, lengthBytes: 4 }],
          writable: [],
        },
      ],
    },
  ],
  device: Uint8Array.of(0xe0, 0xe1, 0xe2),
};

/** The same by hand. */
const BODY = [
  [1, 0x0f, 1, 0, 2, 0xfe, 0x02, 0x01],
  [0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x22, 0x22, 0x33, 0x33, 0x33, 0x33, 0xff, 0xff, 0xff, 0xff],
  [5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 8, 0],
  [2, 0, 0, 0, 0xc0, 0xc1],
  [0, 0, 0, 0],
  [1, 0, 0, 0, 0xb0],
  [1, 0, 0, 0, 0xd0],
  [1, 0, 0, 0],
  [0x00, 0x80, 0xff, 0xff, 1],
  [0xa1, 0, 0, 0, 0xa2, 0, 0, 0, 0xa3, 0, 0, 0, 0xa4, 0, 0, 0, 0xa5, 0, 0, 0, 0xa6, 0, 0, 0],
  [0x0a, 0x0b, 0x0c, 0x0d],
  [1, 0, 0, 0],
  [3, 0, 1, 0, 1, 9, 0, 0, 0],
  [1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 4, 0, 0, 0],
  [0, 0, 0, 0],
  [3, 0, 0, 0, 0xe0, 0xe1, 0xe2],
].flat();

/** CRC-32C bit by bit. */
function slowCrc(bytes: readonly number[]): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0x82f6_3b78);
  }
  return ~crc >>> 0;
}

function word(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);
}

/** A blob with a right header, whatever is in it. */
function sealed(body: readonly number[], version = 1): Uint8Array {
  const head = [...word(0x7453_6843), ...word(version), ...word(16 + body.length)];
  return Uint8Array.from([...head, ...word(slowCrc([...head, ...body])), ...body]);
}

describe('the blob', () => {
  it('has the layout of version 1: whoever changes it makes another version', () => {
    expect([...encodeState(STATE)]).toEqual([...sealed(BODY)]);
  });

  it('decodes to what was encoded', () => {
    expect(decodeState(sealed(BODY))).toEqual(STATE);
  });

  it('is decoded at any place in a larger buffer', () => {
    const larger = new Uint8Array([0xff, 0xff, 0xff, ...sealed(BODY), 0xff]);
    expect(decodeState(larger.subarray(3, larger.length - 1))).toEqual(STATE);
  });

  it.each([
    ['of no bytes', new Uint8Array(0), 'cut off in its header'],
    ['of another version', sealed(BODY, 2), 'version 2, and only 1 is known'],
    ['that ends early, sealed again', sealed(BODY.slice(0, -1)), 'ends before its last field'],
    ['that goes on, sealed again', sealed([...BODY, 0]), 'goes on after its last field'],
    ['with a count far beyond its end', sealed([...BODY.slice(0, 56), ...word(0xffff_ffff)]), 'ends before'],
  ])('%s is refused', (_, blob, problem) => {
    expect(decodeState(blob)).toContain(problem);
  });

  it('with a field that cannot be encoded like this is refused', () => {
    const completedAt = BODY.length - 7 - 4 - 16 - 5;
    expect(BODY[completedAt]).toBe(1);
    expect(decodeState(sealed(BODY.with(completedAt, 2)))).toContain('holds what it cannot hold');
    const addressHighAt = BODY.length - 7 - 4 - 8;
    expect(BODY[addressHighAt + 1]).toBe(1);
    expect(decodeState(sealed(BODY.with(addressHighAt + 3, 0x40)))).toContain('holds what it cannot hold');
  });
});

describe('the checksum', () => {
  it('is CRC-32C: 0xe3069283 for "123456789"', () => {
    const text = new TextEncoder().encode('123456789');
    expect(crc32c(text)).toBe(0xe306_9283);
    expect(crc32c(text.subarray(0, 4), text.subarray(4))).toBe(0xe306_9283);
  });
});
