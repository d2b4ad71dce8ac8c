/** Overlays that are opened again: after they were closed, and after the machine crashed at any moment. */
import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { MemoryBackend } from '../../../../../devices/blk/backends/memory/memory-backend.js';
import { OverlayBackend } from '../../../../../devices/blk/backends/overlay/overlay-backend.js';
import { overlayFileBytes } from '../../../../../devices/blk/backends/overlay/overlay-store.js';
import { Errno } from '../../../../../devices/errno.js';
import { CrashableBackend } from '../../support/crashable-backend.js';
import { ended, flushed, pattern, put, randomFrom, readBack } from '../../support/vectors.js';

const SECTORS = 1024;
const SIZE = SECTORS * 512;
const CLUSTER = 32768;
const content = Buffer.from(pattern(SIZE, 1));
const base = () => MemoryBackend.of(content, { readOnly: true });
/** What an overlay's storage is like before there is one; small, since a test's need not be sparse. */
const emptyTop = () => new MemoryBackend({ sizeBytes: overlayFileBytes(SIZE, CLUSTER) });

async function refusal(
  top: MemoryBackend,
  over = base(),
  clusterBytes = CLUSTER,
): Promise<BlockBackendError> {
  try {
    await OverlayBackend.kept(over, top, { clusterBytes });
  } catch (error) {
    if (error instanceof BlockBackendError) return error;
    throw error;
  }
  throw new Error('the overlay was opened');
}

/** A storage that goes on after the overlay over it was closed. */
class KeptMemory extends MemoryBackend {
  override close(): Promise<void> {
    return Promise.resolve();
  }
}
const keptTop = () => new KeptMemory({ sizeBytes: overlayFileBytes(SIZE, CLUSTER) });

describe('an overlay that is kept', () => {
  it('has what was written, and the base for the rest, when it is opened again', async () => {
    const top = keptTop();
    const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    const expected = Buffer.from(content);
    for (const [sector, sectors] of [
      [0, 1],
      [20, 16],
      [100, 3],
      [255, 1],
    ]) {
      expected.set(pattern(sectors * 512, sector), sector * 512);
      await put(overlay, sector * 512, pattern(sectors * 512, sector));
    }
    await ended((done) => overlay.writeZeroes(64 * 512, 9 * 512, true, done));
    expected.fill(0, 64 * 512, 73 * 512);
    expect(await flushed(overlay)).toBe(0);
    await overlay.close();
    const again = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    expect((await readBack(again, 0, SIZE)).equals(expected)).toBe(true);
    await again.close();
  });

  it('keeps its size, whatever is asked for', async () => {
    const top = keptTop();
    const overlay = await OverlayBackend.kept(base(), top, { sizeBytes: 2 * SIZE, clusterBytes: CLUSTER });
    await put(overlay, 2 * SIZE - 512, pattern(512, 3));
    expect(await overlay.resize(3 * SIZE)).toBe(0);
    await overlay.close();
    const again = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    expect(again.sizeBytes).toBe(3 * SIZE);
    const rest = await readBack(again, SIZE, 2 * SIZE);
    expect(rest.subarray(SIZE - 512, SIZE).equals(pattern(512, 3))).toBe(true);
    rest.fill(0, SIZE - 512, SIZE);
    expect(rest.every((byte) => byte === 0)).toBe(true);
    await again.close();
  });

  it('does not show again what it was cut off from, of the base or of its own', async () => {
    const top = keptTop();
    const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    await put(overlay, 128 * 512, pattern(64 * 512, 3));
    await flushed(overlay);
    expect(await overlay.resize(100 * 512)).toBe(0);
    await overlay.close();
    const again = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    expect([again.sizeBytes, await again.resize(SIZE)]).toEqual([100 * 512, 0]);
    await again.close();
    const third = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    const read = await readBack(third, 0, SIZE);
    expect(read.subarray(0, 100 * 512).equals(content.subarray(0, 100 * 512))).toBe(true);
    expect(read.subarray(100 * 512).every((byte) => byte === 0)).toBe(true);
    await third.close();
  });

  it('cannot grow beyond what its bits have room for', async () => {
    const overlay = await OverlayBackend.kept(base(), emptyTop(), { clusterBytes: CLUSTER });
    expect(await overlay.resize(2 ** 41)).toBe(-Errno.EFBIG);
    expect(overlay.sizeBytes).toBe(SIZE);
    await overlay.close();
  });

  it('is refused over another base, with other clusters, and where it is none', async () => {
    const top = keptTop();
    await (await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER })).close();
    expect((await refusal(top, new MemoryBackend({ sizeBytes: SIZE / 2 }))).code).toBe('BACKEND_WRONG_KIND');
    expect((await refusal(top, base(), 65536)).code).toBe('BACKEND_WRONG_KIND');
    await put(top, 0, pattern(512, 1));
    expect((await refusal(top)).message).toBe('the file is no overlay');
  });

  it('is refused where its storage is too small', async () => {
    expect((await refusal(new MemoryBackend({ sizeBytes: 512 * 100, maxBytes: 0 }))).code).toBe(
      'BACKEND_REFUSED',
    );
    const top = keptTop();
    await (await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER })).close();
    await top.resize(top.sizeBytes - 512);
    expect((await refusal(top)).message).toBe('the overlay is cut off');
  });

  it('is refused or sane where its header has been changed in any byte', async () => {
    const random = randomFrom(6);
    const top = keptTop();
    await (await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER })).close();
    const header = await readBack(top, 0, 512);
    let refused = 0;
    for (let at = 0; at < 56; at++) {
      const changed = Buffer.from(header);
      changed[at] ^= 1 + random(255);
      await put(top, 0, changed);
      try {
        const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
        expect(overlay.sizeBytes % 512).toBe(0);
        expect((await readBack(overlay, 0, 512)).length).toBe(512);
      } catch (error) {
        expect(error).toBeInstanceOf(BlockBackendError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(40);
  });
});

