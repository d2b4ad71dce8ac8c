/** Says what a session is, in one look: nothing is waited for. */
import { OpenFlag } from '../../fs/file-system.js';
import { MessageType } from '../../protocol/constants.js';
import type { Fid } from '../fid.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import type { FidState, SessionState } from './session-state.js';

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

/** @throws UntellableError for a fid that could not be found again */
export function sessionState(session: Session, dialect: string): SessionState {
  const fids: FidState[] = [];
  // A fid that is only reserved is a request's, which is carried out again.
  for (const fid of session.fids)
    if (fid.node !== undefined || fid.xattr !== undefined) fids.push(fidState(fid));
  return { dialect, msizeBytes: session.msizeBytes, prefixes: session.qids.prefixes, fids };
}

function fidState(fid: Fid): FidState {
  const { number, node, file, attachment } = fid;
  const names = node === undefined ? [] : node.names();
  if (names === undefined)
    throw new UntellableError(`fid ${number} is of a file without a name (once ${quoted(fid)})`);
  const locks = file === undefined ? [] : file.locks();
  if (locks === undefined) throw new UntellableError(`fid ${number} (${quoted(fid)}) has too many locks`);
  return {
    number,
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
    names,
    lastName: fid.name,
    locks,
    listing: fid.listing?.state,
    xattr: fid.xattr,
  };
}

function openFlags(fid: Fid | undefined): number {
  return fid?.file === undefined ? 0 : fid.openFlags;
}

function quoted(fid: Fid): string {
  return JSON.stringify(fid.node?.entryName() || fid.name);
}
