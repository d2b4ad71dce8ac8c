import { lstatSync, openSync, read, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  addressOf,
  Errno,
  fallocate,
  FallocateMode,
  fdatasync,
  fdatasyncAsync,
  fsync,
  fsyncAsync,
  IovecBuffer,
  lseek,
  memfdCreate,
  mknodat,
  ModeBits,
  openat,
  OpenFlags,
  pread,
  preadv,
  preadv2,
  preadvAsync,
  pwrite,
  pwritev,
  pwritev2,
  pwritevAsync,
  RwfFlags,
  seekTo,
  SeekWhence,
  SharedMapping,
  type Completion,
} from '../../../host/index.js';
import { collectGarbage, cString, openTemporaryDirectory, owned } from '../support.js';

const EAGAIN_OR_NOTSUP = [-Errno.EAGAIN, -95];

function openFile(content: string): { file: string; fd: number } {
  const { fd: directory, path } = openTemporaryDirectory();
  const file = join(path, 'file');
  writeFileSync(file, content);
  return { file, fd: owned(openat(directory, cString('file'), OpenFlags.O_RDWR, 0)) };
}

/** Iovecs hold addresses only: the buffers live as long as the iovecs by this. */
const keptAlive = new WeakMap<IovecBuffer, Uint8Array[]>();

function iovecsOf(...buffers: Uint8Array[]): IovecBuffer {
  const iovecs = new IovecBuffer(buffers.length);
  keptAlive.set(iovecs, buffers);
  buffers.forEach((buffer, i) => {
    iovecs.set(i, addressOf(buffer), buffer.byteLength);
  });
  return iovecs;
}

const text = (...buffers: Uint8Array[]): string => Buffer.concat(buffers).toString('latin1');

/** Occupies all of libuv's threads with reads of an empty FIFO, until the function returned is called. */
async function blockThreads(): Promise<() => void> {
  const { fd: directory, path } = openTemporaryDirectory();
  mknodat(directory, cString('fifo'), ModeBits.S_IFIFO | 0o600, 0);
  const fifo = owned(openSync(join(path, 'fifo'), 'r+'));
  const threads = Number(process.env.UV_THREADPOOL_SIZE ?? 4);
  for (let i = 0; i < threads; i++) read(fifo, new Uint8Array(1), 0, 1, null, () => undefined);
  await nextTurn();
  return () => {
    writeSync(fifo, new Uint8Array(threads));
  };
}

function completion(start: (done: Completion) => void): Promise<number> {
  return new Promise(start);
}

describe('pread and pwrite', () => {
  it('move bytes between a file and a place in a buffer', () => {
    const { file, fd } = openFile('0123456789');
    const buffer = new Uint8Array(8);
    expect(pread(fd, buffer, 2, 4, 5)).toBe(4);
    expect(text(buffer)).toBe('\0\x005678\0\0');
    expect(pwrite(fd, Buffer.from('abcdef'), 2, 3, 1)).toBe(3);
    expect(readFileSync(file, 'latin1')).toBe('0cde456789');
    expect(pread(fd, buffer, 0, 8, 8)).toBe(2);
    expect(pread(fd, buffer, 0, 8, 100)).toBe(0);
    expect(pread(fd, buffer, 8, 0, 0)).toBe(0);
  });

  it('refuse a range outside the buffer before the kernel could write there', () => {
    const { fd } = openFile('0123456789');
    for (const [offset, length] of [
      [0, 5],
      [4, 1],
      [-1, 2],
      [NaN, 1],
      [0, NaN],
    ]) {
      expect(() => pread(fd, new Uint8Array(4), offset, length, 0)).toThrow(RangeError);
      expect(() => pwrite(fd, new Uint8Array(4), offset, length, 0)).toThrow(RangeError);
    }
  });

  it('return errno values', () => {
    const { fd } = openFile('x');
    const buffer = new Uint8Array(4);
    expect(pread(1_000_000, buffer, 0, 4, 0)).toBe(-Errno.EBADF);
    expect(pread(fd, buffer, 0, 4, -1)).toBe(-Errno.EINVAL);
  });
});

