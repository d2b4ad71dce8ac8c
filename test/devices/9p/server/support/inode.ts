/** Files of the file system in memory, and what can be done to them, apart from who refers to them. */
import {
  Attributes,
  FileMode,
  SetAttr,
  type AttributeChanges,
} from '../../../../../devices/9p/fs/file-system.js';
import { Errno } from '../../../../../devices/errno.js';

export class Inode {
  readonly number: number;
  mode: number;
  uid = 0;
  gid = 0;
  rdev = 0;
  nlink = 1;
  data = new Uint8Array(0);
  target = '';
  mtimeSeconds = 1_700_000_000;
  mtimeNanoseconds = 42;
  device = 7;
  parent: Inode;
  readonly entries = new Map<string, Inode>();
  readonly xattrs = new Map<string, Uint8Array>();

  constructor(number: number, mode: number, parent?: Inode) {
    this.number = number;
    this.mode = mode;
    this.parent = parent ?? this;
  }

  is(format: number): boolean {
    return (this.mode & FileMode.S_IFMT) === format;
  }
}

export function fillAttributes(inode: Inode, out: Attributes): number {
  Object.assign(out, new Attributes(), {
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    nlink: inode.nlink,
    rdev: inode.rdev,
    sizeBytes: inode.is(FileMode.S_IFLNK) ? inode.target.length : inode.data.length,
    blocks: Math.ceil(inode.data.length / 512),
    mtimeSeconds: inode.mtimeSeconds,
    mtimeNanoseconds: inode.mtimeNanoseconds,
    inodeLow: inode.number,
    device: inode.device,
  });
  return 0;
}

export function applyChanges(inode: Inode, changes: AttributeChanges): number {
  const { valid } = changes;
  if ((valid & SetAttr.P9_ATTR_SIZE) !== 0) {
    if (changes.sizeBytes > 1 << 20) return -Errno.EFBIG;
    inode.data = resized(inode.data, changes.sizeBytes);
  }
  if ((valid & SetAttr.P9_ATTR_MODE) !== 0)
    inode.mode = (inode.mode & FileMode.S_IFMT) | (changes.mode & 0o7777);
  if ((valid & SetAttr.P9_ATTR_UID) !== 0) inode.uid = changes.uid;
  if ((valid & SetAttr.P9_ATTR_GID) !== 0) inode.gid = changes.gid;
  if ((valid & SetAttr.P9_ATTR_MTIME_SET) !== 0) {
    inode.mtimeSeconds = changes.mtimeSeconds;
    inode.mtimeNanoseconds = changes.mtimeNanoseconds;
  }
  return 0;
}

export function unlinkEntry(directory: Inode, name: string, wantsDirectory: boolean): number {
  const child = directory.entries.get(name);
  if (child === undefined) return -Errno.ENOENT;
  if (child.is(FileMode.S_IFDIR) !== wantsDirectory) return wantsDirectory ? -Errno.ENOTDIR : -Errno.EISDIR;
  if (child.entries.size > 0) return -Errno.ENOTEMPTY;
  directory.entries.delete(name);
  child.nlink--;
  return 0;
}

export function moveEntry(from: Inode, name: string, to: Inode, newName: string): number {
  const child = from.entries.get(name);
  if (child === undefined) return -Errno.ENOENT;
  for (let up = to; up.parent !== up; up = up.parent) if (up === child) return -Errno.EINVAL;
  const there = to.entries.get(newName);
  if (there === child) return 0;
  if (there !== undefined) {
    const failure = unlinkEntry(to, newName, child.is(FileMode.S_IFDIR));
    if (failure !== 0) return failure;
  }
  from.entries.delete(name);
  to.entries.set(newName, child);
  child.parent = to;
  return 0;
}

export function nameOf(inode: Inode): string | undefined {
  for (const [name, child] of inode.parent.entries) if (child === inode) return name;
  return undefined;
}

export function resized(data: Uint8Array, lengthBytes: number): Uint8Array<ArrayBuffer> {
  const next = new Uint8Array(lengthBytes);
  next.set(data.subarray(0, lengthBytes));
  return next;
}
