import { describe, expect, it, vi } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { readBytes, writeBytes } from '../../../../../devices/blk/backends/bytes.js';
import { MemoryBackend } from '../../../../../devices/blk/backends/memory/memory-backend.js';
import { Errno } from '../../../../../devices/errno.js';
import { ScriptedBackend } from '../../support/scripted-backend.js';
import { ended, pattern, put, readBack } from '../../support/vectors.js';

const PAGE = 16384;

describe('a disk in memory', () => {
  it.each([0, -512, 100, 513, 1.5, NaN, 2 ** 60])('cannot have %d bytes', (sizeBytes) => {
    expect(() => new MemoryBackend({ sizeBytes })).toThrow(BlockBackendError);
  });

  it('takes memory as it is written, and not before', async () => {
    const disk = new MemoryBackend({ sizeBytes: 2 ** 50 });
    expect(disk.allocatedBytes).toBe(0);
    expect((await readBack(disk, 2 ** 49, 4096)).every((byte) => byte === 0)).toBe(true);
    await put(disk, 2 ** 50 - 512, pattern(512, 1));
    await put(disk, PAGE - 512, pattern(1024, 2));
    expect(disk.allocatedBytes).toBe(3 * PAGE);
    expect((await readBack(disk, 2 ** 50 - 512, 512)).equals(pattern(512, 1))).toBe(true);
  });

  it('gives memory back for what is discarded, zeroed or erased', async () => {
    const disk = new MemoryBackend({ sizeBytes: 8 * PAGE });
    await put(disk, 0, pattern(8 * PAGE, 1));
    await ended(() => disk.discard(PAGE, PAGE));
    expect(disk.allocatedBytes).toBe(7 * PAGE);
    await ended(() => disk.writeZeroes(2 * PAGE, PAGE, true));
    expect(disk.allocatedBytes).toBe(6 * PAGE);
    await ended(() => disk.secureErase(3 * PAGE, PAGE));
    expect(disk.allocatedBytes).toBe(5 * PAGE);
    await ended(() => disk.writeZeroes(0, 4 * PAGE, false));
    expect(disk.allocatedBytes).toBe(8 * PAGE);
  });

  it('erases the very memory that held the data', async () => {
    const disk = MemoryBackend.of(pattern(PAGE, 1));
    const fill = vi.spyOn(Uint8Array.prototype, 'fill');
    disk.secureErase(0, PAGE);
    const filled = fill.mock.contexts as Uint8Array[];
    fill.mockRestore();
    expect(filled.some((bytes) => bytes.length === PAGE && bytes.every((byte) => byte === 0))).toBe(true);
  });

  it('fails with ENOSPC beyond the memory that it may take', async () => {
    const disk = new MemoryBackend({ sizeBytes: 8 * PAGE, maxBytes: 2 * PAGE });
    expect(await put(disk, 0, pattern(2 * PAGE, 1))).toBe(0);
    expect(await put(disk, 4 * PAGE, pattern(512, 1))).toBe(-Errno.ENOSPC);
    expect(disk.writeZeroes(4 * PAGE, PAGE, false)).toBe(-Errno.ENOSPC);
    expect(disk.writeZeroes(4 * PAGE, PAGE, true)).toBe(0);
    disk.discard(0, PAGE);
    expect(await put(disk, 4 * PAGE, pattern(512, 1))).toBe(0);
  });

  it('is made of any bytes, filled up to a sector', async () => {
    const disk = MemoryBackend.of(pattern(1000, 3));
    expect(disk.sizeBytes).toBe(1024);
    const read = await readBytes(disk, 0, 1024);
    expect(Buffer.from(read).equals(Buffer.concat([pattern(1000, 3), Buffer.alloc(24)]))).toBe(true);
  });
});

describe('bytes of a disk, for programs', () => {
  it('are read and written as arrays', async () => {
    const disk = new MemoryBackend({ sizeBytes: 4096 });
    await writeBytes(disk, 512, pattern(1024, 1));
    await writeBytes(disk, 0, new Uint8Array(0));
    expect(Buffer.from(await readBytes(disk, 512, 1024)).equals(pattern(1024, 1))).toBe(true);
    expect(await readBytes(disk, 0, 0)).toEqual(new Uint8Array(0));
  });

  it('that cannot be had are an error with its errno', async () => {
    const backend = new ScriptedBackend();
    backend.answer = ({ operation }) => (operation === 'read' ? -Errno.EIO : -1000);
    await expect(readBytes(backend, 512, 512)).rejects.toMatchObject({
      message: 'cannot read at byte 512: EIO',
      errno: -Errno.EIO,
    });
    await expect(writeBytes(backend, 0, new Uint8Array(512), true)).rejects.toThrow('errno 1000');
    expect(backend.calls.at(-1)?.durable).toBe(true);
  });
});
