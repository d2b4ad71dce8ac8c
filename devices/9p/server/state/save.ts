/** Says what a session is, in one look: nothing is waited for. */
import { Errno, isFailure } from '../../../errno.js';
import type { SavedDescriptors, StateDestination } from '../../../state-descriptors.js';
import { OpenFlag, type FsNode, type HeldLock } from '../../fs/file-system.js';
import { NOTHING_KEPT, stateOf, type Kept } from '../../fs/kept.js';
import { MessageType } from '../../protocol/constants.js';
import type { Fid } from '../fid.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { Found, type FidState, type SessionState } from './session-state.js';

/** Requests that may be carried out again: twice is what once is. */
const REPEATABLE: ReadonlySet<number> = new Set([
  MessageType.Tread,
  MessageType.Twrite,
  MessageType.Treaddir,
  MessageType.Tgetattr,
  MessageType.Tstat,
  MessageType.Tstatfs,
  MessageType.Treadlink,
  MessageType.Tlock,
  MessageType.Tgetlock,
  MessageType.Tfsync,
  MessageType.Tflush,
]);

const NO_LOCKS: readonly HeldLock[] = [];

/** Why a state cannot be told. It may be told a moment later, but for what is said of a fid. */
export class UntellableError extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'UntellableError';
  }
}

/** @throws UntellableError while a request is under way that must not be carried out twice */
export function checkRepeatable(r: Request): void {
  const { type } = r.message;
  const appends = type === MessageType.Twrite && (openFlags(r.fid) & OpenFlag.O_APPEND) !== 0;
  const movesOn = r.readingDirectory?.listing !== undefined;
  const isWritten = r.fid?.xattr?.kind === 'write';
  if (!REPEATABLE.has(type) || appends || movesOn || isWritten)
    throw new UntellableError(`a request of type ${type} is under way`);
}

/**
 * The session for another server. Its fids are looked at as they are asked for.
 * @throws UntellableError where the file system cannot tell of itself, and while a fid is asked for that could not be found again
 */
export function sessionState(session: Session, dialect: string, to: StateDestination): SessionState {
  const fileSystem = stateOf(session.fs, to);
  if (typeof fileSystem === 'string') throw new UntellableError(fileSystem);
  const { msizeBytes, qids } = session;
  return { dialect, msizeBytes, fileSystem, prefixes: qids.prefixes, fids: fidStates(session, to) };
}

function* fidStates(session: Session, to: StateDestination): Generator<FidState> {
  // A fid that is only reserved is a request's, which is carried out again.
  for (const fid of session.fids)
    if (fid.node !== undefined || fid.xattr !== undefined) yield fidState(fid, to);
}

function fidState(fid: Fid, { descriptors }: StateDestination): FidState {
  const { node, file, attachment } = fid;
  const names = node === undefined ? [] : node.names();
  const kept =
    node !== undefined && names === undefined ? keepNameless(fid, node, descriptors) : NOTHING_KEPT;
  const isStale = kept === undefined;
  const ofFile = file === undefined || isStale ? NOTHING_KEPT : file.keep();
  return {
    number: fid.number,
    hasNode: node === undefined ? 0 : 1,
    isOpen: file === undefined ? 0 : 1,
    removeOnClunk: fid.removeOnClunk ? 1 : 0,
    qidType: fid.qidType,
    openFlags: fid.openFlags,
    pathLow: fid.pathLow,
    pathHigh: fid.pathHigh,
    uid: attachment?.uid ?? 0,
    rootLow: attachment?.pathLow ?? 0,
    rootHigh: attachment?.pathHigh ?? 0,
    found: isStale ? Found.STALE : names === undefined ? Found.KEPT : Found.NAMED,
    nodeDescriptor: numbered(kept?.descriptor ?? -1, descriptors),
    fileDescriptor: numbered(ofFile.descriptor, descriptors),
    names: names ?? node?.lastNames() ?? [],
    lastName: fid.name,
    nodeDetails: kept?.details ?? NOTHING_KEPT.details,
    fileDetails: ofFile.details,
    locks: isStale ? [] : locksOf(fid, descriptors),
    listing: fid.listing?.state,
    xattr: fid.xattr,
  };
}

/** What leads to a node without a name; undefined where nothing does, for the client neither. */
function keepNameless(fid: Fid, node: FsNode, descriptors: SavedDescriptors | undefined): Kept | undefined {
  const kept = node.keep();
  if (kept === -Errno.ESTALE) return undefined;
  if (isFailure(kept))
    throw new UntellableError(
      `${quoted(fid)} has no name any more, and cannot be told: have it closed first`,
    );
  if (descriptors === undefined && kept.descriptor >= 0)
    throw new UntellableError(
      `${quoted(fid)} is open but unlinked, and its descriptor cannot go along: have it closed first`,
    );
  return kept;
}

function locksOf(fid: Fid, descriptors: SavedDescriptors | undefined): readonly HeldLock[] {
  const locks = fid.file?.locks() ?? (fid.file === undefined ? NO_LOCKS : undefined);
  if (locks === undefined) throw new UntellableError(`${quoted(fid)} has too many locks`);
  return locks.map((lock) => ({ ...lock, descriptor: numbered(lock.descriptor, descriptors) }));
}

/** A descriptor as the state names it: from 1 on, and 0 for none. */
function numbered(fd: number, descriptors: SavedDescriptors | undefined): number {
  return fd < 0 || descriptors === undefined ? 0 : descriptors.add(fd) + 1;
}

function openFlags(fid: Fid | undefined): number {
  return fid?.file === undefined ? 0 : fid.openFlags;
}

function quoted({ node, number, name }: Fid): string {
  const names = node?.names() ?? node?.lastNames() ?? [];
  const path = names.length > 0 ? `/${names.join('/')}` : name;
  return `${JSON.stringify(path)} (fid ${number})`;
}
