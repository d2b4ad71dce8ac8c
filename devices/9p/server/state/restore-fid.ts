/**
 * Finds the file of one fid again. Its names come first. Where they lead elsewhere, or nowhere, and descriptors came along, the state is of a
 * moment ago: then what the client had by a descriptor it has still, and what it did not is as it was for it already, ESTALE.
 */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import type { GivenDescriptors } from '../../../state-descriptors.js';
import {
  LockStatus,
  LockType,
  OpenFlag,
  type Attributes,
  type FileSystem,
  type FsNode,
  type OpenFile,
} from '../../fs/file-system.js';
import type { Given } from '../../fs/kept.js';
import { Fid } from '../fid.js';
import { qidTypeOf } from '../qid-mapper.js';
import { StatListing } from '../stat-listing.js';
import { PathWalker } from './path-walker.js';
import type { SameFiles } from './same-files.js';
import { Found, type FidState } from './session-state.js';
import { StaleFile, StaleNode } from '../stale.js';

/** Why nothing was restored. */
export class Refusal extends Error {}

/** What fids are found by. */
export interface Search {
  readonly fs: FileSystem;
  /** Once a file was looked for. */
  walker: PathWalker | undefined;
  readonly same: SameFiles;
  /** Undefined where none could come along: the state may be of another boot, or machine. */
  readonly descriptors: GivenDescriptors | undefined;
  /** Of the file looked at last. */
  readonly attributes: Attributes;
}

/** Flags that were about the moment of opening. */
const ONCE = OpenFlag.O_CREAT | OpenFlag.O_EXCL | OpenFlag.O_TRUNC;

/** Absence, as against a failure to look. */
const ABSENT: ReadonlySet<number> = new Set([-Errno.ENOENT, -Errno.ENOTDIR, -Errno.ESTALE, -Errno.ELOOP]);

/** Adds the fid to `fids`, before it has anything. @throws Refusal */
export async function restoreFid(search: Search, state: FidState, fids: Fid[]): Promise<void> {
  const fid = new Fid(state.number);
  // First of all, so that whatever it gets is let go with it.
  fids.push(fid);
  fid.xattr = state.xattr;
  if (state.hasNode === 0) return;
  fid.attachment = { uid: state.uid, pathLow: state.rootLow, pathHigh: state.rootHigh };
  const { qidType, pathLow, pathHigh } = state;
  fid.name = state.lastName;
  fid.removeOnClunk = state.removeOnClunk !== 0;
  fid.openFlags = state.openFlags;
  const device = await findNode(search, state, fid);
  fid.identify({ type: qidType, version: 0, pathLow, pathHigh }, device);
  if (state.isOpen === 0 || fid.node === undefined) return;
  if (fid.node instanceof StaleNode) fid.file = new StaleFile();
  else await reopen(search, fid, fid.node, state);
}

/** Gives the fid its node; answers its device. */
async function findNode(search: Search, state: FidState, fid: Fid): Promise<number> {
  let problem = 'is gone';
  if (state.found === Found.NAMED) {
    const found = await findByNames(search, state, fid);
    if (typeof found === 'number') return found;
    problem = found;
  }
  const device = state.found === Found.STALE ? undefined : await regain(search, state, fid);
  if (device !== undefined) return device;
  if (state.found !== Found.STALE && !isGoneForClient(search, state)) throw refusal(state, problem);
  fid.node = new StaleNode(state.names);
  return 0;
}

/**
 * Whether the client has lost the file anyway, as far as it is not open: its names lead to another one since. That a whole file system is another
 * one is no change of a moment.
 */
function isGoneForClient({ descriptors }: Search, { found, isOpen, names }: FidState): boolean {
  return descriptors !== undefined && found === Found.NAMED && isOpen === 0 && names.length > 0;
}

/** @throws Refusal where the root is gone */
async function walkerOf(search: Search): Promise<PathWalker> {
  const root = await search.fs.attach();
  if (isFailure(root)) throw new Refusal(`the root of the file system is gone (errno ${-root})`);
  return (search.walker = new PathWalker(root));
}