describe.each([
  ['preadv and pwritev', preadv, pwritev],
  [
    'preadv2 and pwritev2',
    (fd: number, iovecs: IovecBuffer, count: number, offset: number) => preadv2(fd, iovecs, count, offset, 0),
    (fd: number, iovecs: IovecBuffer, count: number, offset: number) =>
      pwritev2(fd, iovecs, count, offset, 0),
  ],
])('%s', (_name, readv, writev) => {
  it('scatter and gather', () => {
    const { file, fd } = openFile('0123456789');
    const [one, two] = [new Uint8Array(3), new Uint8Array(4)];
    expect(readv(fd, iovecsOf(one, two), 2, 1)).toBe(7);
    expect([text(one), text(two)]).toEqual(['123', '4567']);
    expect(writev(fd, iovecsOf(Buffer.from('ab'), Buffer.from('c')), 2, 4)).toBe(3);
    expect(readFileSync(file, 'latin1')).toBe('0123abc789');
    expect(readv(fd, iovecsOf(one, two), 1, 0)).toBe(3);
  });

  it('work beyond 4 GiB', () => {
    const fd = owned(memfdCreate('sparse', 6_000_000_000));
    const offset = 5_000_000_001;
    expect(writev(fd, iovecsOf(Buffer.from('far')), 1, offset)).toBe(3);
    const back = new Uint8Array(5);
    expect(readv(fd, iovecsOf(back), 1, offset - 1)).toBe(5);
    expect(text(back)).toBe('\0far\0');
  });

  it('move file data to and from a shared mapping with no buffer in between', () => {
    const { fd } = openFile('guest data');
    const mapping = new SharedMapping(owned(memfdCreate('guest', 4096)));
    const iovecs = new IovecBuffer(1);
    iovecs.set(0, mapping.address + 1000, 10);
    expect(readv(fd, iovecs, 1, 0)).toBe(10);
    expect(text(mapping.window(1000, 10))).toBe('guest data');
    iovecs.set(0, mapping.address + 1006, 4);
    expect(writev(fd, iovecs, 1, 0)).toBe(4);
    expect(readv(fd, iovecsOf(mapping.window(0, 10)), 1, 0)).toBe(10);
    expect(text(mapping.window(0, 10))).toBe('datat data');
    mapping.close();
  });
});

describe('preadv2', () => {
  it('with RWF_NOWAIT reads what is cached, or says that it would wait', () => {
    const { fd } = openFile('cached');
    const buffer = new Uint8Array(6);
    expect(preadv(fd, iovecsOf(buffer), 1, 0)).toBe(6);
    buffer.fill(0);
    const bytes = preadv2(fd, iovecsOf(buffer), 1, 0, RwfFlags.RWF_NOWAIT);
    if (bytes >= 0) expect([bytes, text(buffer)]).toEqual([6, 'cached']);
    else expect(EAGAIN_OR_NOTSUP).toContain(bytes);
  });

  it('refuses flags that the kernel does not know', () => {
    const { fd } = openFile('x');
    expect(preadv2(fd, iovecsOf(new Uint8Array(1)), 1, 0, 0x40000000)).toBe(-95);
  });
});

