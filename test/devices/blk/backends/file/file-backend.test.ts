/** Disks in files as the host sees them: their space, their size, and what happens to them underneath. */
import { spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openFileBackend } from '../../../../../devices/blk/backends/file/open-file.js';
import type { BlockBackend } from '../../../../../devices/blk/backends/block-backend.js';
import type { FileBackendOptions } from '../../../../../devices/blk/backends/file/open-disk.js';
import { Errno } from '../../../../../devices/errno.js';
import { CAN_DIRECT, temporaryFolder } from '../../support/files.js';
import { ended, flushed, pattern, put, readBack, vectorOver } from '../../support/vectors.js';

const SIZE = 1 << 20;
const read = (length: number) => vectorOver(new Uint8Array(length));

function disk(options: Partial<FileBackendOptions> = {}, content = pattern(SIZE, 1)) {
  const path = join(temporaryFolder(), 'disk.img');
  writeFileSync(path, content);
  const backend = openFileBackend({ path, ...options });
  onTestFinished(() => backend.close());
  return { path, backend };
}

/** Bytes that the file takes, once the file system has decided. */
function allocated(path: string): number {
  const fd = openSync(path, 'r+');
  fsyncSync(fd);
  closeSync(fd);
  return statSync(path).blocks * 512;
}

describe('a transfer that is too long to be done at once', () => {
  it('is done on a thread, in pieces of as many segments as a system call takes', async () => {
    const { backend } = disk({}, new Uint8Array(4 * SIZE));
    const bytes = pattern(3 * SIZE, 2);
    const cuts = Array.from({ length: 600 }, (_, i) => 4000 + (i % 7));
    expect(await put(backend, 512, bytes, { cuts, native: true })).toBe(0);
    expect((await readBack(backend, 512, 3 * SIZE, cuts)).equals(bytes)).toBe(true);
    expect((await readBack(backend, 0, 512)).every((byte) => byte === 0)).toBe(true);
  });
});

describe('the space of a file', () => {
  it('is given back by a discard', async () => {
    const { path, backend } = disk();
    expect(allocated(path)).toBeGreaterThanOrEqual(SIZE);
    expect(await ended((done) => backend.discard(SIZE / 4, SIZE / 2, done))).toBe(0);
    expect(allocated(path)).toBeLessThanOrEqual(SIZE / 2 + 65536);
    expect(statSync(path).size).toBe(SIZE);
  });

  it('is given back by zeroes that may, and kept by those that may not', async () => {
    const { path, backend } = disk();
    expect(await ended((done) => backend.writeZeroes(0, SIZE / 2, false, done))).toBe(0);
    expect(allocated(path)).toBeGreaterThanOrEqual(SIZE);
    expect(await ended((done) => backend.writeZeroes(0, SIZE, true, done))).toBe(0);
    expect(allocated(path)).toBeLessThanOrEqual(65536);
    expect(readFileSync(path).every((byte) => byte === 0)).toBe(true);
  });
});

