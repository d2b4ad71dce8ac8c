import { lstatSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  addressOf,
  AT_FDCWD,
  AtFlags,
  closeFd,
  DIRENT64,
  Errno,
  getdents64,
  hasOpenat2,
  linkat,
  linkFd,
  makeDevice,
  mkdirat,
  mknodat,
  ModeBits,
  openat,
  openat2,
  OpenFlags,
  pread,
  pwrite,
  readlinkat,
  renameat2,
  RenameFlags,
  reopen,
  ResolveFlags,
  symlinkat,
  unlinkat,
} from '../../../host/index.js';
import { cString, openDescriptors, openTemporaryDirectory, owned } from '../support.js';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_PATH, O_NOFOLLOW, O_DIRECTORY } = OpenFlags;
const { RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } = ResolveFlags;
const CONFINED = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS;
const EXDEV = 18;
const ENOTDIR = 20;
const EISDIR = 21;
const ENOTEMPTY = 39;
const ELOOP = 40;

describe('openat', () => {
  it('creates and opens from a directory descriptor, close-on-exec, by bytes that need not be UTF-8', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    const name = Uint8Array.of(0xff, 0x80, 0x61, 0);
    const fd = owned(openat(directory, name, O_RDWR | O_CREAT | O_EXCL, 0o640));
    expect(fd).toBeGreaterThan(2);
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')).toMatch(/flags:\s*0?2\d{6}/);
    const file = Buffer.concat([Buffer.from(`${path}/`), name.subarray(0, 3)]);
    expect(lstatSync(file).mode & 0o777).toBe(0o640 & ~process.umask());
  });

  it('takes an address in the place of the name', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), 'x');
    const name = cString('file');
    expect(owned(openat(directory, addressOf(name), O_RDONLY, 0))).toBeGreaterThan(2);
  });

  it('returns errno values for what cannot be opened and leaks nothing', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), 'x');
    symlinkSync('file', join(path, 'link'));
    const before = openDescriptors();
    expect(openat(directory, cString('missing'), O_RDONLY, 0)).toBe(-Errno.ENOENT);
    expect(openat(directory, cString('file'), O_DIRECTORY, 0)).toBe(-ENOTDIR);
    expect(openat(directory, cString('.'), O_RDWR, 0)).toBe(-EISDIR);
    expect(openat(directory, cString('link'), O_NOFOLLOW, 0)).toBe(-ELOOP);
    expect(openat(directory, cString('file'), O_CREAT | O_EXCL, 0)).toBe(-Errno.EEXIST);
    expect(openat(directory, cString('x'.repeat(256)), O_RDONLY, 0)).toBe(-Errno.ENAMETOOLONG);
    expect(openat(1_000_000, cString('file'), O_RDONLY, 0)).toBe(-Errno.EBADF);
    expect(openat(directory, 4096, O_RDONLY, 0)).toBe(-14);
    expect(openDescriptors()).toBe(before);
  });
});

