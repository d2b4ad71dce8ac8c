/** Copies one file, of whatever type, from one layer into a directory of the other: data, attributes and extended attributes. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import {
  FileMode,
  OpenFlag,
  SetAttr,
  type AttributeChanges,
  type Attributes,
  type ByteString,
  type FsNode,
  type OpenFile,
} from '../file-system.js';
import { namesIn } from '../xattr-names.js';
import { LAYERS_OWN, typeOf } from './layer.js';
import { BYTES_A_TURN, Pace } from './pace.js';

const CHUNK_BYTES = 256 * 1024;
const SET_TIMES =
  SetAttr.P9_ATTR_ATIME | SetAttr.P9_ATTR_ATIME_SET | SetAttr.P9_ATTR_MTIME | SetAttr.P9_ATTR_MTIME_SET;

/**
 * Makes `name` in `into`, as `source` is, with `attributes`, which are the source's. Of a regular file it copies `limitBytes` at
 * most. Nothing is left where it fails.
 */
export async function copyNode(
  source: FsNode,
  attributes: Attributes,
  into: FsNode,
  name: ByteString,
  limitBytes = Number.MAX_SAFE_INTEGER,
): Promise<FsNode | Failure> {
  const made = await make(source, attributes, into, name, limitBytes);
  if (isFailure(made)) return made;
  const error = await copyMetadata(source, attributes, made);
  if (error === 0) return made;
  made.release();
  await into.unlink(name, typeOf(attributes) === FileMode.S_IFDIR);
  return error;
}

/** Extended attributes, as far as the other layer has them; then owner, mode and times. */
export async function copyMetadata(source: FsNode, attributes: Attributes, target: FsNode): Promise<number> {
  const type = typeOf(attributes);
  const hasXattrs = type === FileMode.S_IFREG || type === FileMode.S_IFDIR;
  const error = hasXattrs ? await copyXattrs(source, target) : 0;
  return error < 0 ? error : setAttributes(target, attributes);
}

/** An owner that cannot be set stays the layer's own user. */
export async function setAttributes(target: FsNode, attributes: Attributes): Promise<number> {
  const owner = await target.setattr(changesTo(attributes, SetAttr.P9_ATTR_UID | SetAttr.P9_ATTR_GID));
  if (owner < 0 && owner !== -Errno.EPERM && owner !== -Errno.EOPNOTSUPP) return owner;
  const mode = typeOf(attributes) === FileMode.S_IFLNK ? 0 : SetAttr.P9_ATTR_MODE;
  return target.setattr(changesTo(attributes, mode | SET_TIMES));
}

export function setTimes(target: FsNode, attributes: Attributes): Promise<number> | number {
  return target.setattr(changesTo(attributes, SET_TIMES));
}

function changesTo(attributes: Attributes, valid: number): AttributeChanges {
  return { ...attributes, mode: attributes.mode & 0o7777, valid };
}

async function make(
  source: FsNode,
  attributes: Attributes,
  into: FsNode,
  name: ByteString,
  limitBytes: number,
): Promise<FsNode | Failure> {
  const type = typeOf(attributes);
  if (type === FileMode.S_IFDIR) return into.mkdir(name, 0o700, LAYERS_OWN);
  if (type === FileMode.S_IFREG) {
    return copyRegular(source, Math.min(limitBytes, attributes.sizeBytes), into, name);
  }
  if (type !== FileMode.S_IFLNK) return into.mknod(name, type | 0o600, attributes.rdev, LAYERS_OWN);
  const target = await source.readlink();
  return isFailure(target) ? target : into.symlink(name, target, LAYERS_OWN);
}

async function copyRegular(
  source: FsNode,
  sizeBytes: number,
  into: FsNode,
  name: ByteString,
): Promise<FsNode | Failure> {
  const created = await into.create(name, OpenFlag.O_RDWR | OpenFlag.O_EXCL, 0o600, LAYERS_OWN);
  if (isFailure(created)) return created;
  const error = await copyFrom(source, created.file, sizeBytes);
  await created.file.close();
  if (error === 0) return created.node;
  created.node.release();
  await into.unlink(name, false);
  return error;
}

async function copyFrom(source: FsNode, to: OpenFile, sizeBytes: number): Promise<number> {
  if (sizeBytes === 0) return 0;
  const from = await source.open(OpenFlag.O_RDONLY | OpenFlag.O_NOATIME);
  if (isFailure(from)) return from;
  const error = await copyData(from, to, sizeBytes);
  await from.close();
  return error;
}

/** Copies the first `sizeBytes`, or all there is; runs of zeros become holes. */
async function copyData(from: OpenFile, to: OpenFile, sizeBytes: number): Promise<number> {
  const chunk = new Uint8Array(CHUNK_BYTES);
  const pace = new Pace(BYTES_A_TURN);
  let at = 0;
  while (at < sizeBytes) {
    const length = await from.read(at, vectorOf(chunk, Math.min(CHUNK_BYTES, sizeBytes - at)));
    if (length < 0) return length;
    if (length === 0) break;
    const error = isZero(chunk, length) ? 0 : await writeAll(to, at, chunk, length);
    if (error < 0) return error;
    at += length;
    await pace.spend(length);
  }
  return to.setattr(sizeChange(at));
}

async function writeAll(to: OpenFile, at: number, chunk: Uint8Array, length: number): Promise<number> {
  for (let done = 0; done < length;) {
    const written = await to.write(at + done, vectorOf(chunk.subarray(done), length - done));
    if (written <= 0) return written < 0 ? written : -Errno.EIO;
    done += written;
  }
  return 0;
}

export function vectorOf(bytes: Uint8Array, lengthBytes: number): IoVector {
  const vector = new IoVector();
  vector.push(bytes, 0, lengthBytes, 0);
  return vector;
}

function isZero(bytes: Uint8Array, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[i] !== 0) return false;
  return true;
}

function sizeChange(sizeBytes: number): AttributeChanges {
  const none = { mode: 0, uid: 0, gid: 0, atimeSeconds: 0, atimeNanoseconds: 0 };
  return { ...none, valid: SetAttr.P9_ATTR_SIZE, sizeBytes, mtimeSeconds: 0, mtimeNanoseconds: 0 };
}

async function copyXattrs(source: FsNode, target: FsNode): Promise<number> {
  const list = await source.listxattr();
  if (isFailure(list)) return list === -Errno.EOPNOTSUPP ? 0 : list;
  for (const name of namesIn(list)) {
    const value = await source.getxattr(name);
    // Gone since it was listed.
    if (value === -Errno.ENODATA) continue;
    if (isFailure(value)) return value;
    const error = await target.setxattr(name, value, 0);
    if (error === -Errno.EOPNOTSUPP) return 0;
    if (error < 0) return error;
  }
  return 0;
}