describe('after a crash', () => {
  /** Opens what a crash left; base and clusters as before. */
  async function reopened(medium: Buffer) {
    return OverlayBackend.kept(base(), new CrashableBackend(medium), { clusterBytes: CLUSTER });
  }

  it.each([1, 2, 3, 4, 5, 6, 7, 8])(
    'at any moment, what was flushed is there, and the base for all else (seed %i)',
    async (seed) => {
      const random = randomFrom(seed);
      // The room for bits is cut down: nothing here grows.
      const top = new CrashableBackend(Buffer.alloc(4096 + overlayBits() + SIZE));
      const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
      const flushedContent = Buffer.from(content);
      const current = Buffer.from(content);
      /** Sectors written since the last flush: they may hold anything that was written to them since. */
      const volatile = new Set<number>();
      for (let i = 0; i < 60; i++) {
        const sector = random(SECTORS - 6);
        const sectors = 1 + random(6);
        const bytes = pattern(sectors * 512, i);
        const durable = random(6) === 0;
        expect(await put(overlay, sector * 512, bytes, { durable })).toBe(0);
        current.set(bytes, sector * 512);
        for (let s = sector; s < sector + sectors; s++) {
          if (durable) {
            volatile.delete(s);
            current.copy(flushedContent, s * 512, s * 512, (s + 1) * 512);
          } else volatile.add(s);
        }
        if (random(8) === 0) {
          expect(await flushed(overlay)).toBe(0);
          current.copy(flushedContent);
          volatile.clear();
        }
      }
      const after = await reopened(top.crash(random));
      const read = await readBack(after, 0, SIZE);
      for (let s = 0; s < SECTORS; s++) {
        if (volatile.has(s)) continue;
        const range = [s * 512, (s + 1) * 512] as const;
        expect(read.subarray(...range).equals(flushedContent.subarray(...range)), `sector ${s}`).toBe(true);
      }
      await after.close();
    },
  );

  it('in the middle of a flush, what it did not cover is the base’s still, or was written', async () => {
    const top = new CrashableBackend(Buffer.alloc(4096 + overlayBits() + SIZE));
    const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    await put(overlay, 0, pattern(512, 2));
    // Under way when the flush starts, and done when it goes on: its bit may not be written before its data is.
    const late = put(overlay, 2 * CLUSTER + 512, pattern(512, 3));
    let flushing = true;
    const flush = flushed(overlay).then(() => (flushing = false));
    const crashes: Buffer[] = [];
    while (flushing) {
      await new Promise((resolve) => setImmediate(resolve));
      for (let seed = 0; seed < 4; seed++) crashes.push(top.crash(randomFrom(crashes.length)));
    }
    await Promise.all([late, flush]);
    const original = content.subarray(2 * CLUSTER, 3 * CLUSTER);
    for (const medium of crashes) {
      const after = await reopened(medium);
      const cluster = await readBack(after, 2 * CLUSTER, CLUSTER);
      const around = Buffer.concat([
        cluster.subarray(0, 512),
        original.subarray(512, 1024),
        cluster.subarray(1024),
      ]);
      expect(around.equals(original)).toBe(true);
      await after.close();
    }
  });

  it('a durable write to a cluster that was the base’s is there', async () => {
    const top = new CrashableBackend(Buffer.alloc(4096 + overlayBits() + SIZE));
    const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    expect(await put(overlay, CLUSTER + 512, pattern(512, 2), { durable: true })).toBe(0);
    const after = await reopened(top.crash(() => 1));
    const expected = Buffer.from(content.subarray(CLUSTER, 2 * CLUSTER));
    expected.set(pattern(512, 2), 512);
    expect((await readBack(after, CLUSTER, CLUSTER)).equals(expected)).toBe(true);
    await after.close();
  });

  it('a flush that failed has covered nothing, and the next one covers it', async () => {
    const top = new CrashableBackend(Buffer.alloc(4096 + overlayBits() + SIZE));
    const overlay = await OverlayBackend.kept(base(), top, { clusterBytes: CLUSTER });
    await put(overlay, 0, pattern(512, 2));
    top.flushResult = -Errno.EIO;
    expect(await flushed(overlay)).toBe(-Errno.EIO);
    expect(await flushed(overlay)).toBe(0);
    const after = await reopened(top.crash(() => 1));
    expect((await readBack(after, 0, 512)).equals(pattern(512, 2))).toBe(true);
    await after.close();
  });
});

/** Bytes that an overlay keeps for its bits. */
function overlayBits(): number {
  return overlayFileBytes(SIZE, CLUSTER) - SIZE - 4096;
}
