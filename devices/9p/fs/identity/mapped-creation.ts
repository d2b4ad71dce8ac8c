/** Making files with mapped metadata: a plain file or directory that only the daemon may use, and then what it is to the guest. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { createOrOpen } from '../create-or-open.js';
import {
  FileMode,
  OpenFlag,
  type ByteString,
  type Created,
  type FsNode,
  type OpenFile,
  type Owner,
} from '../file-system.js';
import { modeOfNew } from '../set-id-bits.js';
import { UNCHANGED } from './ids.js';
import { MappedFile } from './mapped-file.js';
import type { MappedNode } from './mapped-node.js';
import { storeMetadata, type Metadata } from './metadata.js';

/** The daemon's own user. */
const DAEMONS: Owner = { uid: UNCHANGED, gid: UNCHANGED };
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
/** PATH_MAX without its NUL. */
const TARGET_MAX_BYTES = 4095;
/** Creates a regular file and opens it; opens what is there where O_EXCL does not forbid it. */
export function createMapped(
  directory: MappedNode,
  name: ByteString,
  flags: number,
  mode: number,
  owner: Owner,
): Promise<Created | Failure> {
  const createFile = async (): Promise<Created | Failure> => {
    const created = await createNew(directory, name, flags, FileMode.S_IFREG | (mode & 0o7777), 0, owner);
    if (isFailure(created)) return created;
    return { node: created.node, file: new MappedFile(created.node, created.file) };
  };
  return createOrOpen(flags, createFile, (left) => openExisting(directory, name, left));
}

async function openExisting(
  directory: MappedNode,
  name: ByteString,
  flags: number,
): Promise<Created | Failure> {
  const node = await directory.walk(name);
  if (isFailure(node)) return node;
  const attributes = await (node as MappedNode).attributes();
  let file: OpenFile | Failure;
  if (isFailure(attributes)) file = attributes;
  else if ((attributes.mode & FileMode.S_IFMT) === FileMode.S_IFDIR) file = -Errno.EISDIR;
  else file = await node.open(flags);
  if (!isFailure(file)) return { node, file };
  node.release();
  return file;
}

/** Makes what is not opened; a symbolic link's `target` is its file's content. */
export async function makeMapped(
  directory: MappedNode,
  name: ByteString,
  mode: number,
  rdev: number,
  owner: Owner,
  target?: ByteString,
): Promise<FsNode | Failure> {
  const refused = target === undefined ? 0 : checkTarget(target);
  if (refused < 0) return refused;
  if ((mode & FileMode.S_IFMT) === FileMode.S_IFDIR) return makeDirectory(directory, name, mode, owner);
  const created = await createNew(directory, name, OpenFlag.O_WRONLY, mode, rdev, owner, target);
  if (isFailure(created)) return created;
  await created.file.close();
  return created.node;
}

function checkTarget(target: ByteString): number {
  if (target === '') return -Errno.ENOENT;
  if (target.length > TARGET_MAX_BYTES) return -Errno.ENAMETOOLONG;
  return target.includes('\0') ? -Errno.EINVAL : 0;
}

async function makeDirectory(
  directory: MappedNode,
  name: ByteString,
  mode: number,
  owner: Owner,
): Promise<MappedNode | Failure> {
  const metadata = await metadataOfNew(directory, mode, 0, owner);
  if (isFailure(metadata)) return metadata;
  const inner = await directory.inner.mkdir(name, DIRECTORY_MODE, DAEMONS);
  if (isFailure(inner)) return inner;
  const error = await storeMetadata(inner, metadata);
  if (error === 0) return directory.nodeOf(inner);
  inner.release();
  await directory.inner.unlink(name, true);
  return error;
}

async function createNew(
  directory: MappedNode,
  name: ByteString,
  flags: number,
  mode: number,
  rdev: number,
  owner: Owner,
  content?: ByteString,
): Promise<{ readonly node: MappedNode; readonly file: OpenFile } | Failure> {
  const metadata = await metadataOfNew(directory, mode, rdev, owner);
  if (isFailure(metadata)) return metadata;
  const made = await directory.inner.create(name, flags | OpenFlag.O_EXCL, FILE_MODE, DAEMONS);
  if (isFailure(made)) return made;
  let error = content === undefined ? 0 : await writeContent(made.file, content);
  if (error === 0) error = await storeMetadata(made.node, metadata);
  if (error === 0) return { node: directory.nodeOf(made.node), file: made.file };
  await made.file.close();
  made.node.release();
  await directory.inner.unlink(name, false);
  return error;
}

async function writeContent(file: OpenFile, content: ByteString): Promise<number> {
  const bytes = Uint8Array.from(content, (character) => character.charCodeAt(0));
  const vector = new IoVector();
  vector.push(bytes, 0, bytes.length, 0);
  const written = await file.write(0, vector);
  if (written < 0) return written;
  return written === bytes.length ? 0 : -Errno.ENOSPC;
}

/** Whose the new file is; a set-group-id directory hands its group on. */
async function metadataOfNew(
  directory: MappedNode,
  mode: number,
  rdev: number,
  { uid, gid }: Owner,
): Promise<Metadata | Failure> {
  const above = await directory.attributes();
  if (isFailure(above)) return above;
  const type = mode & FileMode.S_IFMT;
  if ((above.mode & FileMode.S_IFMT) !== FileMode.S_IFDIR) return -Errno.ENOTDIR;
  const inherits = (above.mode & FileMode.S_ISGID) !== 0;
  const permissions =
    type === FileMode.S_IFLNK ? 0o777 : modeOfNew(mode, type === FileMode.S_IFDIR, inherits, uid);
  return {
    uid: uid === UNCHANGED ? above.uid : uid,
    gid: inherits || gid === UNCHANGED ? above.gid : gid,
    mode: type | permissions,
    rdev,
  };
}
