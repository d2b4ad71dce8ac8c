/**
 * Finds the files of another server's session again: by their names from the root, each held against what it was. All of it or nothing:
 * where one file is missing, or another one has its name, whatever was opened is closed, and the answer says which.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import {
  Attributes,
  LockStatus,
  LockType,
  OpenFlag,
  type FileSystem,
  type FsNode,
  type OpenFile,
} from '../../fs/file-system.js';
import { MSIZE_MIN_BYTES, P9_NOFID, XATTR_SIZE_MAX_BYTES } from '../../protocol/constants.js';
import { dialectFor } from '../dialects.js';
import { Fid } from '../fid.js';
import { checkEntryName } from '../names.js';
import type { ServerOptions } from '../options.js';
import { QidMapper, qidTypeOf } from '../qid-mapper.js';
import { StatListing } from '../stat-listing.js';
import { XATTR_FIDS_MAX } from '../session.js';
import { SameFiles } from './same-files.js';
import type { FidState, SessionState } from './session-state.js';

/** What a session goes on with. */
export interface RestoredSession {
  readonly fids: readonly Fid[];
  readonly qids: QidMapper;
}

/** Flags that were about the moment of opening. */
const ONCE = OpenFlag.O_CREAT | OpenFlag.O_EXCL | OpenFlag.O_TRUNC;

/** Why nothing was restored. */
class Refusal extends Error {}

/** The session, or why it cannot be had here. Rejects only where the file system breaks its contract. */
export async function restoreSession(
  fs: FileSystem,
  state: SessionState,
  options: ServerOptions,
): Promise<RestoredSession | string> {
  const problem = problemOf(state, options);
  if (problem !== undefined) return problem;
  const fids: Fid[] = [];
  const same = new SameFiles(state.prefixes);
  try {
    for (const each of state.fids) await restoreFid(fs, each, same, fids);
    const prefixes = same.prefixes();
    if (prefixes === undefined) throw new Refusal('its numbers of files contradict each other');
    return { fids, qids: new QidMapper(prefixes) };
  } catch (error) {
    await letGo(fids);
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}

/** What can be seen without looking at any file. */
function problemOf({ dialect, msizeBytes, fids }: SessionState, options: ServerOptions): string | undefined {
  if (dialect === '' ? fids.length > 0 : dialectFor(dialect)?.version !== dialect)
    return `its version of the protocol is ${JSON.stringify(dialect)}`;
  if (!(msizeBytes >= MSIZE_MIN_BYTES && msizeBytes <= options.maxMsizeBytes))
    return `its messages have up to ${msizeBytes} bytes, and ${options.maxMsizeBytes} are allowed here`;
  if (fids.length > options.maxFids)
    return `it has ${fids.length} fids, and ${options.maxFids} are allowed here`;
  const open = fids.filter(({ isOpen }) => isOpen !== 0).length;
  if (open > options.maxOpenFiles)
    return `it has ${open} open files, and ${options.maxOpenFiles} are allowed here`;
  if (fids.filter(({ xattr }) => xattr !== undefined).length > XATTR_FIDS_MAX)
    return 'it holds too many extended attributes';
  if (new Set(fids.map(({ number }) => number)).size !== fids.length)
    return 'two of its fids have one number';
  for (const fid of fids) {
    const wrong = problemOfFid(fid);
    if (wrong !== undefined) return `fid ${fid.number} ${wrong}`;
  }
  return undefined;
}

function problemOfFid({ number, hasNode, isOpen, names, xattr }: FidState): string | undefined {
  if (number === P9_NOFID) return 'is none';
  if (hasNode === 0 && (isOpen !== 0 || xattr === undefined)) return 'is of nothing';
  if (isOpen !== 0 && xattr !== undefined) return 'is open, and of an extended attribute';
  if (names.some((name) => checkEntryName(name) !== 0)) return 'is of a file with a name that is none';
  if (xattr === undefined) return undefined;
  const { value, writtenBytes } = xattr;
  if (value.length > XATTR_SIZE_MAX_BYTES || writtenBytes > value.length)
    return 'has a value that is too large';
  return undefined;
}

async function restoreFid(fs: FileSystem, state: FidState, same: SameFiles, fids: Fid[]): Promise<void> {
  const fid = new Fid(state.number);
  // First of all, so that whatever it gets is let go with it.
  fids.push(fid);
  fid.xattr = state.xattr;
  if (state.hasNode === 0) return;
  fid.node = await find(fs, state);
  const attributes = new Attributes();
  const failure = await fid.node.getattr(attributes);
  if (failure < 0) throw refusal(state, `cannot be looked at (errno ${-failure})`);
  const isSame = same.isSame(attributes, state.pathLow, state.pathHigh);
  if (!isSame || qidTypeOf(attributes.mode) !== state.qidType) throw refusal(state, 'is another file here');
  fid.attachment = { uid: state.uid, pathLow: state.rootLow, pathHigh: state.rootHigh };
  fid.identify(
    { type: state.qidType, version: 0, pathLow: state.pathLow, pathHigh: state.pathHigh },
    attributes.device,
  );
  fid.name = state.lastName;
  fid.removeOnClunk = state.removeOnClunk !== 0;
  if (state.isOpen !== 0) await reopen(fid, fid.node, state);
}

/** Walks from the root, one name after the other. */
async function find(fs: FileSystem, state: FidState): Promise<FsNode> {
  const root = await fs.attach();
  if (isFailure(root)) throw new Refusal(`the root of the file system is gone (errno ${-root})`);
  let node = root;
  for (const name of state.names) {
    const next: FsNode | Failure = await node.walk(name);
    node.release();
    if (isFailure(next))
      throw refusal(state, next === -Errno.ENOENT ? 'is not there' : `cannot be reached (errno ${-next})`);
    node = next;
  }
  return node;
}

async function reopen(fid: Fid, node: FsNode, state: FidState): Promise<void> {
  const file = await node.open(state.openFlags & ~ONCE);
  if (isFailure(file)) throw refusal(state, `cannot be opened (errno ${-file})`);
  fid.file = file;
  fid.openFlags = state.openFlags;
  if (state.listing !== undefined) fid.listing = StatListing.from(state.listing);
  await lockAgain(file, state);
}

async function lockAgain(file: OpenFile, state: FidState): Promise<void> {
  for (const lock of state.locks) {
    if (lock.type !== LockType.P9_LOCK_TYPE_RDLCK && lock.type !== LockType.P9_LOCK_TYPE_WRLCK)
      throw refusal(state, 'has a lock of no kind');
    // Set through a file that may only be read, a lock is held as a shared one.
    const readOnly =
      (state.openFlags & OpenFlag.O_ACCMODE) === OpenFlag.O_RDONLY &&
      lock.type === LockType.P9_LOCK_TYPE_RDLCK;
    const status = await file.lock({ ...lock, wait: false, readOnly });
    if (status === LockStatus.P9_LOCK_BLOCKED) throw refusal(state, 'is locked by somebody else here');
    if (status !== LockStatus.P9_LOCK_SUCCESS) throw refusal(state, 'cannot be locked here');
  }
}

/** Closes and releases what fids have. */
export async function letGo(fids: readonly Fid[]): Promise<void> {
  for (const { file, node } of fids) {
    await file?.close();
    node?.release();
  }
}

function refusal({ names, number }: FidState, why: string): Refusal {
  return new Refusal(`${JSON.stringify(`/${names.join('/')}`)} (fid ${number}) ${why}`);
}
