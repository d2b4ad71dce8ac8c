/**
 * What a journal is told before a request changes files: what was there before. By that, and by what is there then, the next server
 * finds out whether it was carried out.
 */
import { isFailure, type Failure } from '../../../errno.js';
import { isPromise, type Attributes, type FsNode, type MaybePromise } from '../../fs/file-system.js';
import { MessageType } from '../../protocol/constants.js';
import { andThen, type Handler } from '../and-then.js';
import type { Fid } from '../fid.js';
import { INTENT_FIELDS, type Request } from '../request.js';
import type { Session } from '../session.js';

const THERE = 0;
const INODE_LOW = 1;
const INODE_HIGH = 2;
const DEVICE = 3;
const SIZE = 4;

export interface Intent {
  /** Whether the name led to a file; or the fid's file had the attribute. */
  readonly isThere: boolean;
  readonly inodeLow: number;
  readonly inodeHigh: number;
  readonly device: number;
  /** Of the file that is appended to. */
  readonly sizeBytes: number;
}

const BYTES = INTENT_FIELDS * Float64Array.BYTES_PER_ELEMENT;

export function readIntent(extra: Uint8Array): Intent | undefined {
  if (extra.length !== BYTES) return undefined;
  const view = new DataView(extra.buffer, extra.byteOffset, extra.length);
  const [there, inodeLow, inodeHigh, device, sizeBytes] = Array.from({ length: INTENT_FIELDS }, (_, i) =>
    view.getFloat64(i * Float64Array.BYTES_PER_ELEMENT, true),
  );
  return { isThere: there !== 0, inodeLow, inodeHigh, device, sizeBytes };
}

export function isSameInode(intent: Intent, attributes: Attributes): boolean {
  const { inodeLow, inodeHigh, device } = attributes;
  return intent.inodeLow === inodeLow && intent.inodeHigh === inodeHigh && intent.device === device;
}

/** Looks at what the request is about to change, notes it in `r.intent`, and goes on with `then`. */
export function lookBefore(session: Session, r: Request, then: Handler): MaybePromise<number> {
  r.intent.fill(0);
  const fid = session.fid(directoryOf(r));
  const { type } = r.message;
  if (fid?.node === undefined || fid.xattr !== undefined) return then(session, r);
  const isSelf = type === MessageType.Tremove || type === MessageType.Trename;
  // One without a name cannot be moved or removed.
  if (isSelf && fid.node.names() === undefined) return then(session, r);
  if (isSelf) return during(session, r, fid, fid.node.getattr(r.attributes), noteSelf, then);
  r.attributes.filled = false;
  return during(session, r, fid, fid.node.walk(r.message.name, r.attributes), noteEntry, then);
}

/** The directory with the entry that is made, moved or removed; or the file itself. */
function directoryOf({ message: { type, fid, dfid } }: Request): number {
  const isFid =
    type === MessageType.Tlcreate ||
    type === MessageType.Trenameat ||
    type === MessageType.Tremove ||
    type === MessageType.Trename;
  return isFid ? fid : dfid;
}

/** Whether the fid's file has the attribute that is about to be stored. */
export function lookForXattr(session: Session, r: Request, fid: Fid, then: Handler): MaybePromise<number> {
  r.intent.fill(0);
  const { node, xattr } = fid;
  if (node === undefined || xattr === undefined) return then(session, r);
  return during(session, r, fid, node.getxattr(xattr.name), noteXattr, then);
}

/** How large the fid's file is, which is about to be appended to. */
export function lookAtSize(session: Session, r: Request, fid: Fid, then: Handler): MaybePromise<number> {
  r.intent.fill(0);
  if (fid.file === undefined) return then(session, r);
  return during(session, r, fid, fid.file.getattr(r.attributes), noteSelf, then);
}

type Note<T> = (session: Session, r: Request, answer: T) => MaybePromise<number>;

/** Waits for an answer, during which the fid is held, has it noted, and goes on. */
function during<T>(
  session: Session,
  r: Request,
  fid: Fid,
  answer: MaybePromise<T>,
  note: Note<T>,
  then: Handler,
): MaybePromise<number> {
  if (!isPromise(answer)) return andThen(note(session, r, answer), session, r, then);
  fid.holds++;
  return answer
    .then((settled) => note(session, r, settled))
    .finally(() => session.release(fid))
    .then(() => then(session, r));
}

function noteSelf(_session: Session, r: Request, answer: number): number {
  if (answer < 0) return 0;
  const { inodeLow, inodeHigh, device, sizeBytes } = r.attributes;
  r.intent[THERE] = 1;
  r.intent[INODE_LOW] = inodeLow;
  r.intent[INODE_HIGH] = inodeHigh;
  r.intent[DEVICE] = device;
  r.intent[SIZE] = sizeBytes;
  return 0;
}

function noteEntry(session: Session, r: Request, node: FsNode | Failure): MaybePromise<number> {
  if (isFailure(node)) return 0;
  const noted = r.attributes.filled ? 0 : node.getattr(r.attributes);
  const note: Note<number> = (_, __, answer) => {
    session.releaseNode(node);
    return noteSelf(session, r, answer);
  };
  return andThen(noted, session, r, note);
}

function noteXattr(_session: Session, r: Request, value: Uint8Array | Failure): number {
  r.intent[THERE] = isFailure(value) ? 0 : 1;
  return 0;
}