describe('asynchronous calls', () => {
  it('read, write and sync on a thread', async () => {
    const { file, fd } = openFile('0123456789');
    const buffer = new Uint8Array(4);
    expect(await completion((done) => preadvAsync(fd, iovecsOf(buffer), 1, 3, done))).toBe(4);
    expect(text(buffer)).toBe('3456');
    expect(await completion((done) => pwritevAsync(fd, iovecsOf(Buffer.from('ab')), 1, 0, done))).toBe(2);
    expect(await completion((done) => fsyncAsync(fd, done))).toBe(0);
    expect(await completion((done) => fdatasyncAsync(fd, done))).toBe(0);
    expect(readFileSync(file, 'latin1')).toBe('ab23456789');
  });

  it('deliver their own errno, whatever failed in the meantime', async () => {
    const results = await Promise.all([
      completion((done) => preadvAsync(1_000_000, iovecsOf(new Uint8Array(1)), 1, 0, done)),
      completion((done) => fsyncAsync(1_000_000, done)),
      completion((done) => preadvAsync(owned(openFile('x').fd), iovecsOf(new Uint8Array(1)), 1, -1, done)),
    ]);
    expect(results).toEqual([-Errno.EBADF, -Errno.EBADF, -Errno.EINVAL]);
  });

  it('keep the iovecs until the thread has read them, though the caller lets go of them', async () => {
    const { fd } = openFile('0123456789');
    const release = await blockThreads();
    const buffer = new Uint8Array(10);
    const submitted = ((): { iovecs: WeakRef<IovecBuffer>; read: Promise<number> } => {
      const iovecs = iovecsOf(buffer);
      return {
        iovecs: new WeakRef(iovecs),
        read: completion((done) => preadvAsync(fd, iovecs, 1, 0, done)),
      };
    })();
    // A WeakRef holds its target for the job that made it.
    await nextTurn();
    collectGarbage();
    expect(submitted.iovecs.deref()).toBeDefined();
    release();
    expect(await submitted.read).toBe(10);
    expect(text(buffer)).toBe('0123456789');
  });

  it('complete every one of more calls than can be queued, none of them early', async () => {
    const { fd } = openFile('x');
    const iovecs = iovecsOf(new Uint8Array(1));
    const count = 5000;
    let completed = 0;
    const all = new Promise<void>((resolve) => {
      for (let i = 0; i < count; i++) {
        preadvAsync(fd, iovecs, 1, 0, (value) => {
          completed += value;
          if (completed === count) resolve();
        });
      }
    });
    expect(completed).toBe(0);
    await all;
    expect(completed).toBe(count);
  });
});

describe('fallocate, lseek and sync', () => {
  it('reserve and punch, and find data and holes', () => {
    const fd = owned(memfdCreate('holes', 65536));
    expect(pwrite(fd, Buffer.from('data'), 0, 4, 32768)).toBe(4);
    expect(lseek(fd, 0, SeekWhence.SEEK_DATA)).toBe(32768);
    const { FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE } = FallocateMode;
    expect(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 32768, 4096)).toBe(0);
    expect(lseek(fd, 0, SeekWhence.SEEK_DATA)).toBe(-6);
    expect(lseek(fd, -1, SeekWhence.SEEK_END)).toBe(65535);
    expect(lseek(fd, -1, SeekWhence.SEEK_SET)).toBe(-Errno.EINVAL);
  });

  it('seek to positions of 64 bits, in two halves', () => {
    const fd = owned(memfdCreate('seek', 4096));
    expect(seekTo(fd, 0xfffff001, 0)).toBe(0);
    expect(lseek(fd, 0, SeekWhence.SEEK_CUR)).toBe(0xfffff001);
    expect(seekTo(fd, 0xffffffff, 0x7fffffff)).toBe(0);
    expect(lseek(fd, 0, SeekWhence.SEEK_CUR)).toBe(-Errno.EOVERFLOW);
    expect(seekTo(fd, 0, 0x80000000)).toBe(-Errno.EINVAL);
    expect(seekTo(1_000_000, 0, 0)).toBe(-Errno.EBADF);
  });

  it('grow a file and make it durable', () => {
    const { file, fd } = openFile('x');
    expect(fallocate(fd, 0, 0, 8192)).toBe(0);
    expect(lstatSync(file).size).toBe(8192);
    expect([fsync(fd), fdatasync(fd)]).toEqual([0, 0]);
    expect(fsync(1_000_000)).toBe(-Errno.EBADF);
    expect(fallocate(fd, 0, 0, 0)).toBe(-Errno.EINVAL);
  });
});
