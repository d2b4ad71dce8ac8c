/** Which files become disks, and what an operator reads about those that do not. */
import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
  readdirSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BlockBackendError } from '../../../../../devices/blk/backends/errors.js';
import { FileBackend } from '../../../../../devices/blk/backends/file/file-backend.js';
import { openFileBackend } from '../../../../../devices/blk/backends/file/open-file.js';
import {
  openUnnamedDisk,
  type FileBackendOptions,
} from '../../../../../devices/blk/backends/file/open-disk.js';
import { CAN_DIRECT, temporaryFolder } from '../../support/files.js';
import { pattern, put, readBack } from '../../support/vectors.js';

const SIZE = 64 * 1024;

function fileOf(bytes: Uint8Array | number, name = 'disk.img'): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, typeof bytes === 'number' ? new Uint8Array(bytes) : bytes);
  return path;
}

/** How many descriptors of this process are open on a file. */
function descriptorsOf(path: string): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === path;
    } catch {
      return false;
    }
  }).length;
}

function refusal(options: FileBackendOptions): BlockBackendError {
  const before = descriptorsOf(options.path);
  try {
    openFileBackend(options);
  } catch (error) {
    if (!(error instanceof BlockBackendError)) throw error;
    expect(descriptorsOf(options.path)).toBe(before);
    return error;
  }
  throw new Error('it was opened');
}

describe('a disk', () => {
  it.each([
    ['is not there', '/nonexistent/disk.img', 'BACKEND_MISSING'],
    ['is below a file', '/etc/passwd/disk.img', 'BACKEND_MISSING'],
    ['has NUL in its name', '/tmp/a\0b', 'BACKEND_MISSING'],
    ['is a directory', '/tmp', 'BACKEND_WRONG_KIND'],
    ['is a character device', '/dev/null', 'BACKEND_WRONG_KIND'],
  ])('that %s is refused', (_what, path, code) => {
    expect(refusal({ path }).code).toBe(code);
  });

  it('that is a FIFO is refused, without waiting for who writes to it', () => {
    const path = join(temporaryFolder(), 'fifo');
    expect(spawnSync('mkfifo', [path]).status).toBe(0);
    expect(refusal({ path }).code).toBe('BACKEND_WRONG_KIND');
  });

  it.each([0, 1, 511, 513, 1000])('of %i bytes is refused, and its owner told what to do', (size) => {
    const path = fileOf(size);
    const error = refusal({ path });
    expect([error.code, error.suggestion]).toEqual(['SIZE_INVALID', `grow it: truncate -s %512 ${path}`]);
  });

  it('may be reached by a symbolic link, and be in a path of any bytes', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'ü b'));
    writeFileSync(join(folder, 'ü b', 'disk'), pattern(SIZE, 1));
    symlinkSync('ü b/disk', join(folder, 'link'));
    const backend = openFileBackend({ path: join(folder, 'link') });
    expect((await readBack(backend, 0, SIZE)).equals(pattern(SIZE, 1))).toBe(true);
    await backend.close();
  });

  it('is made where it is not there, and left as it is where it is', async () => {
    const path = join(temporaryFolder(), 'new.img');
    const made = openFileBackend({ path, createBytes: 1 << 30 });
    expect([made.sizeBytes, statSync(path).mode & 0o777, statSync(path).blocks]).toEqual([1 << 30, 0o600, 0]);
    await put(made, 0, pattern(512, 1));
    await made.close();
    const again = openFileBackend({ path, createBytes: 4096 });
    expect([again.sizeBytes, (await readBack(again, 0, 512)).equals(pattern(512, 1))]).toEqual([
      1 << 30,
      true,
    ]);
    await again.close();
  });

  it('cannot be made where there is no directory, nor of half a sector', () => {
    expect(refusal({ path: '/nonexistent/disk.img', createBytes: 512 }).code).toBe('BACKEND_MISSING');
    const path = join(temporaryFolder(), 'odd.img');
    expect(refusal({ path, createBytes: 100 }).code).toBe('SIZE_INVALID');
  });

  it('lets its descriptor go when it is closed', async () => {
    const path = fileOf(SIZE);
    const backend = openFileBackend({ path });
    await readBack(backend, 0, 512);
    expect(descriptorsOf(path)).toBe(1);
    await backend.close();
    expect(descriptorsOf(path)).toBe(0);
  });
});

describe('a disk that somebody has', () => {
  it('for writing is for nobody else', async () => {
    const path = fileOf(SIZE);
    const first = openFileBackend({ path });
    expect(refusal({ path })).toMatchObject({ code: 'BACKEND_BUSY', message: `${path} is in use` });
    expect(refusal({ path, readOnly: true }).message).toContain('somebody who writes to it');
    await first.close();
    await openFileBackend({ path }).close();
  });

  it('for reading may be read by others, and not written', async () => {
    const path = fileOf(SIZE);
    const readers = [openFileBackend({ path, readOnly: true }), openFileBackend({ path, readOnly: true })];
    expect(refusal({ path }).code).toBe('BACKEND_BUSY');
    await readers[0].close();
    expect(refusal({ path }).code).toBe('BACKEND_BUSY');
    await readers[1].close();
    await openFileBackend({ path }).close();
  });
});

describe.skipIf(!CAN_DIRECT)('a disk past the page cache', () => {
  it('is opened so', async () => {
    const path = fileOf(pattern(SIZE, 1));
    const flagsOf = () =>
      readdirSync('/proc/self/fd')
        .map((fd) => {
          try {
            return /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1] ?? '0';
          } catch {
            return '0';
          }
        })
        .filter((flags) => (parseInt(flags, 8) & 0o40000) !== 0).length;
    const before = flagsOf();
    const backend = openFileBackend({ path, direct: true });
    expect(flagsOf()).toBe(before + 1);
    await put(backend, 512, pattern(1536, 2));
    await backend.close();
    expect(readFileSync(path).subarray(512, 2048).equals(pattern(1536, 2))).toBe(true);
  });
});

describe('a file without a name', () => {
  it('is in no folder, has its size, and holds what is written', async () => {
    const folder = temporaryFolder();
    const backend = new FileBackend(openUnnamedDisk(folder, SIZE));
    await put(backend, 512, pattern(1024, 1));
    expect((await readBack(backend, 512, 1024)).equals(pattern(1024, 1))).toBe(true);
    expect([readdirSync(folder), backend.sizeBytes]).toEqual([[], SIZE]);
    await backend.close();
  });

  it.each([
    ['there is not', (folder: string) => join(folder, 'none'), 'BACKEND_MISSING'],
    ['is a file', () => fileOf(1), 'BACKEND_MISSING'],
    ['knows no such files', () => '/proc', 'NOT_SUPPORTED'],
  ])('cannot be in a folder that %s', (_what, folder, code) => {
    const open = () => openUnnamedDisk(folder(temporaryFolder()), SIZE);
    expect(open).toThrow(expect.objectContaining({ code }) as Error);
  });
});
