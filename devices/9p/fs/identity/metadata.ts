/**
 * What the guest made of a file, in an extended attribute of the host's file: owner, mode with the type of file, device number. The
 * attribute's name is reserved: a guest that could write it would make itself any file it likes (CVE-2017-7493).
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { FileMode, type Attributes, type ByteString, type FsNode } from '../file-system.js';

const RESERVED_PREFIX = 'user.chassis.';
const METADATA_NAME = `${RESERVED_PREFIX}metadata`;
const VERSION = '1';

export interface Metadata {
  uid: number;
  gid: number;
  /** With S_IFMT. Types that the host's file does not have are what it stands for: all but directories are regular files there. */
  mode: number;
  rdev: number;
}

export function isReservedXattr(name: ByteString): boolean {
  return name.startsWith(RESERVED_PREFIX);
}

/** Undefined of a file that the host made; -EIO of one whose attribute says what cannot be. */
export async function loadMetadata(node: FsNode, host: Attributes): Promise<Metadata | undefined | Failure> {
  const type = host.mode & FileMode.S_IFMT;
  // Others cannot have the attribute.
  if (type !== FileMode.S_IFREG && type !== FileMode.S_IFDIR) return undefined;
  const value = await node.getxattr(METADATA_NAME);
  if (value === -Errno.ENODATA) return undefined;
  return isFailure(value) ? value : decode(value, type);
}

export async function storeMetadata(node: FsNode, { uid, gid, mode, rdev }: Metadata): Promise<number> {
  const text = [VERSION, uid, gid, mode.toString(8), rdev].join(':');
  return node.setxattr(
    METADATA_NAME,
    Uint8Array.from(text, (character) => character.charCodeAt(0)),
    0,
  );
}

/** Makes the host's attributes the guest's. */
export function applyMetadata(metadata: Metadata | undefined, out: Attributes): void {
  if (metadata === undefined) return;
  out.uid = metadata.uid;
  out.gid = metadata.gid;
  out.mode = metadata.mode;
  out.rdev = metadata.rdev;
}

function decode(value: Uint8Array, hostType: number): Metadata | Failure {
  const found = /^1:(\d{1,10}):(\d{1,10}):([0-7]{1,6}):(\d{1,15})$/.exec(
    String.fromCharCode(...value.subarray(0, 64)),
  );
  if (found === null || value.length > 64) return -Errno.EIO;
  const [uid, gid, rdev] = [Number(found[1]), Number(found[2]), Number(found[4])];
  const mode = parseInt(found[3], 8);
  const isDirectory = (mode & FileMode.S_IFMT) === FileMode.S_IFDIR;
  return isDirectory === (hostType === FileMode.S_IFDIR) && isFileType(mode)
    ? { uid, gid, mode, rdev }
    : -Errno.EIO;
}

function isFileType(mode: number): boolean {
  switch (mode & FileMode.S_IFMT) {
    case FileMode.S_IFREG:
    case FileMode.S_IFDIR:
    case FileMode.S_IFLNK:
    case FileMode.S_IFIFO:
    case FileMode.S_IFSOCK:
    case FileMode.S_IFCHR:
    case FileMode.S_IFBLK:
      return true;
    default:
      return false;
  }
}
