/**
 * The journal of one server's session: what another server, over the same files, goes on from after this process was killed, at whatever
 * instruction. Each change of the session is in it before the client hears of it; each change of files is announced in it before
 * it is made. So of a request that is given again, the next server knows whether it was carried out, and what was answered.
 *
 * A journal that is full gives way to a new one, which begins with the session as it is: its size is bounded by what the session holds.
 * Sessions of other dialects than 9P2000.L have none.
 */
import { Errno } from '../../../errno.js';
import { LockStatus, OpenFlag, type MaybePromise } from '../../fs/file-system.js';
import {
  HEADER_BYTES,
  MessageType,
  REQUEST_MAX_BYTES,
  TWRITE_HEADER_BYTES,
  VERSION_9P2000_L,
} from '../../protocol/constants.js';
import { MessageWriter } from '../../protocol/cursor.js';
import type { Handler } from '../and-then.js';
import type { Request } from '../request.js';
import type { Session } from '../session.js';
import { OpenFiles, type HeldFiles } from './held-files.js';
import { lookAtSize, lookBefore, lookForXattr } from './intent.js';
import { JournalLog } from './journal-log.js';
import type { JournalStore } from './journal-store.js';
import { JOURNAL_USE, JournalUse, movesFiles, namesFid } from './journal-use.js';
import { RecordKind } from './record.js';
import { serveAgain, type Repeats } from './repeats.js';
import { writeFid, writePrefix, writeSession } from './session-records.js';

/** A new session's journal, and the next ones of a session that holds little. */
const FIRST_BYTES = 64 * 1024;
const SMALL_BYTES = 256 * 1024;
/** A journal is this many times what it begins with, or more. */
const GROWTH = 8;
const FID_BYTES = 96;
const JOURNAL_MAX_BYTES = 2 ** 30;

const TYPE_OFFSET = 4;
/** A fid's record, where it is in one with its request. */
const FID_MAX_BYTES = 64 * 1024;
const NOTHING = new Int32Array(0);

export class SessionJournal {
  readonly #store: JournalStore;
  readonly #session: Session;
  readonly #active: Iterable<Request>;
  /** Undefined while there is no session to keep, or no room for its journal. */
  #log: JournalLog | undefined;
  #prefixCount = 0;
  /** Renames and removals so far. */
  #moves = 0;
  /** Requests that the server before this one did not answer, or may not have. */
  #repeats: Repeats | undefined;
  #isJournaled = false;
  /** What the store has is this server's, not one's before it. */
  #isOwn = false;
  /** The session was handed over, and what the store has is of the server that had it: it may go on yet. */
  #isAnothers = false;
  #fidWriter: MessageWriter | undefined;
  readonly #openFiles: OpenFiles | undefined;

  /** `active` are the requests under way, at any time. */
  constructor(store: JournalStore, session: Session, active: Iterable<Request>) {
    this.#store = store;
    this.#session = session;
    this.#active = active;
    this.#openFiles = store.files && new OpenFiles(store.files, session);
  }

  /** Where open files without names are held. */
  get heldFiles(): HeldFiles | undefined {
    return this.#store.files;
  }