describe.runIf(hasOpenat2())('openat2', () => {
  it('does not leave the directory: not by .., an absolute path or a symbolic link', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    mkdirSync(join(path, 'inside'));
    symlinkSync('/etc', join(path, 'outward'));
    symlinkSync('inside', join(path, 'inward'));
    const before = openDescriptors();
    expect(openat2(directory, cString('../'), O_PATH, 0, CONFINED)).toBe(-EXDEV);
    expect(openat2(directory, cString('inside/../..'), O_PATH, 0, CONFINED)).toBe(-EXDEV);
    expect(openat2(directory, cString('/etc'), O_PATH, 0, CONFINED)).toBe(-EXDEV);
    expect(openat2(directory, cString('outward/passwd'), O_PATH, 0, CONFINED)).toBe(-ELOOP);
    expect(openat2(directory, cString('outward/passwd'), O_PATH, 0, RESOLVE_BENEATH)).toBe(-EXDEV);
    expect(openat2(directory, cString('inward'), O_RDONLY, 0, CONFINED)).toBe(-ELOOP);
    expect(openat2(AT_FDCWD, cString(`/proc/self/fd/${directory}`), O_PATH, 0, RESOLVE_NO_MAGICLINKS)).toBe(
      -ELOOP,
    );
    expect(openDescriptors()).toBe(before);
  });

  it('opens what lies beneath, and a symbolic link itself with O_PATH and O_NOFOLLOW', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    mkdirSync(join(path, 'inside'));
    writeFileSync(join(path, 'inside/file'), 'content');
    symlinkSync('/etc', join(path, 'outward'));
    const file = owned(openat2(directory, cString('inside/../inside/file'), O_RDONLY, 0, CONFINED));
    expect(pread(file, new Uint8Array(16), 0, 16, 0)).toBe(7);
    const link = owned(openat2(directory, cString('outward'), O_PATH | O_NOFOLLOW, 0, CONFINED));
    const target = new Uint8Array(16);
    expect(readlinkat(link, cString(''), target, 16)).toBe(4);
    expect(Buffer.from(target.subarray(0, 4)).toString()).toBe('/etc');
  });

  it('creates with a mode and refuses a mode without O_CREAT', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    owned(openat2(directory, cString('made'), O_RDWR | O_CREAT, 0o600, CONFINED));
    expect(lstatSync(join(path, 'made')).mode & 0o777).toBe(0o600);
    expect(openat2(directory, cString('made'), O_RDWR, 0o600, CONFINED)).toBe(-Errno.EINVAL);
  });
});

describe('O_PATH descriptors', () => {
  it('are opened again for reading and writing, whatever became of the name', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), 'before');
    const handle = owned(openat(directory, cString('file'), O_PATH | O_NOFOLLOW, 0));
    expect(pread(handle, new Uint8Array(1), 0, 1, 0)).toBe(-Errno.EBADF);
    expect(renameat2(directory, cString('file'), directory, cString('moved'), 0)).toBe(0);
    symlinkSync('/etc/passwd', join(path, 'file'));
    const again = owned(reopen(handle, O_RDWR));
    expect(pwrite(again, Buffer.from('after!'), 0, 6, 0)).toBe(6);
    expect(readFileSync(join(path, 'moved'), 'latin1')).toBe('after!');
    expect(reopen(1_000_000, O_RDONLY)).toBe(-Errno.ENOENT);
    expect(reopen(-1, O_RDONLY)).toBe(-Errno.ENOENT);
  });

  it('are linked under a new name', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), 'x');
    const handle = owned(openat(directory, cString('file'), O_PATH | O_NOFOLLOW, 0));
    expect(linkFd(handle, directory, cString('other'))).toBe(0);
    expect(lstatSync(join(path, 'other')).ino).toBe(lstatSync(join(path, 'file')).ino);
    expect(linkFd(handle, directory, cString('other'))).toBe(-Errno.EEXIST);
  });

  it('are found under descriptor numbers of every length', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), 'x');
    const lengths = new Set<number>();
    for (let i = 0; i < 120; i++) {
      const handle = owned(openat(directory, cString('file'), O_PATH, 0));
      lengths.add(String(handle).length);
      const again = reopen(handle, O_RDONLY);
      expect(again).toBeGreaterThan(2);
      closeFd(again);
    }
    expect([...lengths].sort()).toEqual(expect.arrayContaining([2, 3]));
  });
});

