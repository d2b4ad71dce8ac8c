/** What is known of requests that a server before this one began, and that may be given to this one again: each is answered once. */
import { Errno, isFailure, type Failure } from '../../../errno.js';
import { IoVector } from '../../../io-vector.js';
import { OpenFlag, type MaybePromise, type OpenFile } from '../../fs/file-system.js';
import { HEADER_BYTES, MessageType, TWRITE_HEADER_BYTES } from '../../protocol/constants.js';
import { encodeCount } from '../../protocol/replies.js';
import type { Handler } from '../and-then.js';
import { held } from '../fid.js';
import { madeBefore } from '../operations/entries.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { readIntent } from './intent.js';
import type { JournalLog } from './journal-log.js';
import { JournalUse } from './journal-use.js';
import { RecordKind, wordsFor, type JournalRecord } from './record.js';

const TYPE_OFFSET = 4;

/** The last thing that a journal tells of a request: that it was about to be carried out, or the reply. */
export interface Known {
  readonly record: JournalRecord;
  /** Of one without a reply: a look at the files says that it was carried out. */
  readonly done: boolean;
}

export class Repeats {
  /** By tag. */
  readonly #known: Map<number, Known>;

  constructor(known: Map<number, Known>) {
    this.#known = known;
  }

  /** What is known of this very request; of the last one with its tag, nothing has to be known any more. */
  take(r: Request, wanted: number): Known | undefined {
    const { tag } = r.message;
    const known = this.#known.get(tag);
    if (known === undefined) return undefined;
    this.#known.delete(tag);
    const { number, request } = known.record;
    return number === wanted && isPrefix(request, r.bytes) ? known : undefined;
  }

  /** Tells another journal; false where that has no room. */
  tell(log: JournalLog): boolean {
    for (const { record } of this.#known.values()) {
      const { number, request, reply, extra } = record;
      const isIntent = record.kind === RecordKind.INTENT;
      const kept = isIntent ? extra : undefined;
      if (!log.hasRoom(request.length, reply.length, kept?.length ?? 0)) return false;
      const kind = isIntent ? RecordKind.INTENT : RecordKind.REPLY;
      log.append(kind, number, wordsOf(request), request.length, wordsOf(reply), reply.length, kept);
    }
    return true;
  }
}

function isPrefix(request: Uint8Array, bytes: Uint8Array): boolean {
  for (let i = 0; i < request.length; i++) if (request[i] !== bytes[i]) return false;
  return true;
}

function wordsOf(bytes: Uint8Array): Int32Array {
  const words = new Int32Array(wordsFor(bytes.length));
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

/** Answers a request with what is known of it; undefined where it is to be carried out as if it were new. */
export function serveAgain(
  session: Session,
  r: Request,
  { record, done }: Known,
  handle: Handler,
): MaybePromise<number> | undefined {
  if (record.kind !== RecordKind.INTENT) return replyAgain(r, record.reply);
  r.journaled = JournalUse.intent;
  r.intentBytes.set(record.extra);
  const sizeBytes = readIntent(record.extra)?.sizeBytes ?? 0;
  if (r.message.type === MessageType.Twrite) return appendAgain(session, r, sizeBytes, handle);
  return done ? doneBefore(session, r, handle) : undefined;
}

function replyAgain(r: Request, reply: Uint8Array): number {
  r.journaled = JournalUse.again;
  if (reply[TYPE_OFFSET] !== r.message.type + 1) return -errnoOf(reply);
  r.writer.reset(HEADER_BYTES);
  const at = r.writer.reserve(reply.length - HEADER_BYTES);
  if (at < 0) return -Errno.EIO;
  r.writer.bytes.set(reply.subarray(HEADER_BYTES), at);
  return 0;
}

/** Of an Rlerror. */
function errnoOf(reply: Uint8Array): number {
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length);
  return reply.length < HEADER_BYTES + 4 ? Errno.EIO : view.getUint32(HEADER_BYTES, true);
}

/** The reply to a request whose files are as it wanted them. */
function doneBefore(session: Session, r: Request, handle: Handler): MaybePromise<number> {
  switch (r.message.type) {
    case MessageType.Tmkdir:
    case MessageType.Tsymlink:
    case MessageType.Tmknod:
      r.journaled = JournalUse.done;
      return madeBefore(session, r);
    case MessageType.Tlcreate:
      // It is there, and is yet to be opened.
      r.message.flags &= ~OpenFlag.O_EXCL;
      return handle(session, r);
    case MessageType.Tremove:
    case MessageType.Tclunk:
      r.fid = session.remove(r.message.fid);
      return 0;
    default:
      r.journaled = JournalUse.done;
      return 0;
  }
}

/** Appends what is not there yet, and answers what is. */
async function appendAgain(
  session: Session,
  r: Request,
  sizeBytes: number,
  handle: Handler,
): Promise<number> {
  const fid = session.holdOpen(r, r.message.fid);
  if (isFailure(fid)) return fid;
  const failure = await fid.file.getattr(r.attributes);
  const there = Math.min(r.message.count, r.attributes.sizeBytes - sizeBytes);
  const isThere = failure === 0 && there > 0 && (await holds(r, sizeBytes, there));
  if (isThere) {
    encodeCount(r.writer, there);
    return 0;
  }
  await session.release(fid);
  r.fid = undefined;
  return handle(session, r);
}

/** Whether the file has the first bytes of the data there. It may be open to be written alone. */
async function holds(r: Request, offset: number, lengthBytes: number): Promise<boolean> {
  const file: OpenFile | Failure = await held(r.fid).node.open(OpenFlag.O_RDONLY);
  if (isFailure(file)) return false;
  const there = new Uint8Array(lengthBytes);
  const into = new IoVector();
  into.push(there, 0, lengthBytes, 0);
  const read = await file.read(offset, into);
  await file.close();
  if (read !== lengthBytes) return false;
  const wanted = new Uint8Array(lengthBytes);
  r.source.gather(TWRITE_HEADER_BYTES, wanted, 0, lengthBytes);
  return wanted.every((byte, i) => byte === there[i]);
}
