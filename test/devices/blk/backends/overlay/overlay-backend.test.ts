/** Copy on write: what comes from where, who waits for whom, and what is given back. */
import { describe, expect, it } from 'vitest';
import { MemoryBackend } from '../../../../../devices/blk/backends/memory/memory-backend.js';
import { OverlayBackend } from '../../../../../devices/blk/backends/overlay/overlay-backend.js';
import { Errno } from '../../../../../devices/errno.js';
import { ScriptedBackend } from '../../support/scripted-backend.js';
import { ended, flushed, pattern, put, readBack, vectorOver } from '../../support/vectors.js';

const SIZE = 1 << 20;
const CLUSTER = 65536;
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A base that answers reads from a pattern, and can be made to wait. */
function slowBase() {
  const base = new ScriptedBackend(SIZE, { readOnly: true });
  const content = Buffer.from(pattern(SIZE, 1));
  const fill = () => {
    for (const { operation, offset, vector } of base.calls) {
      if (operation === 'read') vector?.scatter(0, content, offset, vector.byteLength);
    }
  };
  base.answer = ({ offset, vector }) => {
    vector?.scatter(0, content, offset, vector.byteLength);
    return 0;
  };
  return {
    base,
    content,
    hold: () => base.hold('read'),
    release: () => {
      fill();
      base.release();
    },
  };
}

const memoryOf = (overlay: OverlayBackend) => (overlay.store.top as MemoryBackend).allocatedBytes;

describe('an overlay', () => {
  it('leaves its base as it is', async () => {
    const { base } = slowBase();
    const overlay = OverlayBackend.inMemory(base, { clusterBytes: CLUSTER });
    await put(overlay, 512, pattern(CLUSTER * 2, 2));
    await ended((done) => overlay.writeZeroes(5 * CLUSTER + 512, CLUSTER, true, done));
    await ended((done) => overlay.discard(0, SIZE, done));
    await flushed(overlay);
    expect(new Set(base.operations)).toEqual(new Set(['read']));
    await overlay.close();
    expect(base.closed).toBe(1);
  });

  it('asks its base for nothing where whole clusters are written', async () => {
    const { base } = slowBase();
    const overlay = OverlayBackend.inMemory(base, { clusterBytes: CLUSTER });
    const bytes = pattern(2 * CLUSTER, 3);
    await put(overlay, CLUSTER, bytes);
    await ended((done) => overlay.writeZeroes(4 * CLUSTER, CLUSTER, false, done));
    expect((await readBack(overlay, CLUSTER, 2 * CLUSTER)).equals(bytes)).toBe(true);
    expect(base.calls).toEqual([]);
    await overlay.close();
  });

  it('may be larger than its base, and is zeroes there', async () => {
    const content = pattern(3 * 512, 4);
    const base = MemoryBackend.of(content, { readOnly: true });
    const overlay = OverlayBackend.inMemory(base, { sizeBytes: SIZE });
    expect(overlay.sizeBytes).toBe(SIZE);
    const expected = Buffer.alloc(SIZE);
    expected.set(content);
    expect((await readBack(overlay, 0, SIZE)).equals(expected)).toBe(true);
    expected.set(pattern(512, 5), 1024);
    await put(overlay, 1024, pattern(512, 5));
    expected.set(pattern(512, 6), 8192 + 512);
    await put(overlay, 8192 + 512, pattern(512, 6));
    expect((await readBack(overlay, 0, SIZE)).equals(expected)).toBe(true);
    await overlay.close();
  });

  it('may be smaller than its base', async () => {
    const overlay = OverlayBackend.inMemory(MemoryBackend.of(pattern(SIZE, 4)), { sizeBytes: SIZE / 2 });
    expect((await readBack(overlay, 0, SIZE / 2)).equals(pattern(SIZE, 4).subarray(0, SIZE / 2))).toBe(true);
    await overlay.resize(SIZE);
    expect((await readBack(overlay, SIZE / 2, SIZE / 2)).every((byte) => byte === 0)).toBe(true);
    await overlay.close();
  });

  it.each([
    { clusterBytes: 100 },
    { clusterBytes: 256 },
    { clusterBytes: 2 ** 22 },
    { sizeBytes: 100 },
    { sizeBytes: 0 },
  ])('cannot be %j', (options) => {
    expect(() => OverlayBackend.inMemory(new MemoryBackend({ sizeBytes: SIZE }), options)).toThrow(
      /cannot be|a disk has/,
    );
  });

  it('gives the memory of what is discarded back', async () => {
    const overlay = OverlayBackend.inMemory(MemoryBackend.of(pattern(SIZE, 1)));
    await put(overlay, 0, pattern(SIZE, 2));
    expect(memoryOf(overlay)).toBe(SIZE);
    await ended((done) => overlay.discard(CLUSTER, 4 * CLUSTER, done));
    expect(memoryOf(overlay)).toBe(SIZE - 4 * CLUSTER);
    await ended((done) => overlay.writeZeroes(0, SIZE, true, done));
    expect(memoryOf(overlay)).toBe(0);
    expect((await readBack(overlay, 0, SIZE)).every((byte) => byte === 0)).toBe(true);
    await overlay.close();
  });

  it('takes no memory for what is discarded and still the base’s', async () => {
    const overlay = OverlayBackend.inMemory(MemoryBackend.of(pattern(SIZE, 1)));
    await ended((done) => overlay.discard(512, SIZE - 512, done));
    expect(memoryOf(overlay)).toBe(0);
    expect((await readBack(overlay, 0, 512)).equals(pattern(512, 1))).toBe(true);
    await overlay.close();
  });

  it('fails writes beyond its memory with ENOSPC, and keeps what it has', async () => {
    const overlay = OverlayBackend.inMemory(MemoryBackend.of(pattern(SIZE, 1)), { maxBytes: CLUSTER });
    expect(await put(overlay, 0, pattern(CLUSTER, 2))).toBe(0);
    expect(await put(overlay, CLUSTER, pattern(CLUSTER, 3))).toBe(-Errno.ENOSPC);
    expect(await put(overlay, 0, pattern(CLUSTER, 4))).toBe(0);
    const read = await readBack(overlay, 0, 2 * CLUSTER);
    expect(read.subarray(0, CLUSTER).equals(pattern(CLUSTER, 4))).toBe(true);
    expect(read.subarray(CLUSTER).equals(pattern(SIZE, 1).subarray(CLUSTER, 2 * CLUSTER))).toBe(true);
    await overlay.close();
  });

  it('fails what needs a base that fails, and nothing else', async () => {
    const { base, content } = slowBase();
    const overlay = OverlayBackend.inMemory(base, { clusterBytes: CLUSTER });
    await put(overlay, 0, pattern(CLUSTER, 2));
    const { answer } = base;
    base.answer = () => -Errno.EIO;
    expect(await put(overlay, CLUSTER + 512, pattern(512, 3))).toBe(-Errno.EIO);
    const into = vectorOver(new Uint8Array(2 * CLUSTER));
    expect(await ended((done) => overlay.read(0, into, done))).toBe(-Errno.EIO);
    expect(await put(overlay, 0, pattern(CLUSTER, 4))).toBe(0);
    base.answer = answer;
    expect(await put(overlay, CLUSTER + 512, pattern(512, 3))).toBe(0);
    const expected = Buffer.from(content.subarray(CLUSTER, 2 * CLUSTER));
    expected.set(pattern(512, 3), 512);
    expect((await readBack(overlay, CLUSTER, CLUSTER)).equals(expected)).toBe(true);
    await overlay.close();
  });
});