describe('creating, renaming and removing', () => {
  it('directories, FIFOs, symbolic and hard links', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    expect(mkdirat(directory, cString('d'), 0o700)).toBe(0);
    expect(mknodat(directory, cString('p'), ModeBits.S_IFIFO | 0o600, 0)).toBe(0);
    expect(symlinkat(cString('no/such/target'), directory, cString('s'))).toBe(0);
    expect(linkat(directory, cString('p'), directory, cString('q'), 0)).toBe(0);
    expect(lstatSync(join(path, 'd')).isDirectory()).toBe(true);
    expect(lstatSync(join(path, 'q')).isFIFO()).toBe(true);
    expect(readlinkSync(join(path, 's'))).toBe('no/such/target');
    expect(mkdirat(directory, cString('d'), 0o700)).toBe(-Errno.EEXIST);
  });

  it('removes files and directories by the right call only', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    mkdirSync(join(path, 'd/e'), { recursive: true });
    writeFileSync(join(path, 'f'), '');
    expect(unlinkat(directory, cString('d'), 0)).toBe(-EISDIR);
    expect(unlinkat(directory, cString('d'), AtFlags.AT_REMOVEDIR)).toBe(-ENOTEMPTY);
    expect(unlinkat(directory, cString('f'), AtFlags.AT_REMOVEDIR)).toBe(-ENOTDIR);
    expect(unlinkat(directory, cString('d/e'), AtFlags.AT_REMOVEDIR)).toBe(0);
    expect(unlinkat(directory, cString('f'), 0)).toBe(0);
  });

  it('renames over, without replacing, and by exchange', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'a'), 'A');
    writeFileSync(join(path, 'b'), 'B');
    const [a, b] = [cString('a'), cString('b')];
    expect(renameat2(directory, a, directory, b, RenameFlags.RENAME_NOREPLACE)).toBe(-Errno.EEXIST);
    expect(renameat2(directory, a, directory, b, RenameFlags.RENAME_EXCHANGE)).toBe(0);
    expect(readFileSync(join(path, 'a'), 'latin1')).toBe('B');
    expect(renameat2(directory, a, directory, b, 0)).toBe(0);
    expect(readFileSync(join(path, 'b'), 'latin1')).toBe('B');
    expect(renameat2(directory, a, directory, b, 0)).toBe(-Errno.ENOENT);
  });

  it('device numbers have the form that mknod takes', () => {
    expect(makeDevice(8, 1)).toBe(0x801);
    expect(makeDevice(0xfff, 0xfffff)).toBe(0xffffffff);
    expect(makeDevice(1, 0x12345)).toBe(0x12300145);
  });

  it('reads the target of a link, cut to the room there is', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    symlinkSync('0123456789', join(path, 's'));
    const target = new Uint8Array(32);
    expect(readlinkat(directory, cString('s'), target, 32)).toBe(10);
    expect(readlinkat(directory, cString('s'), target, 4)).toBe(4);
    expect(readlinkat(directory, cString('.'), target, 32)).toBe(-Errno.EINVAL);
  });
});

describe('getdents64', () => {
  it('lists every entry in as many calls as the buffer needs', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    const names = Array.from({ length: 50 }, (_, i) => `entry-${i}`);
    for (const name of names) writeFileSync(join(path, name), '');
    const buffer = new Uint8Array(512);
    const view = new DataView(buffer.buffer);
    const seen: string[] = [];
    let bytes: number;
    while ((bytes = getdents64(directory, buffer, buffer.length)) > 0) {
      for (let at = 0; at < bytes; at += view.getUint16(at + DIRENT64.reclen, true)) {
        const start = at + DIRENT64.name;
        seen.push(Buffer.from(buffer.subarray(start, buffer.indexOf(0, start))).toString());
      }
    }
    expect(bytes).toBe(0);
    expect(seen.sort()).toEqual([...names, '.', '..'].sort());
  });

  it('says when the buffer holds no entry at all, or the descriptor is no directory', () => {
    const { fd: directory, path } = openTemporaryDirectory();
    writeFileSync(join(path, 'file'), '');
    expect(getdents64(directory, new Uint8Array(8), 8)).toBe(-Errno.EINVAL);
    const file = owned(openat(directory, cString('file'), O_RDONLY, 0));
    expect(getdents64(file, new Uint8Array(512), 512)).toBe(-ENOTDIR);
  });
});