/** The device, or what is wrong with the file that the names lead to. @throws Refusal where it could not be looked at */
async function findByNames(search: Search, state: FidState, fid: Fid): Promise<number | string> {
  const { attributes } = search;
  const walker = search.walker ?? (await walkerOf(search));
  const node = await walker.walk(state.names, attributes);
  if (isFailure(node)) {
    if (!ABSENT.has(node)) throw refusal(state, `cannot be reached (errno ${-node})`);
    return node === -Errno.ENOENT ? 'is not there' : `cannot be reached (errno ${-node})`;
  }
  const failure = attributes.filled ? 0 : await node.getattr(attributes);
  if (failure === 0 && isSame(search, state)) {
    fid.node = node;
    return attributes.device;
  }
  node.release();
  if (failure < 0 && !ABSENT.has(failure)) throw refusal(state, `cannot be looked at (errno ${-failure})`);
  return failure < 0 ? 'is not there' : 'is another file here';
}

/** The device, once the fid has its node by a descriptor; undefined where it cannot be had by one. */
async function regain(search: Search, state: FidState, fid: Fid): Promise<number | undefined> {
  const walker = search.walker ?? (await walkerOf(search));
  const { attributes } = search;
  const ofNode = given(search, state.nodeDescriptor, state.nodeDetails);
  const ofFile = given(search, state.fileDescriptor, state.fileDetails);
  const { descriptor, details } = state.found === Found.KEPT ? ofNode : ofFile;
  if (state.names.length === 0) return undefined;
  const above = await walker.walk(state.names.slice(0, -1), attributes);
  if (!isFailure(above)) above.release();
  const { node: directory, names } = walker.reached;
  const node = await directory.regain(state.names.slice(names).join('/'), { descriptor, details });
  if (isFailure(node)) return undefined;
  if ((await node.getattr(attributes)) === 0 && isSame(search, state)) {
    fid.node = node;
    return attributes.device;
  }
  node.release();
  return undefined;
}

function isSame({ same, attributes }: Search, { pathLow, pathHigh, qidType }: FidState): boolean {
  return qidTypeOf(attributes.mode) === qidType && same.isSame(attributes, pathLow, pathHigh);
}

async function reopen(search: Search, fid: Fid, node: FsNode, state: FidState): Promise<void> {
  const ofFile = given(search, state.fileDescriptor, state.fileDetails);
  const file: OpenFile | Failure = await node.reopen(state.openFlags & ~ONCE, ofFile);
  if (isFailure(file)) throw refusal(state, `cannot be opened (errno ${-file})`);
  fid.file = file;
  if (state.listing !== undefined) fid.listing = StatListing.from(state.listing);
  await lockAgain(search, file, state);
}

async function lockAgain(search: Search, file: OpenFile, state: FidState): Promise<void> {
  for (const { descriptor, ...lock } of state.locks) {
    if (lock.type !== LockType.P9_LOCK_TYPE_RDLCK && lock.type !== LockType.P9_LOCK_TYPE_WRLCK)
      throw refusal(state, 'has a lock of no kind');
    // Set through a file that may only be read, a lock is held as a shared one.
    const readOnly =
      (state.openFlags & OpenFlag.O_ACCMODE) === OpenFlag.O_RDONLY &&
      lock.type === LockType.P9_LOCK_TYPE_RDLCK;
    const holder = search.descriptors?.at(descriptor - 1);
    const status = await file.relock({ ...lock, wait: false, readOnly }, holder);
    if (status === LockStatus.P9_LOCK_BLOCKED) throw refusal(state, 'is locked by somebody else here');
    if (status !== LockStatus.P9_LOCK_SUCCESS) throw refusal(state, 'cannot be locked here');
  }
}

function given({ descriptors }: Search, number: number, details: Uint8Array): Given {
  return { descriptor: descriptors?.at(number - 1), details };
}

function refusal({ names, number }: FidState, why: string): Refusal {
  return new Refusal(`${JSON.stringify(`/${names.join('/')}`)} (fid ${number}) ${why}`);
}