describe('a file that is cut off underneath', () => {
  it.each(CAN_DIRECT ? [false, true] : [false])(
    'fails reads beyond its end, and serves the rest (direct: %s)',
    async (direct) => {
      const { path, backend } = disk({ direct });
      truncateSync(path, SIZE / 2);
      expect(await ended((done) => backend.read(SIZE / 2, read(4096), done))).toBe(-Errno.EIO);
      expect(await ended((done) => backend.read(SIZE - 512, read(512), done))).toBe(-Errno.EIO);
      expect(await ended((done) => backend.read(SIZE / 2 - 4096, read(8192), done))).toBe(-Errno.EIO);
      expect((await readBack(backend, 0, 8192)).equals(pattern(SIZE, 1).subarray(0, 8192))).toBe(true);
    },
  );

  it.each(CAN_DIRECT ? [false, true] : [false])(
    'is not made longer again by what the guest writes beyond its end, and takes the rest (direct: %s)',
    async (direct) => {
      const { path, backend } = disk({ direct });
      truncateSync(path, SIZE / 2);
      for (const durable of [false, true]) {
        for (const at of [SIZE / 2 - 4096, SIZE / 2, SIZE - 8192])
          expect(await put(backend, at, pattern(8192, 2), { durable })).toBe(-Errno.EIO);
        expect(await put(backend, SIZE / 2 - 8192, pattern(8192, 3), { durable })).toBe(0);
      }
      for (const mayUnmap of [false, true])
        expect(await ended((done) => backend.writeZeroes(SIZE / 2, 4096, mayUnmap, done))).toBe(-Errno.EIO);
      expect(await ended((done) => backend.discard(0, SIZE, done))).toBe(-Errno.EIO);
      expect(statSync(path).size).toBe(SIZE / 2);
      expect((await readBack(backend, SIZE / 2 - 8192, 8192)).equals(pattern(8192, 3))).toBe(true);
    },
  );

  it('fails each flush from then on, since what was written may be gone', async () => {
    const { path, backend } = disk();
    expect(await put(backend, SIZE - 512, pattern(512, 2))).toBe(0);
    truncateSync(path, SIZE / 2);
    expect(await flushed(backend)).toBe(-Errno.EIO);
    truncateSync(path, SIZE);
    expect(await put(backend, 0, pattern(512, 2))).toBe(0);
    expect(await flushed(backend)).toBe(-Errno.EIO);
  });

  it('fails a flush also where nothing was written since the last one', async () => {
    const { path, backend } = disk();
    expect([await put(backend, 0, pattern(512, 2)), await flushed(backend), await flushed(backend)]).toEqual([
      ...[0, 0, 0],
    ]);
    truncateSync(path, SIZE / 2);
    expect(await flushed(backend)).toBe(-Errno.EIO);
  });

  it.each<[string, (backend: BlockBackend) => Promise<unknown>]>([
    ['read', (backend) => ended((done) => backend.read(SIZE - 512, read(512), done))],
    ['long read', (backend) => ended((done) => backend.read(0, vectorOver(new Uint8Array(SIZE)), done))],
    ['write', (backend) => put(backend, SIZE - 512, pattern(512, 2))],
    ['flush', (backend) => flushed(backend)],
    ['look', async (backend) => expect(backend.trouble).toMatch(/cut off/)],
  ])('is told of once, at the first %s', async (_, use) => {
    const { path, backend } = disk();
    const told: string[] = [];
    backend.troubled = (trouble) => told.push(trouble);
    expect([backend.trouble, told]).toEqual([undefined, []]);
    truncateSync(path, 512);
    for (let i = 0; i < 3; i++) await use(backend);
    const trouble = `${path} was cut off by somebody else, and has 512 of ${SIZE} bytes`;
    expect([backend.trouble, told]).toEqual([trouble, [trouble]]);
  });

  it.each([SIZE, SIZE / 2, 2 * SIZE])('is mended where it is given a size: %i', async (sizeBytes) => {
    const { path, backend } = disk();
    truncateSync(path, SIZE / 2);
    expect([await flushed(backend), await backend.resize(sizeBytes)]).toEqual([-Errno.EIO, 0]);
    expect([backend.trouble, backend.sizeBytes, statSync(path).size]).toEqual([
      undefined,
      sizeBytes,
      sizeBytes,
    ]);
    expect(await put(backend, sizeBytes - 4096, pattern(4096, 2))).toBe(0);
    expect([await flushed(backend), await flushed(backend)]).toEqual([0, 0]);
  });

  it('is mended, and fails one flush yet where none has failed so far', async () => {
    const { path, backend } = disk();
    expect(await put(backend, SIZE - 512, pattern(512, 2))).toBe(0);
    truncateSync(path, SIZE / 2);
    expect(backend.trouble).toMatch(/cut off/);
    expect(await backend.resize(SIZE)).toBe(0);
    expect([await flushed(backend), await flushed(backend)]).toEqual([-Errno.EIO, 0]);
  });

  it('is as large as it then is, if that was meant', async () => {
    const { path, backend } = disk();
    truncateSync(path, SIZE / 2 + 100);
    expect([await backend.refreshSize(), backend.sizeBytes]).toEqual([0, SIZE / 2]);
    truncateSync(path, 2 * SIZE);
    expect([await backend.refreshSize(), backend.sizeBytes]).toEqual([0, 2 * SIZE]);
    truncateSync(path, 100);
    expect([await backend.refreshSize(), backend.sizeBytes]).toEqual([-Errno.EINVAL, 2 * SIZE]);
  });
});

describe('resizing', () => {
  it('changes the file', async () => {
    const { path, backend } = disk();
    expect([await backend.resize(3 * SIZE), statSync(path).size]).toEqual([0, 3 * SIZE]);
    expect([await backend.resize(SIZE / 2), statSync(path).size]).toEqual([0, SIZE / 2]);
    expect(await flushed(backend)).toBe(0);
  });

  it('is refused on a disk that is only read', async () => {
    expect(await disk({ readOnly: true }).backend.resize(2 * SIZE)).toBe(-Errno.EROFS);
  });
});

describe('a file system that is full', () => {
  /** A file system of its own, 256 KiB large; undefined where this user may not mount. */
  function smallFileSystem(): string | undefined {
    const folder = temporaryFolder();
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', folder]).status !== 0) return undefined;
    onTestFinished(() => {
      spawnSync('umount', ['-l', folder]);
    });
    return folder;
  }

  it('fails writes with ENOSPC, and works on what is there', async ({ skip }) => {
    const folder = smallFileSystem();
    if (folder === undefined) return skip();
    const backend = openFileBackend({ path: join(folder, 'disk.img'), createBytes: SIZE });
    onTestFinished(() => backend.close());
    expect(await put(backend, 0, pattern(131072, 1))).toBe(0);
    expect(await put(backend, 131072, pattern(SIZE / 2, 2))).toBe(-Errno.ENOSPC);
    expect(await put(backend, 131072, pattern(SIZE / 2, 2), { durable: true })).toBe(-Errno.ENOSPC);
    expect(await ended((done) => backend.writeZeroes(SIZE / 2, SIZE / 2, false, done))).toBe(-Errno.ENOSPC);
    expect((await readBack(backend, 0, 131072)).equals(pattern(131072, 1))).toBe(true);
    expect(await flushed(backend)).toBe(0);
    expect(await ended((done) => backend.discard(65536, SIZE - 65536, done))).toBe(0);
    expect(await put(backend, SIZE - 65536, pattern(65536, 3))).toBe(0);
    expect(await flushed(backend)).toBe(0);
  });
});
