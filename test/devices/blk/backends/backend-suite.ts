/**
 * The acceptance suite of `BlockBackend`: whoever implements it runs it, and says how to make a disk and what is on it.
 */
import { describe, expect, it } from 'vitest';
import type { BlockBackend } from '../../../../devices/blk/backends/block-backend.js';
import { Errno } from '../../../../devices/errno.js';
import { ended, flushed, pattern, put, randomFrom, readBack, vectorOver } from '../support/vectors.js';

export interface MadeBackend {
  readonly backend: BlockBackend;
  /** What the disk holds at first. */
  readonly content: Uint8Array;
}

export interface BackendUnderTest {
  /** A disk of `BACKEND_BYTES`; closed by the suite, all else of it goes with the test. */
  make(): Promise<MadeBackend>;
  /** The same, read-only. */
  makeReadOnly?: () => Promise<MadeBackend>;
  readonly canResize: boolean;
}

export const BACKEND_BYTES = 1 << 19;
const SECTOR = 512;
const ROUNDS = 20;

export function backendSuite(name: string, under: BackendUnderTest): void {
  describe(name, () => {
    const withDisk = (body: (made: MadeBackend) => Promise<void>) => async () => {
      const made = await under.make();
      try {
        await body(made);
      } finally {
        await made.backend.close();
      }
    };

    it(
      'has a size of whole sectors, and limits that make sense',
      withDisk(async ({ backend, content }) => {
        const { limits } = backend;
        expect([backend.sizeBytes, content.length]).toEqual([BACKEND_BYTES, BACKEND_BYTES]);
        expect(limits.readOnly).toBe(false);
        for (const block of [limits.logicalBlockBytes, limits.physicalBlockBytes]) {
          expect(Number.isInteger(Math.log2(block)) && block >= SECTOR).toBe(true);
        }
        expect(limits.physicalBlockBytes).toBeGreaterThanOrEqual(limits.logicalBlockBytes);
        expect(limits.writeZeroes?.maxBytes).toBeGreaterThanOrEqual(BACKEND_BYTES);
      }),
    );

    it(
      'reads what is on it, all at once and by its first and last sectors',
      withDisk(async ({ backend, content }) => {
        expect((await readBack(backend, 0, BACKEND_BYTES)).equals(content)).toBe(true);
        expect((await readBack(backend, 0, SECTOR)).equals(content.subarray(0, SECTOR))).toBe(true);
        const last = BACKEND_BYTES - SECTOR;
        expect((await readBack(backend, last, SECTOR)).equals(content.subarray(last))).toBe(true);
      }),
    );

    it(
      'writes single sectors and leaves their neighbours alone',
      withDisk(async ({ backend, content }) => {
        const expected = Buffer.from(content);
        for (const sector of [0, 1, 7, 8, 9, 127, 1000, BACKEND_BYTES / SECTOR - 1]) {
          const bytes = pattern(SECTOR, sector);
          expect(await put(backend, sector * SECTOR, bytes)).toBe(0);
          expected.set(bytes, sector * SECTOR);
        }
        expect((await readBack(backend, 0, BACKEND_BYTES)).equals(expected)).toBe(true);
      }),
    );

    it.each([
      ['in pieces that end anywhere', [1, 511, 3, 4096, 700, 1, 1, 8191], false],
      ['in pages with addresses', [4096, 4096, 4096], true],
      ['in more pieces than one system call takes', new Array<number>(700).fill(13), true],
    ])('moves vectors %s', async (_how, cuts, native) => {
      await withDisk(async ({ backend, content }) => {
        const bytes = pattern(40 * SECTOR, 3);
        expect(await put(backend, 5 * SECTOR, bytes, { cuts, native })).toBe(0);
        expect((await readBack(backend, 5 * SECTOR, bytes.length, cuts)).equals(bytes)).toBe(true);
        const before = await readBack(backend, 0, 5 * SECTOR);
        expect(before.equals(content.subarray(0, 5 * SECTOR))).toBe(true);
      })();
    });

    it(
      'moves as much as the disk holds in one call',
      withDisk(async ({ backend }) => {
        const bytes = pattern(BACKEND_BYTES, 9);
        expect(await put(backend, 0, bytes, { native: true })).toBe(0);
        expect((await readBack(backend, 0, BACKEND_BYTES)).equals(bytes)).toBe(true);
      }),
    );

    it(
      'serves many calls at once',
      withDisk(async ({ backend }) => {
        const pieces = Array.from({ length: 64 }, (_, i) => pattern(8 * SECTOR, i));
        const at = (i: number) => ((i * 37) % 64) * 8 * SECTOR;
        const results = await Promise.all(pieces.map((bytes, i) => put(backend, at(i), bytes)));
        expect(results.every((result) => result === 0)).toBe(true);
        const read = await Promise.all(pieces.map((bytes, i) => readBack(backend, at(i), bytes.length)));
        expect(read.every((bytes, i) => bytes.equals(pieces[i]))).toBe(true);
      }),
    );

    it.each([
      ['giving space back', true],
      ['keeping space', false],
    ])('writes zeroes, %s', async (_how, mayUnmap) => {
      await withDisk(async ({ backend }) => {
        const expected = Buffer.from(pattern(BACKEND_BYTES, 5));
        await put(backend, 0, expected);
        for (const [offset, length] of [
          [0, SECTOR],
          [3 * SECTOR, 70 * SECTOR],
          [256 * SECTOR, 256 * SECTOR],
          [BACKEND_BYTES - 3 * SECTOR, 3 * SECTOR],
        ]) {
          expect(await ended((done) => backend.writeZeroes(offset, length, mayUnmap, done))).toBe(0);
          expected.fill(0, offset, offset + length);
        }
        expect((await readBack(backend, 0, BACKEND_BYTES)).equals(expected)).toBe(true);
      })();
    });

    it(
      'discards a range and nothing else, or says that it cannot',
      withDisk(async ({ backend }) => {
        const expected = Buffer.from(pattern(BACKEND_BYTES, 6));
        await put(backend, 0, expected);
        const [offset, length] = [9 * SECTOR, 300 * SECTOR];
        const result = await ended((done) => backend.discard(offset, length, done));
        expect(result).toBe(backend.limits.discard === undefined ? -Errno.EOPNOTSUPP : 0);
        const after = await readBack(backend, 0, BACKEND_BYTES);
        expect(after.subarray(0, offset).equals(expected.subarray(0, offset))).toBe(true);
        expect(after.subarray(offset + length).equals(expected.subarray(offset + length))).toBe(true);
        expect(await put(backend, offset, expected.subarray(offset, offset + length))).toBe(0);
        expect((await readBack(backend, 0, BACKEND_BYTES)).equals(expected)).toBe(true);
      }),
    );

    it(
      'erases a range for good, or says that it cannot',
      withDisk(async ({ backend }) => {
        await put(backend, 0, pattern(64 * SECTOR, 6));
        const result = await ended((done) => backend.secureErase(8 * SECTOR, 8 * SECTOR, done));
        if (backend.limits.secureErase === undefined) expect(result).toBe(-Errno.EOPNOTSUPP);
        else {
          expect(result).toBe(0);
          expect((await readBack(backend, 8 * SECTOR, 8 * SECTOR)).every((byte) => byte === 0)).toBe(true);
        }
      }),
    );

    it(
      'flushes, with nothing to flush and with several flushes at once',
      withDisk(async ({ backend }) => {
        expect(await flushed(backend)).toBe(0);
        expect(await put(backend, 0, pattern(SECTOR, 1))).toBe(0);
        expect(await Promise.all([1, 2, 3, 4, 5].map(() => flushed(backend)))).toEqual([0, 0, 0, 0, 0]);
        expect(await put(backend, SECTOR, pattern(3 * SECTOR, 1), { durable: true })).toBe(0);
        expect((await readBack(backend, 0, SECTOR)).equals(pattern(SECTOR, 1))).toBe(true);
        expect((await readBack(backend, SECTOR, 3 * SECTOR)).equals(pattern(3 * SECTOR, 1))).toBe(true);
      }),
    );

    it('is as a plain array of sectors is, whatever is done to it', async () => {
      await withDisk(async ({ backend, content }) => {
        await model(backend, content, 1);
      })();
    });

    it(
      'grows with zeroes and forgets what is cut off, or says that it cannot',
      withDisk(async ({ backend }) => {
        const half = BACKEND_BYTES / 2 + 3 * SECTOR;
        await put(backend, 0, pattern(BACKEND_BYTES, 4));
        const result = await backend.resize(half);
        if (!under.canResize) {
          expect([result, backend.sizeBytes]).toEqual([-Errno.EOPNOTSUPP, BACKEND_BYTES]);
          return;
        }
        expect([result, backend.sizeBytes]).toEqual([0, half]);
        expect([await backend.resize(2 * BACKEND_BYTES), backend.sizeBytes]).toEqual([0, 2 * BACKEND_BYTES]);
        const read = await readBack(backend, 0, 2 * BACKEND_BYTES);
        expect(read.subarray(0, half).equals(pattern(BACKEND_BYTES, 4).subarray(0, half))).toBe(true);
        expect(read.subarray(half).every((byte) => byte === 0)).toBe(true);
        const last = pattern(8 * SECTOR, 8);
        expect(await put(backend, 2 * BACKEND_BYTES - last.length, last)).toBe(0);
        expect((await readBack(backend, 2 * BACKEND_BYTES - last.length, last.length)).equals(last)).toBe(
          true,
        );
        expect(await flushed(backend)).toBe(0);
      }),
    );

    it(
      'keeps its size where nobody changed it',
      withDisk(async ({ backend }) => {
        expect([await backend.refreshSize(), backend.sizeBytes]).toEqual([0, BACKEND_BYTES]);
      }),
    );

    it('ends what is under way before it is closed', async () => {
      const { backend } = await under.make();
      const bytes = pattern(256 * SECTOR, 2);
      const results = [1, 2, 3].map((i) => put(backend, i * bytes.length, bytes));
      await backend.close();
      for (const result of await Promise.all(results)) expect(result).toBeLessThanOrEqual(0);
    });

    it('goes on after its caller has lost interest', async () => {
      await withDisk(async ({ backend }) => {
        const write = put(backend, 0, pattern(SECTOR, 1));
        backend.abandon();
        expect([0, -Errno.ECANCELED]).toContain(await write);
        expect(await put(backend, 0, pattern(SECTOR, 2))).toBe(0);
      })();
    });

    if (under.makeReadOnly === undefined) return;
    const { makeReadOnly } = under;

    it('takes no changes where it is read-only', async () => {
      const { backend, content } = await makeReadOnly();
      const { limits } = backend;
      expect([limits.readOnly, limits.discard, limits.writeZeroes]).toEqual([true, undefined, undefined]);
      const refused = [
        await put(backend, 0, pattern(SECTOR, 1)),
        await put(backend, 0, pattern(SECTOR, 1), { durable: true }),
        await ended((done) => backend.writeZeroes(0, SECTOR, true, done)),
        await ended((done) => backend.discard(0, 8 * SECTOR, done)),
      ];
      expect(refused.every((result) => result === -Errno.EROFS || result === -Errno.EOPNOTSUPP)).toBe(true);
      expect(await flushed(backend)).toBe(0);
      expect((await readBack(backend, 0, BACKEND_BYTES)).equals(content)).toBe(true);
      await backend.close();
    });
  });
}

