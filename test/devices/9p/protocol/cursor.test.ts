import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MessageReader, MessageWriter } from '../../../../devices/9p/protocol/cursor.js';
import { Errno } from '../../../../devices/errno.js';
import { u16, u32, u64, u8 } from '../server/support/wire.js';

function readerOf(...bytes: number[]): MessageReader {
  const reader = new MessageReader(Uint8Array.from(bytes));
  reader.reset(0, bytes.length);
  return reader;
}

describe('MessageReader', () => {
  it('reads nothing past its limit, though the buffer goes on', () => {
    const reader = new MessageReader(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
    reader.reset(0, 3);
    expect(reader.u32()).toBe(0);
    expect(reader.errno).toBe(Errno.EPROTO);
    expect(reader.position).toBe(0);
  });

  it('takes a limit past the end of its buffer for that end', () => {
    const reader = new MessageReader(Uint8Array.from([1]));
    reader.reset(0, 1000);
    expect(reader.u8()).toBe(1);
    expect(reader.u8()).toBe(0);
    expect(reader.errno).toBe(Errno.EPROTO);
  });

  it('answers 0 and empty strings after a failure, and remembers the first one', () => {
    const reader = readerOf(9, 9, 1, 2, 3, 4, 5, 6, 7, 8);
    reader.fail(Errno.EINVAL);
    reader.fail(Errno.EFBIG);
    expect([reader.u8(), reader.u16(), reader.u32(), reader.u64(Errno.EIO), reader.i64()]).toEqual([
      0, 0, 0, 0, 0,
    ]);
    expect(reader.string(10)).toBe('');
    expect(reader.errno).toBe(Errno.EINVAL);
  });

  it('says that a string is too long before it says that it is cut off', () => {
    const reader = readerOf(0xff, 0xff, 97);
    expect(reader.string(255)).toBe('');
    expect(reader.errno).toBe(Errno.ENAMETOOLONG);
  });

  it('refuses a string whose length goes past the end', () => {
    const reader = readerOf(3, 0, 97, 98);
    expect(reader.string(255)).toBe('');
    expect(reader.errno).toBe(Errno.EPROTO);
  });

  it('reads every byte of a string as one character', () => {
    const bytes = Array.from({ length: 256 }, (_, i) => i);
    const text = readerOf(0, 1, ...bytes).string(256);
    expect([...text].map((character) => character.charCodeAt(0))).toEqual(bytes);
  });

  it('reads 2^53 - 1 and refuses 2^53 with the errno it was given', () => {
    expect(readerOf(...u64(2n ** 53n - 1n)).u64(Errno.EFBIG)).toBe(2 ** 53 - 1);
    const reader = readerOf(...u64(2n ** 53n));
    expect(reader.u64(Errno.EFBIG)).toBe(0);
    expect(reader.errno).toBe(Errno.EFBIG);
  });

  it('never reads another 64-bit number than the one that is there', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
        const reader = readerOf(...u64(value));
        const read = reader.u64(Errno.EOVERFLOW);
        return reader.errno === 0 ? BigInt(read) === value : value >= 2n ** 53n;
      }),
    );
  });

  it('never reads another signed number than the one that is there', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        const reader = readerOf(...u64(value));
        const read = reader.i64();
        return reader.errno === 0 ? BigInt(read) === value : value < -(2n ** 53n) || value >= 2n ** 53n;
      }),
    );
  });

  it('reads little-endian fields one after the other', () => {
    const reader = readerOf(...u8(0xfe), ...u16(0xfedc), ...u32(0xfedcba98), ...u64(-2n));
    expect([reader.u8(), reader.u16(), reader.u32(), reader.i64()]).toEqual([0xfe, 0xfedc, 0xfedcba98, -2]);
    expect(reader.position).toBe(15);
  });
});

describe('MessageWriter', () => {
  it('writes nothing where a field does not fit, and nothing after that', () => {
    const bytes = new Uint8Array(6);
    const writer = new MessageWriter(bytes);
    writer.u32(0x01020304);
    writer.u32(0x05060708);
    writer.u8(9);
    expect(writer.errno).toBe(Errno.EMSGSIZE);
    expect([...bytes]).toEqual([4, 3, 2, 1, 0, 0]);
  });

  it('refuses a string with a character that is no byte', () => {
    const writer = new MessageWriter(new Uint8Array(16));
    writer.string('a\u0100');
    expect(writer.errno).toBe(Errno.EIO);
  });

  it('refuses a string whose length has no 16 bits', () => {
    const writer = new MessageWriter(new Uint8Array(70_000));
    writer.string('x'.repeat(65_536));
    expect(writer.errno).toBe(Errno.EIO);
    expect(writer.position).toBe(0);
  });

  it('writes all integers that a Number holds, negative ones in two’s complement', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const bytes = new Uint8Array(8);
        new MessageWriter(bytes).u64(value);
        return Buffer.from(bytes).equals(Buffer.from(u64(value)));
      }),
    );
  });

  it('says how much room is left', () => {
    const writer = new MessageWriter(new Uint8Array(10));
    writer.reset(7);
    expect(writer.room).toBe(3);
  });
});
