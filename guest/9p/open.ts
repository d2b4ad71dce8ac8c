/** Opening a path the way a kernel does over 9P2000.L: look it up, then open what is there or create what is not. */
import { GuestError } from '../errors.js';
import type { Client9p } from './client.js';
import { OpenFlags, QidType } from './constants.js';
import type { Bytes } from './cursor.js';
import type { PathWalker, WalkedNode } from './path-walker.js';

const { O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_TRUNC } = OpenFlags;

/** A file that others make and remove all the time is not tried for ever. */
const MAX_ATTEMPTS = 8;

export interface OpenRequest {
  /** OpenFlags. */
  readonly flags: number;
  /** Permissions and group of a file that is made. */
  readonly mode: number;
  readonly gid: number;
  readonly signal: AbortSignal | undefined;
}

/** A fid that is open, the caller's to clunk. */
export async function openPath(
  client: Client9p,
  walker: PathWalker,
  path: Bytes,
  request: OpenRequest,
): Promise<number> {
  const { flags, signal } = request;
  const create = (flags & O_CREAT) !== 0;
  const exclusive = create && (flags & O_EXCL) !== 0;
  const follow = !exclusive && (flags & O_NOFOLLOW) === 0;
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const node = await walker.walk(path, { follow, orParent: create, signal });
    try {
      if (node.missing !== undefined) {
        await client.lcreate(node.fid, node.missing, flags | O_EXCL, request.mode, request.gid, signal);
      } else {
        if (exclusive) throw new GuestError('EEXIST', { syscall: 'open' });
        await openNode(client, node, flags, signal);
      }
      return node.fid;
    } catch (error) {
      await client.clunk(node.fid).catch(() => undefined);
      // Made by somebody else since it was looked up: then it is there to be opened.
      const lostRace = node.missing !== undefined && error instanceof GuestError && error.code === 'EEXIST';
      if (exclusive || !lostRace) throw error;
    }
  }
  throw new GuestError('ESTALE', { syscall: 'open' });
}

async function openNode(
  client: Client9p,
  { fid, qid }: WalkedNode,
  flags: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const isDirectory = (qid.type & QidType.QTDIR) !== 0;
  if ((qid.type & QidType.QTSYMLINK) !== 0) throw new GuestError('ELOOP', { syscall: 'open' });
  if (isDirectory && ((flags & O_ACCMODE) !== O_RDONLY || (flags & O_CREAT) !== 0)) {
    throw new GuestError('EISDIR', { syscall: 'open' });
  }
  if (!isDirectory && (flags & O_DIRECTORY) !== 0) throw new GuestError('ENOTDIR', { syscall: 'open' });
  await client.lopen(fid, flags & ~(O_CREAT | O_EXCL), signal);
  // Kernels truncate by attribute as well, so servers may leave O_TRUNC to that.
  if ((flags & O_TRUNC) !== 0) await client.setattr(fid, { sizeBytes: 0 }, signal);
}