describe('while a cluster is copied from the base', () => {
  async function copying() {
    const slow = slowBase();
    const overlay = OverlayBackend.inMemory(slow.base, { clusterBytes: CLUSTER });
    slow.hold();
    const first = put(overlay, CLUSTER + 512, pattern(512, 2));
    await nextTurn();
    const expected = Buffer.from(slow.content.subarray(CLUSTER, 2 * CLUSTER));
    expected.set(pattern(512, 2), 512);
    return { ...slow, overlay, first, expected };
  }

  it('a write to another part of it waits, and neither undoes the other', async () => {
    const { overlay, first, expected, base, release } = await copying();
    const second = put(overlay, CLUSTER + 2048, pattern(1024, 3));
    await nextTurn();
    expect(base.held).toHaveLength(1);
    expected.set(pattern(1024, 3), 2048);
    release();
    expect(await Promise.all([first, second])).toEqual([0, 0]);
    expect(base.calls).toHaveLength(1);
    expect((await readBack(overlay, CLUSTER, CLUSTER)).equals(expected)).toBe(true);
    await overlay.close();
  });

  it('a write of all of it waits, too, and is what remains', async () => {
    const { overlay, first, release } = await copying();
    const whole = put(overlay, CLUSTER, pattern(CLUSTER, 4));
    release();
    expect(await Promise.all([first, whole])).toEqual([0, 0]);
    expect((await readBack(overlay, CLUSTER, CLUSTER)).equals(pattern(CLUSTER, 4))).toBe(true);
    await overlay.close();
  });

  it('zeroes over it wait, too', async () => {
    const { overlay, first, release } = await copying();
    const zeroes = ended((done) => overlay.writeZeroes(0, 3 * CLUSTER, true, done));
    release();
    expect(await Promise.all([first, zeroes])).toEqual([0, 0]);
    expect((await readBack(overlay, 0, 3 * CLUSTER)).every((byte) => byte === 0)).toBe(true);
    await overlay.close();
  });

  it('writes elsewhere go on', async () => {
    const { overlay, first, release } = await copying();
    expect(await put(overlay, 3 * CLUSTER, pattern(CLUSTER, 4))).toBe(0);
    release();
    expect(await first).toBe(0);
    await overlay.close();
  });

  it('reads see the base', async () => {
    const { overlay, first, base, content, release, expected } = await copying();
    const read = readBack(overlay, CLUSTER, CLUSTER);
    await nextTurn();
    expect(base.held).toHaveLength(2);
    release();
    expect((await read).equals(content.subarray(CLUSTER, 2 * CLUSTER))).toBe(true);
    await first;
    expect((await readBack(overlay, CLUSTER, CLUSTER)).equals(expected)).toBe(true);
    await overlay.close();
  });

  it('a failure lets those go on that waited', async () => {
    const { overlay, first, base } = await copying();
    const second = put(overlay, CLUSTER, pattern(CLUSTER, 3));
    base.release(-Errno.EIO);
    expect(await Promise.all([first, second])).toEqual([-Errno.EIO, 0]);
    await overlay.close();
  });
});
