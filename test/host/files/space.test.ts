import { spawnSync } from 'node:child_process';
import { fstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  addressOf,
  blockDeviceSize,
  BlockQuery,
  blockQuery,
  blockRangeAsync,
  BlockRangeCommand,
  blockRangeProbe,
  Errno,
  fallocateAsync,
  FallocateMode,
  IovecBuffer,
  openat,
  OpenFlags,
  pwritev2Async,
  RwfFlags,
  type Completion,
} from '../../../host/index.js';
import { cString, openTemporaryDirectory, owned, temporaryDirectory } from '../support.js';

const ENOTTY = 25;
const ENOTSUP = 95;

function openFile(content: string | Uint8Array): { file: string; fd: number } {
  const { fd: directory, path } = openTemporaryDirectory();
  const file = join(path, 'file');
  writeFileSync(file, content);
  return { file, fd: owned(openat(directory, cString('file'), OpenFlags.O_RDWR, 0)) };
}

const completion = (start: (done: Completion) => void): Promise<number> => new Promise(start);

/** A loop device over a file of `bytes` zeroes, opened; undefined where this user may not have one. */
function openLoopDevice(bytes: number): number | undefined {
  const file = join(temporaryDirectory(), 'backing');
  writeFileSync(file, new Uint8Array(bytes).fill(1));
  const { status, stdout } = spawnSync('losetup', ['--find', '--show', file], { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const device = stdout.trim();
  onTestFinished(() => {
    spawnSync('losetup', ['--detach', device]);
  });
  return owned(openat(-100, cString(device), OpenFlags.O_RDWR, 0));
}

describe('pwritev2Async', () => {
  it('writes on a thread, with flags', async () => {
    const { file, fd } = openFile('0123456789');
    const bytes = Buffer.from('ab');
    const iovecs = new IovecBuffer(1);
    iovecs.set(0, addressOf(bytes), 2);
    expect(await completion((done) => pwritev2Async(fd, iovecs, 1, 3, RwfFlags.RWF_DSYNC, done))).toBe(2);
    expect(readFileSync(file, 'latin1')).toBe('012ab56789');
    const bad = await completion((done) => pwritev2Async(1_000_000, iovecs, 1, 0, 0, done));
    expect([bad, bytes.length]).toEqual([-Errno.EBADF, 2]);
  });
});

describe('fallocateAsync', () => {
  it('zeroes a range on a thread and keeps the size, or says that the file system cannot', async () => {
    const { file, fd } = openFile('x'.repeat(8192));
    const mode = FallocateMode.FALLOC_FL_PUNCH_HOLE | FallocateMode.FALLOC_FL_KEEP_SIZE;
    const result = await completion((done) => fallocateAsync(fd, mode, 1024, 4096, done));
    expect([0, -ENOTSUP]).toContain(result);
    const expected = `${'x'.repeat(1024)}${(result === 0 ? '\0' : 'x').repeat(4096)}${'x'.repeat(3072)}`;
    expect(readFileSync(file, 'latin1')).toBe(expected);
    expect(fstatSync(fd).size).toBe(8192);
  });

  it('answers errors', async () => {
    expect(await completion((done) => fallocateAsync(1_000_000, 0, 0, 1, done))).toBe(-Errno.EBADF);
    const { fd } = openFile('x');
    expect(await completion((done) => fallocateAsync(fd, 0, 0, 0, done))).toBe(-Errno.EINVAL);
  });
});

describe('the questions for block devices', () => {
  it('are refused by files', async () => {
    const { fd } = openFile('x');
    for (const query of Object.values(BlockQuery)) expect(blockQuery(fd, query)).toBe(-ENOTTY);
    expect(blockDeviceSize(fd)).toBe(-ENOTTY);
    expect(blockRangeProbe(fd, BlockRangeCommand.BLKDISCARD)).toBe(-ENOTTY);
    const discard = (done: Completion) => blockRangeAsync(fd, BlockRangeCommand.BLKDISCARD, 0, 512, done);
    expect(await completion(discard)).toBe(-ENOTTY);
  });

  it('are answered by them', async ({ skip }) => {
    const fd = openLoopDevice(1 << 20);
    if (fd === undefined) return skip();
    expect(blockDeviceSize(fd)).toBe(1 << 20);
    expect([blockQuery(fd, BlockQuery.BLKSSZGET), blockQuery(fd, BlockQuery.BLKROGET)]).toEqual([512, 0]);
    expect(blockQuery(fd, BlockQuery.BLKPBSZGET)).toBeGreaterThanOrEqual(512);
    expect(blockRangeProbe(fd, BlockRangeCommand.BLKDISCARD)).toBe(-Errno.EINVAL);
    expect(blockRangeProbe(fd, BlockRangeCommand.BLKSECDISCARD)).toBe(-ENOTSUP);
    const discard = (offset: number) => (done: Completion) =>
      blockRangeAsync(fd, BlockRangeCommand.BLKDISCARD, offset, 4096, done);
    expect(await completion(discard(0))).toBe(0);
    expect(await completion(discard(1 << 20))).toBe(-Errno.EINVAL);
  });
});
