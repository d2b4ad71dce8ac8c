import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Attributes } from '../../../../devices/9p/fs/file-system.js';
import { Qid } from '../../../../devices/9p/protocol/replies.js';
import { QidMapper } from '../../../../devices/9p/server/qid-mapper.js';
import { Errno } from '../../../../devices/errno.js';

function pathOf(mapper: QidMapper, device: number, inode: bigint): bigint {
  const qid = new Qid();
  const low = Number(inode & 0xffffffffn);
  expect(mapper.mapInode(device, low, Number(inode >> 32n), qid)).toBe(0);
  return (BigInt(qid.pathHigh) << 32n) | BigInt(qid.pathLow);
}

describe('QidMapper', () => {
  it('never gives two files one path, nor one file two', () => {
    const inode = fc.oneof(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.bigInt({ min: 0n, max: 3n }).map((n) => n << 48n),
      fc.bigInt({ min: 0n, max: 5n }),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(4), inode), { maxLength: 200 }), (files) => {
        const mapper = new QidMapper();
        const paths = new Map<string, bigint>();
        for (const [device, number] of [...files, ...files]) {
          const key = `${device} ${number}`;
          const path = pathOf(mapper, device, number);
          expect(paths.get(key) ?? path).toBe(path);
          paths.set(key, path);
        }
        expect(new Set(paths.values()).size).toBe(paths.size);
      }),
    );
  });

  it('gives the first device’s files their inode numbers', () => {
    const mapper = new QidMapper();
    for (const inode of [2n, 0xffffffffn, 2n ** 32n, 2n ** 47n, 2n ** 64n - 1n])
      expect(pathOf(mapper, 77, inode)).toBe(inode);
  });

  it('goes on with the first device’s numbers where a second device came in between', () => {
    const mapper = new QidMapper();
    expect(pathOf(mapper, 1, 5n)).toBe(5n);
    const other = pathOf(mapper, 2, 5n);
    expect(other).not.toBe(5n);
    expect(other & 0xffff_ffff_ffffn).toBe(5n);
    expect(pathOf(mapper, 1, 6n)).toBe(6n);
    // The second device took this one's prefix.
    const moved = pathOf(mapper, 1, other);
    expect(moved).not.toBe(other);
  });

  it('answers EOVERFLOW once there are no paths left, rather than one twice', () => {
    const mapper = new QidMapper();
    for (let i = 0; i < 0x10000; i++) pathOf(mapper, 1, BigInt(i) << 48n);
    expect(mapper.mapInode(2, 0, 0, new Qid())).toBe(-Errno.EOVERFLOW);
    expect(pathOf(mapper, 1, 7n << 48n)).toBe(7n << 48n);
  });

  it('tells directories and links from other files', () => {
    const mapper = new QidMapper();
    const typeOf = (mode: number) => {
      const qid = new Qid();
      mapper.map(Object.assign(new Attributes(), { mode }), qid);
      return qid.type;
    };
    expect([0o40755, 0o120777, 0o100644, 0o20666, 0o10644, 0o140755, 0o60660].map(typeOf)).toEqual([
      0x80, 0x02, 0, 0, 0, 0, 0,
    ]);
  });
});
