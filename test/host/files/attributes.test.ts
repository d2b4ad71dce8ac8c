import { constants, lstatSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  AtFlags,
  Errno,
  fchmod,
  fchmodat,
  fchmodOPath,
  fchown,
  fchownat,
  fstatfs,
  fstatx,
  ftruncate,
  ftruncateOPath,
  futimens,
  futimensOPath,
  geteuid,
  openat,
  OpenFlags,
  STATFS,
  STATFS_BYTES,
  STATX,
  statx,
  STATX_BYTES,
  StatxMask,
  UTIME_NOW,
  UTIME_OMIT,
  UTIMENS,
  UTIMENS_BYTES,
  utimensat,
} from '../../../host/index.js';
import { cString, openTemporaryDirectory, owned } from '../support.js';

const { O_RDWR, O_PATH, O_NOFOLLOW } = OpenFlags;
const EACCES_OR_NOTSUP = [-95, -13, -1];

function directoryWithFile(): { path: string; file: string; directory: number; fd: number; handle: number } {
  const { fd: directory, path } = openTemporaryDirectory();
  const file = join(path, 'file');
  writeFileSync(file, 'twelve bytes', { mode: 0o644 });
  return {
    path,
    file,
    directory,
    fd: owned(openat(directory, cString('file'), O_RDWR, 0)),
    handle: owned(openat(directory, cString('file'), O_PATH | O_NOFOLLOW, 0)),
  };
}