/** Random calls, several at once on sectors of their own, against an array. */
async function model(backend: BlockBackend, content: Uint8Array, seed: number): Promise<void> {
  const random = randomFrom(seed);
  const expected = Buffer.from(await readBack(backend, 0, content.length));
  for (let round = 0; round < ROUNDS; round++) {
    const lanes = 1 + random(6);
    const laneSectors = Math.floor(BACKEND_BYTES / SECTOR / lanes);
    const work = Array.from({ length: lanes }, async (_, lane) => {
      for (let step = 0; step < 4; step++) {
        const length = (1 + random(random(4) === 0 ? laneSectors : 24)) * SECTOR;
        const first = lane * laneSectors * SECTOR;
        const offset = first + random(laneSectors - length / SECTOR + 1) * SECTOR;
        await oneCall(backend, expected, random, offset, length);
      }
    });
    await Promise.all(work);
    if (random(3) === 0) expect(await flushed(backend)).toBe(0);
  }
  expect((await readBack(backend, 0, BACKEND_BYTES)).equals(expected), `seed ${seed}`).toBe(true);
}

async function oneCall(
  backend: BlockBackend,
  expected: Buffer,
  random: (below: number) => number,
  offset: number,
  length: number,
): Promise<void> {
  switch (random(6)) {
    case 0: {
      const mayUnmap = random(2) === 0;
      expect(await ended((done) => backend.writeZeroes(offset, length, mayUnmap, done))).toBe(0);
      expected.fill(0, offset, offset + length);
      return;
    }
    case 1: {
      if (backend.limits.discard === undefined) return;
      expect(await ended((done) => backend.discard(offset, length, done))).toBe(0);
      // What is there now is for the disk to say.
      (await readBack(backend, offset, length)).copy(expected, offset);
      return;
    }
    case 2: {
      const read = await readBack(backend, offset, length, [random(600), random(600)]);
      expect(read.equals(expected.subarray(offset, offset + length))).toBe(true);
      return;
    }
    default: {
      const bytes = pattern(length, random(1000));
      const cuts = random(2) === 0 ? [] : [random(600), random(600), 4096];
      const from = vectorOver(bytes, cuts, random(2) === 0);
      const durable = random(8) === 0;
      expect(await ended((done) => backend.write(offset, from, durable, done))).toBe(0);
      expected.set(bytes, offset);
    }
  }
}