  /** What another server left: a copy, once. Undefined where there is nothing, or a session of this server's own has begun. */
  takeLeft(): Uint8Array | undefined {
    if (this.#isOwn) return undefined;
    this.#isOwn = true;
    return this.#store.read();
  }

  /** Goes on with another server's session, in this dialect, and with what is known of requests that may be given again. */
  resume(dialect: string, repeats: Repeats | undefined): void {
    this.agreed(dialect);
    this.#repeats = repeats;
    this.#openFiles?.renew(true);
    if (this.#isJournaled) this.#begin(FIRST_BYTES);
  }

  /** Goes on with the session of a server that lives, in this dialect: until `goesOn`, or a request, that one may go on itself. */
  takeOver(dialect: string): void {
    this.agreed(dialect);
    this.#openFiles?.renew(true);
    this.#isAnothers = true;
  }

  /** A new session begins, in this dialect. What of the last one's replies is unpublished stays. */
  agreed(dialect: string): void {
    this.#isOwn = true;
    this.#isAnothers = false;
    this.#isJournaled = dialect === VERSION_9P2000_L;
    this.#repeats = undefined;
    this.#openFiles?.renew(false);
  }

  /** There is no session any more. */
  clear(): void {
    const isAnothers = this.#isAnothers;
    if (!isAnothers) this.#openFiles?.renew(false);
    this.leave();
    if (!isAnothers) this.#store.remove();
  }

  /** The session is another server's now, and so is what is kept of it. */
  leave(): void {
    this.#isOwn = true;
    this.#isAnothers = false;
    this.#isJournaled = false;
    this.#log = undefined;
    this.#repeats = undefined;
    for (const r of this.#active) r.journaled = JournalUse.none;
  }

  /** Serves a request, and notes first what has to be known if it is given to another server. */
  serve(r: Request, handle: Handler): MaybePromise<number> {
    const use = JOURNAL_USE[r.message.type];
    this.goesOn();
    if (use === JournalUse.none) return handle(this.#session, r);
    if (this.#repeats !== undefined) {
      const answer = this.#serveAgain(this.#repeats, r, handle);
      if (answer !== undefined) return answer;
    }
    if (this.#log === undefined && use !== JournalUse.version) return handle(this.#session, r);
    r.journaled = use;
    r.moves = this.#moves;
    if (use === JournalUse.intent) return this.#serveIntent(r, handle);
    if (use === JournalUse.clunk) return this.#serveClunk(r, handle);
    if (use === JournalUse.write) return this.#serveWrite(r, handle);
    return handle(this.#session, r);
  }

  #serveIntent(r: Request, handle: Handler): MaybePromise<number> {
    const look = () => lookBefore(this.#session, r, this.#intending(handle));
    const holds = movesFiles(r.message.type) ? this.#openFiles?.hold(r) : undefined;
    return holds === undefined ? look() : holds.then(look);
  }

  /** The session is this server's alone from now on. */
  goesOn(): void {
    if (!this.#isAnothers) return;
    this.#isAnothers = false;
    if (this.#isJournaled) this.#begin(FIRST_BYTES);
    else this.#store.remove();
  }

  /** Files are gone from under fids, for good: by what was told of those, others that come in their places would be found. */
  forgetGone(): void {
    const log = this.#log;
    if (log === undefined) return;
    for (const fid of this.#session.fids) {
      const { node } = fid;
      if (node === undefined || node.names() !== undefined || node.keep() !== -Errno.ESTALE) continue;
      this.#openFiles?.forget(fid.number);
      log.beginExtra();
      writeFid(log.writer, fid);
      if (!log.commitExtra(RecordKind.FID)) return this.#begin(SMALL_BYTES);
    }
  }

  #serveAgain(repeats: Repeats, r: Request, handle: Handler): MaybePromise<number> | undefined {
    if (r.origin.restored === true) {
      const known = repeats.take(r, numberOf(r));
      return known && serveAgain(this.#session, r, known, handle);
    }
    // Nothing more is given again. What was known of it would be taken for that of others, which are yet to come.
    this.#repeats = undefined;
    this.#log?.forgetLatest();
    this.#begin(FIRST_BYTES);
    return undefined;
  }

  /** The request is over, and its reply is where it belongs: now, and not before, it may be sent. */
  finished(r: Request, result: number, replyBytes: number): void {
    const { type } = r.message;
    if (type === MessageType.Tversion) return this.#finishedVersion(r, result);
    if (this.#log === undefined || !this.#isTold(r, result)) return;
    const isKnown = r.journaled === JournalUse.again || r.journaled === JournalUse.done;
    if (isKnown) this.#append(RecordKind.REPLY, r, undefined);
    else if (result !== 0 || !this.#isUnclear(r)) this.#append(RecordKind.OUTCOME, r, this.#extraOf(r));
    else this.#tellUnclear(r, replyBytes);
    if (movesFiles(type)) this.#moves++;
    if (result === 0) this.#openFiles?.finished(r);
  }

  /** Whether anything of it is to be told. */
  #isTold(r: Request, result: number): boolean {
    if (r.journaled === JournalUse.none) return false;
    if (r.journaled === JournalUse.effect && result !== 0) return false;
    // A lock that was not had is asked for again.
    return (
      r.message.type !== MessageType.Tlock || r.writer.bytes[HEADER_BYTES] === LockStatus.P9_LOCK_SUCCESS
    );
  }

  /** Whether what it did to the session cannot be told by its message and reply. */
  #isUnclear(r: Request): boolean {
    const { type } = r.message;
    if (r.writer.bytes[TYPE_OFFSET] !== type + 1) return true;
    // Something was renamed meanwhile: the names of the message may not be those of the file.
    return r.moves !== this.#moves && (namesFid(type) || movesFiles(type));
  }

  /** Tells of its fid as it is or, where even that would not do, of the whole session. */
  #tellUnclear(r: Request, replyBytes: number): void {
    const { type, fid: old, newfid } = r.message;
    const fid = this.#session.fid(type === MessageType.Twalk ? newfid : old);
    const w = (this.#fidWriter ??= new MessageWriter(new Uint8Array(FID_MAX_BYTES)));
    w.reset(0);
    if (fid !== undefined) writeFid(w, fid);
    if (replyBytes > 0 && fid !== undefined && namesFid(type) && w.errno === 0)
      return this.#append(RecordKind.FID, r, w.bytes.subarray(0, w.position));
    this.#begin(SMALL_BYTES);
    if (replyBytes > 0) this.#append(RecordKind.REPLY, r, undefined);
  }

  #finishedVersion(r: Request, result: number): void {
    if (result !== 0) return;
    if (!this.#isJournaled) return this.clear();
    this.#begin(FIRST_BYTES);
    this.#append(RecordKind.REPLY, r, undefined);
  }

  /** Where it is the fid of an attribute that was written, Tclunk changes a file. */
  #serveClunk(r: Request, handle: Handler): MaybePromise<number> {
    const session = this.#session;
    const fid = session.fid(r.message.fid);
    return fid?.xattr?.kind === 'write'
      ? lookForXattr(session, r, fid, this.#intending(handle))
      : handle(session, r);
  }

  #serveWrite(r: Request, handle: Handler): MaybePromise<number> {
    const session = this.#session;
    const fid = session.fid(r.message.fid);
    const isXattr = fid?.xattr !== undefined;
    r.journaled = isXattr ? JournalUse.effect : JournalUse.none;
    if (isXattr || fid?.file === undefined || (fid.openFlags & OpenFlag.O_APPEND) === 0)
      return handle(session, r);
    return lookAtSize(session, r, fid, this.#intending(handle));
  }

  /** Tells that the request is about to be carried out, and carries it out. */
  #intending(handle: Handler): Handler {
    return (session, r) => {
      r.journaled = JournalUse.intent;
      const requestBytes = requestBytesOf(r);
      if (this.#log?.hasRoom(requestBytes, 0, r.intentBytes.length) === false) this.#begin(SMALL_BYTES);
      else if (this.#log !== undefined) intendIn(this.#log, r, requestBytes);
      return handle(session, r);
    };
  }

  #append(kind: RecordKind, r: Request, extra: Uint8Array | undefined): void {
    const requestBytes = requestBytesOf(r);
    const replyBytes = r.writer.position;
    if (this.#session.qids.prefixes.length !== this.#prefixCount) this.#tellPrefixes();
    if (this.#log?.hasRoom(requestBytes, replyBytes, extra === undefined ? 0 : extra.length) === false) {
      this.#begin(SMALL_BYTES);
      // The session as it is has this request in it.
      kind = RecordKind.REPLY;
      extra = undefined;
    }
    this.#log?.append(kind, numberOf(r), r.words, requestBytes, r.replyWords, replyBytes, extra);
  }

  /** What the session has from a request and neither its message nor its reply says. */
  #extraOf(r: Request): Uint8Array | undefined {
    const { type, offset, count, newfid } = r.message;
    if (type === MessageType.Twrite) return r.fid?.xattr?.value.subarray(offset, offset + count);
    return type === MessageType.Txattrwalk ? this.#session.fid(newfid)?.xattr?.value : undefined;
  }

  #tellPrefixes(): void {
    const { prefixes } = this.#session.qids;
    const log = this.#log;
    if (log === undefined) return;
    for (let i = this.#prefixCount; i < prefixes.length; i++) {
      log.beginExtra();
      writePrefix(log.writer, prefixes[i]);
      if (!log.commitExtra(RecordKind.PREFIX)) return this.#begin(SMALL_BYTES);
    }
    this.#prefixCount = prefixes.length;
  }

  /** Begins a new journal with the session as it is. */
  #begin(leastBytes: number): void {
    let sizeBytes = Math.max(leastBytes, this.#session.statistics.fids * FID_BYTES * GROWTH);
    for (; sizeBytes <= JOURNAL_MAX_BYTES; sizeBytes *= 2) {
      const memory = this.#store.create(sizeBytes);
      if (memory === undefined) break;
      const log = new JournalLog(memory);
      if (!this.#tellSession(log) || log.usedBytes * GROWTH > sizeBytes) continue;
      this.#store.commit();
      this.#log = log;
      this.#prefixCount = this.#session.qids.prefixes.length;
      return;
    }
    this.#session.report(
      `there is no room for a journal of ${sizeBytes} bytes: what the guest has open does not outlive this process`,
    );
    this.clear();
  }

  /** False where it has no room. */
  #tellSession(log: JournalLog): boolean {
    const session = this.#session;
    log.beginExtra();
    writeSession(log.writer, session.msizeBytes, VERSION_9P2000_L);
    if (!log.commitExtra(RecordKind.SESSION)) return false;
    for (const prefix of session.qids.prefixes) {
      log.beginExtra();
      writePrefix(log.writer, prefix);
      if (!log.commitExtra(RecordKind.PREFIX)) return false;
    }
    for (const fid of session.fids) {
      // A fid that is only reserved is a request's, which is carried out again.
      if (fid.node === undefined && fid.xattr === undefined) continue;
      log.beginExtra();
      writeFid(log.writer, fid);
      if (!log.commitExtra(RecordKind.FID)) return false;
    }
    return this.#tellRequests(log);
  }

  #tellRequests(log: JournalLog): boolean {
    if (this.#log !== undefined && !log.takeLatest(this.#log)) return false;
    if (this.#repeats?.tell(log) === false) return false;
    for (const r of this.#active) {
      if (r.journaled !== JournalUse.intent && r.journaled !== JournalUse.done) continue;
      const requestBytes = requestBytesOf(r);
      if (!log.hasRoom(requestBytes, 0, r.intentBytes.length)) return false;
      intendIn(log, r, requestBytes);
    }
    return true;
  }
}

function numberOf({ origin }: Request): number {
  return origin.inflightNumber ?? 0;
}

function intendIn(log: JournalLog, r: Request, requestBytes: number): void {
  log.append(RecordKind.INTENT, numberOf(r), r.words, requestBytes, NOTHING, 0, r.intentBytes);
}

/** What of a message was fetched: all of it, but for the data of a Twrite. */
function requestBytesOf({ message: { type, sizeBytes } }: Request): number {
  return Math.min(sizeBytes, type === MessageType.Twrite ? TWRITE_HEADER_BYTES : REQUEST_MAX_BYTES);
}