function times(atimeSec: number, atimeNsec: number, mtimeSec: number, mtimeNsec: number): Uint8Array {
  const bytes = new Uint8Array(UTIMENS_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigInt64(UTIMENS.atimeSec, BigInt(atimeSec), true);
  view.setBigInt64(UTIMENS.atimeNsec, BigInt(atimeNsec), true);
  view.setBigInt64(UTIMENS.mtimeSec, BigInt(mtimeSec), true);
  view.setBigInt64(UTIMENS.mtimeNsec, BigInt(mtimeNsec), true);
  return bytes;
}

describe('statx', () => {
  it('fills every field where Node finds the same', () => {
    const { file, directory } = directoryWithFile();
    const bytes = new Uint8Array(STATX_BYTES);
    const view = new DataView(bytes.buffer);
    expect(
      statx(directory, cString('file'), AtFlags.AT_SYMLINK_NOFOLLOW, StatxMask.STATX_BASIC_STATS, bytes),
    ).toBe(0);
    const expected = lstatSync(file, { bigint: true });
    expect(view.getUint32(STATX.mask, true) & StatxMask.STATX_BASIC_STATS).toBe(StatxMask.STATX_BASIC_STATS);
    expect({
      blksize: view.getUint32(STATX.blksize, true),
      nlink: view.getUint32(STATX.nlink, true),
      uid: view.getUint32(STATX.uid, true),
      gid: view.getUint32(STATX.gid, true),
      mode: view.getUint16(STATX.mode, true),
      ino: view.getBigUint64(STATX.ino, true),
      size: view.getBigUint64(STATX.size, true),
      blocks: view.getBigUint64(STATX.blocks, true),
      dev: [view.getUint32(STATX.devMajor, true), view.getUint32(STATX.devMinor, true)],
      rdev: [view.getUint32(STATX.rdevMajor, true), view.getUint32(STATX.rdevMinor, true)],
    }).toEqual({
      blksize: Number(expected.blksize),
      nlink: Number(expected.nlink),
      uid: Number(expected.uid),
      gid: Number(expected.gid),
      mode: Number(expected.mode),
      ino: expected.ino,
      size: expected.size,
      blocks: expected.blocks,
      dev: [
        Number((expected.dev >> 8n) & 0xfffn),
        Number((expected.dev & 0xffn) | ((expected.dev >> 12n) & 0xfff00n)),
      ],
      rdev: [0, 0],
    });
    for (const [offset, ns] of [
      [STATX.atime, expected.atimeNs],
      [STATX.mtime, expected.mtimeNs],
      [STATX.ctime, expected.ctimeNs],
    ] as const) {
      expect(view.getBigInt64(offset, true) * 1_000_000_000n + BigInt(view.getUint32(offset + 8, true))).toBe(
        ns,
      );
    }
  });

  it('of a descriptor sees the link itself behind O_PATH, and a device number', () => {
    const { path, directory } = directoryWithFile();
    symlinkSync('/nowhere', join(path, 'link'));
    const link = owned(openat(directory, cString('link'), O_PATH | O_NOFOLLOW, 0));
    const bytes = new Uint8Array(STATX_BYTES);
    const view = new DataView(bytes.buffer);
    expect(fstatx(link, 0, StatxMask.STATX_BASIC_STATS, bytes)).toBe(0);
    expect(view.getUint16(STATX.mode, true) & constants.S_IFMT).toBe(constants.S_IFLNK);
    expect(statx(directory, cString('/dev/null'), 0, StatxMask.STATX_BASIC_STATS, bytes)).toBe(0);
    expect([view.getUint32(STATX.rdevMajor, true), view.getUint32(STATX.rdevMinor, true)]).toEqual([1, 3]);
  });

  it('returns errno values', () => {
    const { directory } = directoryWithFile();
    const bytes = new Uint8Array(STATX_BYTES);
    expect(statx(directory, cString('missing'), 0, StatxMask.STATX_BASIC_STATS, bytes)).toBe(-Errno.ENOENT);
    expect(fstatx(1_000_000, 0, StatxMask.STATX_BASIC_STATS, bytes)).toBe(-Errno.EBADF);
  });
});

describe('mode and owner', () => {
  it('change by descriptor, by name and behind O_PATH', () => {
    const { file, directory, fd, handle } = directoryWithFile();
    const mode = (): number => lstatSync(file).mode & 0o7777;
    expect([fchmod(fd, 0o600), mode()]).toEqual([0, 0o600]);
    expect([fchmodat(directory, cString('file'), 0o640), mode()]).toEqual([0, 0o640]);
    expect(fchmod(handle, 0o700)).toBe(-Errno.EBADF);
    expect([fchmodOPath(handle, 0o4700), mode()]).toEqual([0, 0o4700]);
  });

  it('of a symbolic link never reach the file it points to', () => {
    const { path, file, directory } = directoryWithFile();
    symlinkSync('file', join(path, 'link'));
    const link = owned(openat(directory, cString('link'), O_PATH | O_NOFOLLOW, 0));
    expect(EACCES_OR_NOTSUP).toContain(fchmodOPath(link, 0o777));
    expect(lstatSync(file).mode & 0o777).toBe(0o644);
  });

  it('the owner is set through any kind of descriptor, or left as it is', () => {
    const { file, directory, fd, handle } = directoryWithFile();
    const { uid, gid } = lstatSync(file);
    expect(fchown(fd, uid, gid)).toBe(0);
    expect(fchown(handle, 0xffffffff, 0xffffffff)).toBe(0);
    expect(fchownat(directory, cString('file'), uid, 0xffffffff, AtFlags.AT_SYMLINK_NOFOLLOW)).toBe(0);
    expect(fchown(1_000_000, uid, gid)).toBe(-Errno.EBADF);
    expect(uid).toBe(geteuid());
  });
});

describe('times', () => {
  it('are set to the nanosecond by descriptor, by name and behind O_PATH', () => {
    const { file, directory, fd, handle } = directoryWithFile();
    const seen = (): bigint[] => {
      const { atimeNs, mtimeNs } = lstatSync(file, { bigint: true });
      return [atimeNs, mtimeNs];
    };
    expect(futimens(fd, times(1, 2, 3, 4))).toBe(0);
    expect(seen()).toEqual([1_000_000_002n, 3_000_000_004n]);
    expect(futimens(handle, times(1, 1, 1, 1))).toBe(-Errno.EBADF);
    expect(futimensOPath(handle, times(5, 6, 7, 8))).toBe(0);
    expect(seen()).toEqual([5_000_000_006n, 7_000_000_008n]);
    expect(utimensat(directory, cString('file'), times(0, UTIME_OMIT, 9, 10), 0)).toBe(0);
    expect(seen()).toEqual([5_000_000_006n, 9_000_000_010n]);
    expect(futimens(fd, times(0, UTIME_NOW, 0, UTIME_OMIT))).toBe(0);
    expect(seen()[0]).toBeGreaterThan(10n ** 18n);
    expect(futimens(fd, times(0, 10 ** 9, 0, 0))).toBe(-Errno.EINVAL);
  });

  it('of a symbolic link are its own', () => {
    const { path, file, directory } = directoryWithFile();
    symlinkSync('file', join(path, 'link'));
    const link = owned(openat(directory, cString('link'), O_PATH | O_NOFOLLOW, 0));
    expect(futimensOPath(link, times(1, 0, 1, 0))).toBe(0);
    expect(lstatSync(join(path, 'link')).mtimeMs).toBe(1000);
    expect(lstatSync(file).mtimeMs).toBeGreaterThan(1000);
  });
});

describe('size', () => {
  it('changes by descriptor and behind O_PATH, beyond 4 GiB too', () => {
    const { file, fd, handle } = directoryWithFile();
    expect([ftruncate(fd, 5_000_000_000), lstatSync(file).size]).toEqual([0, 5_000_000_000]);
    expect([ftruncateOPath(handle, 3), lstatSync(file).size]).toEqual([0, 3]);
    expect(ftruncate(fd, -1)).toBe(-Errno.EINVAL);
    expect(ftruncate(handle, 1)).toBe(-Errno.EBADF);
  });
});

describe('fstatfs', () => {
  it('agrees with Node on the file system', () => {
    const { path, handle } = directoryWithFile();
    const bytes = new Uint8Array(STATFS_BYTES);
    const view = new DataView(bytes.buffer);
    expect(fstatfs(handle, bytes)).toBe(0);
    const expected = statfsSync(path, { bigint: true });
    expect({
      type: view.getBigUint64(STATFS.type, true),
      bsize: view.getBigUint64(STATFS.bsize, true),
      blocks: view.getBigUint64(STATFS.blocks, true),
      files: view.getBigUint64(STATFS.files, true),
    }).toEqual({
      type: expected.type,
      bsize: expected.bsize,
      blocks: expected.blocks,
      files: expected.files,
    });
    expect(view.getBigUint64(STATFS.namelen, true)).toBeGreaterThanOrEqual(12n);
    expect(fstatfs(1_000_000, bytes)).toBe(-Errno.EBADF);
  });
});
