/** Block devices of the host: loop devices over files, where this user may have some. */
import { spawnSync } from 'node:child_process';
import { closeSync, fsyncSync, openSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openFileBackend } from '../../../../../devices/blk/backends/file/open-file.js';
import { Errno } from '../../../../../devices/errno.js';
import { temporaryFolder } from '../../support/files.js';
import { ended, flushed, pattern, put, readBack } from '../../support/vectors.js';

const SIZE = 4 << 20;

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** A loop device over a new file, and the file; gone with the test. */
function loopDevice(...options: string[]) {
  const file = join(temporaryFolder(), 'backing.img');
  writeFileSync(file, pattern(SIZE, 1));
  const device = run('losetup', '--find', '--show', ...options, file);
  onTestFinished(() => {
    run('losetup', '--detach', device);
  });
  return { file, device };
}

const canLoop = (() => {
  const probe = spawnSync('losetup', ['--find', '--show', '/etc/os-release'], { encoding: 'utf8' });
  if (probe.status === 0) spawnSync('losetup', ['--detach', probe.stdout.trim()]);
  return probe.status === 0;
})();

describe.skipIf(!canLoop)('a block device', () => {
  it.each([
    ['as it is', [], { logicalBlockBytes: 512 }],
    ['with blocks of 4 KiB', ['--sector-size', '4096'], { logicalBlockBytes: 4096 }],
  ])('%s is a disk', async (_how, options, limits) => {
    const { device } = loopDevice(...options);
    const backend = openFileBackend({ path: device });
    expect(backend.sizeBytes).toBe(SIZE);
    expect(backend.limits).toMatchObject({ ...limits, secureErase: undefined, hasLifetime: false });
    const expected = Buffer.from(pattern(SIZE, 1));
    for (const [offset, length] of [
      [512, 512],
      [4096, 65536],
      [SIZE - 1536, 1536],
    ]) {
      expect(await put(backend, offset, pattern(length, 3), { durable: offset === 4096 })).toBe(0);
      expected.set(pattern(length, 3), offset);
    }
    for (const [offset, length] of [
      [131072 + 512, 8192],
      [262144, 65536],
    ]) {
      expect(await ended((done) => backend.writeZeroes(offset, length, offset === 262144, done))).toBe(0);
      expected.fill(0, offset, offset + length);
    }
    expect(await flushed(backend)).toBe(0);
    expect((await readBack(backend, 0, SIZE)).equals(expected)).toBe(true);
    await backend.close();
  });

  it('gives space back to what lies below it', async () => {
    const { device, file } = loopDevice();
    const backend = openFileBackend({ path: device });
    expect(backend.limits.discard?.alignmentBytes).toBeGreaterThanOrEqual(512);
    expect(await ended((done) => backend.discard(0, SIZE, done))).toBe(0);
    expect(await flushed(backend)).toBe(0);
    const fd = openSync(file, 'r+');
    fsyncSync(fd);
    closeSync(fd);
    expect(statSync(file).blocks * 512).toBeLessThan(SIZE / 4);
    await backend.close();
  });

  it('is not discarded in parts of its blocks', async () => {
    const { device } = loopDevice('--sector-size', '4096');
    const backend = openFileBackend({ path: device });
    expect(await ended((done) => backend.discard(512, 512, done))).toBe(0);
    expect(await ended((done) => backend.discard(512, 8192, done))).toBe(0);
    const read = await readBack(backend, 0, 16384);
    expect(read.subarray(0, 4096).equals(pattern(SIZE, 1).subarray(0, 4096))).toBe(true);
    expect(read.subarray(8192).equals(pattern(SIZE, 1).subarray(8192, 16384))).toBe(true);
    await backend.close();
  });

  it('is read and written past the page cache', async () => {
    const { device } = loopDevice();
    const backend = openFileBackend({ path: device, direct: true });
    expect(await put(backend, 512, pattern(5000 * 512, 2), { native: true })).toBe(0);
    expect((await readBack(backend, 512, 5000 * 512)).equals(pattern(5000 * 512, 2))).toBe(true);
    await backend.close();
  });

  it('that is mounted is the host’s', () => {
    const { device } = loopDevice();
    const folder = temporaryFolder();
    run('mkfs.ext4', '-q', '-F', device);
    run('mount', device, folder);
    onTestFinished(() => {
      run('umount', folder);
    });
    expect(() => openFileBackend({ path: device })).toThrow(`${device} is in use by the host`);
  });

  it('that is read-only is so here, too', async () => {
    const { device } = loopDevice('--read-only');
    expect(() => openFileBackend({ path: device })).toThrow(/read-only|Read-only|read only/i);
    const backend = openFileBackend({ path: device, readOnly: true });
    expect(await put(backend, 0, pattern(512, 1))).toBe(-Errno.EROFS);
    expect((await readBack(backend, 0, 4096)).equals(pattern(SIZE, 1).subarray(0, 4096))).toBe(true);
    await backend.close();
  });

  it('is as large as it then is when it was resized, and cannot be resized from here', async () => {
    const { device, file } = loopDevice();
    const backend = openFileBackend({ path: device });
    expect(await backend.resize(2 * SIZE)).toBe(-Errno.EOPNOTSUPP);
    run('truncate', '-s', String(2 * SIZE), file);
    run('losetup', '--set-capacity', device);
    expect([await backend.refreshSize(), backend.sizeBytes]).toEqual([0, 2 * SIZE]);
    await backend.close();
  });
});
