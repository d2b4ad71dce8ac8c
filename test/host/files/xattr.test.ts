import { openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  Errno,
  fgetxattr,
  fgetxattrOPath,
  flistxattr,
  flistxattrOPath,
  fremovexattr,
  fremovexattrOPath,
  fsetxattr,
  fsetxattrOPath,
  openat,
  OpenFlags,
  XattrFlags,
} from '../../../host/index.js';
import { cString, openTemporaryDirectory, owned } from '../support.js';

const ERANGE = 34;
const ENODATA = 61;
const EOPNOTSUPP = 95;
const NAME = cString('user.chassis');

/** One file, by an ordinary descriptor and by O_PATH. */
function openTwice(): { fd: number; handle: number } {
  const { fd: directory, path } = openTemporaryDirectory();
  writeFileSync(join(path, 'file'), '');
  const handle = openat(directory, cString('file'), OpenFlags.O_PATH | OpenFlags.O_NOFOLLOW, 0);
  return { fd: owned(openSync(join(path, 'file'), 'r+')), handle: owned(handle) };
}

const kinds = [
  ['a descriptor', 'fd', { get: fgetxattr, set: fsetxattr, list: flistxattr, remove: fremovexattr }],
  [
    'an O_PATH descriptor',
    'handle',
    { get: fgetxattrOPath, set: fsetxattrOPath, list: flistxattrOPath, remove: fremovexattrOPath },
  ],
] as const;

describe.each(kinds)('extended attributes of %s', (_name, which, calls) => {
  it('are set, read, listed and removed', (context) => {
    const file = openTwice()[which];
    const value = new Uint8Array(16);
    const error = calls.set(file, NAME, Buffer.from('value'), 5, XattrFlags.XATTR_CREATE);
    context.skip(error === -EOPNOTSUPP, 'the file system has no user attributes');
    expect(error).toBe(0);
    expect(calls.set(file, NAME, value, 0, XattrFlags.XATTR_CREATE)).toBe(-Errno.EEXIST);
    expect(calls.get(file, NAME, value, 0)).toBe(5);
    expect(calls.get(file, NAME, value, 4)).toBe(-ERANGE);
    expect(calls.get(file, NAME, value, 16)).toBe(5);
    expect(Buffer.from(value.subarray(0, 5)).toString()).toBe('value');
    const list = new Uint8Array(256);
    const length = calls.list(file, list, 256);
    expect(Buffer.from(list.subarray(0, length)).toString()).toContain('user.chassis\0');
    expect(calls.list(file, list, 0)).toBe(length);
    expect(calls.remove(file, NAME)).toBe(0);
    expect(calls.remove(file, NAME)).toBe(-ENODATA);
    expect(calls.get(file, NAME, value, 16)).toBe(-ENODATA);
  });
});

describe('extended attributes', () => {
  it('of an O_PATH descriptor are out of reach of the plain calls', () => {
    const { handle } = openTwice();
    expect(fgetxattr(handle, NAME, new Uint8Array(4), 4)).toBe(-Errno.EBADF);
    expect(flistxattr(handle, new Uint8Array(4), 4)).toBe(-Errno.EBADF);
  });

  it('of a descriptor that is not open are errno values', () => {
    expect(fgetxattr(1_000_000, NAME, new Uint8Array(4), 4)).toBe(-Errno.EBADF);
    expect(fgetxattrOPath(1_000_000, NAME, new Uint8Array(4), 4)).toBe(-Errno.ENOENT);
  });
});
