/**
 * A 9P server for one client: one mount, one transport. It takes messages and answers them, in whatever order the file system
 * lets it; it knows nothing of how they travel.
 */
import { Errno } from '../../errno.js';
import type { IoVector } from '../../io-vector.js';
import { SAME_PROCESS, type GivenDescriptors, type StateDestination } from '../../state-descriptors.js';
import { isPromise, type FileSystem, type MaybePromise } from '../fs/file-system.js';
import {
  HEADER_BYTES,
  MessageType,
  MSIZE_MIN_BYTES,
  RLERROR_BYTES,
  RVERSION_MAX_BYTES,
} from '../protocol/constants.js';
import { decodeTflush, decodeTversion } from '../protocol/messages.js';
import { encodeRversion } from '../protocol/replies.js';
import { ActiveRequests } from './active-requests.js';
import { Backlog, typeOf, waitingAgain, waitingRequest, type Waiting } from './backlog.js';
import type { Operation } from './dialect.js';
import { DIALECT_9P2000_L } from './dialect-9p2000l.js';
import { control, dialectFor, NO_DIALECT } from './dialects.js';
import { fetchFields, fetchHeader } from './fetch.js';
import type { JournalStore } from './journal/journal-store.js';
import { recoverInto } from './journal/recover.js';
import { SessionJournal } from './journal/session-journal.js';
import type { ServerLatencies, ServerLimits, ServerOptions, ServerStatistics } from './options.js';
import { reply } from './reply.js';
import { type Done, NO_ORIGIN, type Request, type RequestOrigin } from './request.js';
import { Session } from './session.js';
import { restoreSession } from './state/restore.js';
import { checkRepeatable, sessionState, UntellableError } from './state/save.js';
import { decodeSession, encodeSession } from './state/session-state.js';

/** Most requests served at a time; further ones wait their turn, unread. How many may wait is the transport's to say. */
export const REQUESTS_MAX = 128;

/**
 * Most Tflush and Tversion requests that are let past those that wait their turn: they end requests, which may all be waiting for
 * something that never happens.
 */
const OVERTAKING_MAX = 64;

export class Server {
  readonly #session: Session;
  readonly #active = new ActiveRequests();
  #backlog = new Backlog();
  readonly #idle: (() => void)[] = [];
  readonly #versionOperation: Operation;
  readonly #flushOperation: Operation;
  #dialect = NO_DIALECT;
  /** Grows with each dropAll: requests of an older generation end without a reply. */
  #generation = 0;
  /** The Tversion that waits for the requests before it; none after it starts until it is answered. */
  #versionRequest: Request | undefined;
  #draining = false;
  #closed = false;
  /** Nothing is begun: see `hold`. */
  #held = false;
  /** Another process may go on with the session by now, and with its journal. */
  #isElsewhere = false;
  readonly #journal: SessionJournal | undefined;
  #recovering = false;

  /** With a `journal`, what the client has open outlives this process: see `recover`. */
  constructor(fs: FileSystem, options: ServerOptions, journal?: JournalStore) {
    this.#session = new Session(fs, options, {
      onClosed: () => this.#checkIdle(),
      interrupt: (fid) => this.#active.of(fid).forEach((r) => this.#session.interrupt(r)),
    });
    this.#journal = journal && new SessionJournal(journal, this.#session, this.#active);
    this.#versionOperation = control(decodeTversion, RVERSION_MAX_BYTES, (r) => this.#onVersion(r));
    this.#flushOperation = control(decodeTflush, RLERROR_BYTES, (r) => this.#onFlush(r));
  }

  /** The counters themselves: read them, never write them. */
  get statistics(): Readonly<ServerStatistics> {
    return this.#session.statistics;
  }

  get latencies(): ServerLatencies {
    return this.#session.latencies;
  }

  /** Changes limits from the next request on. What is over one by then stays until the client gives it up. */
  setLimits(limits: Partial<ServerLimits>): void {
    this.#session.options = { ...this.#session.options, ...limits };
  }

  /**
   * Serves the message in `request` and writes its answer to `reply`, then calls `done(token, replyBytes)`: exactly once, now
   * or later, with 0 where there is nothing to send (a flushed request, a reply without room for an error, a server that was
   * reset). Both vectors, and the memory they name, are the server's until then. Never throws.
   * The message is fetched once, before it is looked at; the data of a Twrite is handed to the file system where it lies.
   * `origin` tells the request from others of its tag, where it may be given again to another server that goes on for this one.
   */
  handle<T>(request: IoVector, reply: IoVector, done: Done<T>, token: T, origin = NO_ORIGIN): void {
    const finish = done as Done<unknown>;
    const waits = this.#versionRequest !== undefined || this.#recovering || !this.#backlog.isEmpty;
    const isFull = this.#held || this.#active.count >= REQUESTS_MAX;
    if (waits || isFull) this.#queue(waitingRequest(request, reply, finish, token, origin));
    else this.#start(request, reply, finish, token, origin);
  }

  /** Makes the request wait its turn, unless it is one that ends others. */
  #queue(waiting: Waiting): void {
    const type = typeOf(waiting);
    const ends = type === MessageType.Tflush || type === MessageType.Tversion;
    const room = this.#active.count < REQUESTS_MAX + OVERTAKING_MAX;
    const waits = this.#versionRequest !== undefined || this.#recovering || this.#held;
    if (!ends || !room || waits) {
      this.#backlog.push(waiting);
      return;
    }
    // A new version ends all that came before it, begun or not.
    if (type === MessageType.Tversion) this.#dropAllOf(this.#takeBacklog());
    this.#startWaited(waiting);
  }

  /**
   * The client is gone, or its device was reset: drops every fid and forgets the version. Requests under way end without a
   * reply, and what they use is released as each ends; where there are any, the promise is of the last one, and of the last
   * file closed. Requests that come meanwhile are served as a new client's. Never rejects. `leavesJournal` where that is, or may be, another
   * server's.
   */
  dropAll(leavesJournal = this.#isElsewhere): MaybePromise<void> {
    this.#generation++;
    this.#held = false;
    this.#dialect = NO_DIALECT;
    if (leavesJournal) this.#journal?.leave();
    else this.#journal?.clear();
    this.#isElsewhere = false;
    this.#session.msizeBytes = this.#session.options.maxMsizeBytes;
    this.#session.drop();
    const versionRequest = this.#versionRequest;
    this.#versionRequest = undefined;
    const backlog = this.#takeBacklog();
    for (const r of this.#active.copy()) this.#session.interrupt(r);
    if (versionRequest !== undefined) this.#finish(versionRequest, -Errno.ECANCELED);
    this.#dropAllOf(backlog);
    return this.#whenIdle();
  }

  /** Drops everything and closes the file system. Requests after this are answered with ENODEV. Rejects only where that close does. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.dropAll();
    await this.#session.fs.close();
  }

  /**
   * Begins nothing more until `unhold` or `dropAll`: requests wait, those that waited for something to happen among them. Resolves once none is
   * under way: then this server touches neither guest memory nor files. A file system that hangs keeps it waiting.
   */
  hold(): MaybePromise<void> {
    this.#held = true;
    for (const r of this.#active.copy()) this.#session.interrupt(r);
    return this.#whenIdle();
  }

  /** Goes on, as if nothing had been. */
  unhold(): void {
    this.#journal?.goesOn();
    this.#held = false;
    this.#isElsewhere = false;
    this.#startWaiting();
  }

  /**
   * What another server has to go on from, over the same files, with this one's client: given each request again that is not answered
   * yet. This one had better not answer any after this. Descriptors that go along stay the file system's.
   * @throws UntellableError while a request is under way that must not be carried out twice, or for a file that could not be found again
   */
  saveState(to: StateDestination = SAME_PROCESS): Uint8Array {
    if (this.#versionRequest !== undefined) throw new UntellableError('the client is agreeing on a version');
    for (const r of this.#active) if (r.generation === this.#generation) checkRepeatable(r);
    const dialect = this.#dialect === NO_DIALECT ? '' : this.#dialect.version;
    const bytes = encodeSession(sessionState(this.#session, dialect, to));
    this.#isElsewhere = to.leavesProcess;
    return bytes;
  }

  /**
   * Goes on where another server was, before any request. Answers why it cannot, and has changed nothing then. The bytes come from outside.
   * Of `descriptors`, the caller closes what is left. Rejects only where the file system breaks its contract.
   */
  async restoreState(bytes: Uint8Array, descriptors?: GivenDescriptors): Promise<string | undefined> {
    const state = decodeSession(bytes);
    if (typeof state === 'string') return state;
    const session = this.#session;
    const restored = await restoreSession(session.fs, state, session.options, descriptors);
    if (typeof restored === 'string') return restored;
    session.adopt(restored, state.msizeBytes);
    this.#dialect = state.dialect === '' ? NO_DIALECT : (dialectFor(state.dialect) ?? NO_DIALECT);
    this.#journal?.takeOver(this.#dialect.version);
    return undefined;
  }

  /**
   * Goes on where a server was whose process was killed, from the journal that it left, if it did: before any request but those that
   * come meanwhile, which wait. What cannot be found again is logged, and a journal that is none is dropped. Never rejects.
   */
  async recover(): Promise<void> {
    if (this.#journal === undefined) return;
    const generation = this.#generation;
    this.#recovering = true;
    try {
      const isWanted = (): boolean => generation === this.#generation;
      const goesOn = await recoverInto(this.#session, this.#journal, isWanted);
      if (goesOn) this.#dialect = DIALECT_9P2000_L;
    } finally {
      this.#recovering = false;
      this.#goOn();
    }
  }

  /** Files are gone from under fids of the client, for good: those are not to be found again should this process be killed. */
  forgetGone(): void {
    this.#journal?.forgetGone();
  }

  #takeBacklog(): Backlog {
    const backlog = this.#backlog;
    this.#backlog = new Backlog();
    return backlog;
  }

  #dropAllOf(backlog: Backlog): void {
    for (let next = backlog.shift(); next !== undefined; next = backlog.shift())
      this.#callDone(next.done, next.token, 0);
  }

  #startWaited({ source, reply, done, token, origin, header }: Waiting): void {
    this.#start(source, reply, done, token, origin, header);
  }

  /** `header` are the message's first bytes where those have been fetched already. */
  #start(
    source: IoVector,
    reply: IoVector,
    done: Done<unknown>,
    token: unknown,
    origin: RequestOrigin,
    header?: Uint8Array,
  ): void {
    const r = this.#active.add(this.#generation);
    r.begin(source, reply, done, token, origin);
    r.roomBytes = Math.min(reply.byteLength, this.#session.msizeBytes);
    this.#session.statistics.requests++;
    let answer: MaybePromise<number>;
    try {
      answer = this.#dispatch(r, header);
    } catch (error) {
      answer = this.#onException(r, error);
    }
    if (isPromise(answer)) this.#finishLater(r, answer);
    else if (!r.waits) this.#finish(r, answer);
  }

  #finishLater(r: Request, answer: Promise<number>): void {
    void answer.then(
      (result) => this.#finish(r, result),
      (error: unknown) => this.#finish(r, this.#onException(r, error)),
    );
  }

  #onException(r: Request, error: unknown): number {
    this.#session.report(`message type ${r.message.type} failed`, error);
    return -Errno.EIO;
  }

  /** Fetches, checks and decodes the message, and hands it to its operation. */
  #dispatch(r: Request, header: Uint8Array | undefined): MaybePromise<number> {
    const m = r.message;
    const unread = fetchHeader(r, header);
    if (unread !== 0) return unread;
    if (this.#active.find(m.tag, r) !== undefined) return -Errno.EINVAL;
    if (this.#closed) return -Errno.ENODEV;
    if (m.sizeBytes > this.#session.msizeBytes) return -Errno.EMSGSIZE;
    if (m.sizeBytes < HEADER_BYTES || m.sizeBytes > r.source.byteLength) return -Errno.EPROTO;
    const operation = this.#operation(m.type);
    if (operation === undefined) return this.#dialect === NO_DIALECT ? -Errno.EPROTO : -Errno.EOPNOTSUPP;
    const broken = fetchFields(r, operation);
    if (broken !== 0) return broken;
    if (operation.changes && this.#session.options.readOnly) return -Errno.EROFS;
    if (r.roomBytes < operation.replyBytes) return -Errno.EMSGSIZE;
    const journal = this.#journal;
    return journal === undefined ? operation.handle(this.#session, r) : journal.serve(r, operation.handle);
  }

  #operation(type: number): Operation | undefined {
    if (type === MessageType.Tversion) return this.#versionOperation;
    if (type === MessageType.Tflush && this.#dialect !== NO_DIALECT) return this.#flushOperation;
    return this.#dialect.operations[type];
  }

  /** Rflush comes after the old request's reply, or in its place where the file system could be made to give up. */
  #onFlush(r: Request): number {
    const old = this.#active.find(r.message.oldtag, r);
    if (old === undefined) {
      const waiting = this.#backlog.remove(r.message.oldtag);
      if (waiting !== undefined) this.#callDone(waiting.done, waiting.token, 0);
      return 0;
    }
    r.waits = true;
    old.addFlush(r);
    this.#session.interrupt(old);
    return 0;
  }

  /** A new session: the requests before it end first, as soon as they can be made to, so that no fid of theirs outlives it. */
  #onVersion(r: Request): number {
    if (r.message.msize < MSIZE_MIN_BYTES) return -Errno.EMSGSIZE;
    this.#versionRequest = r;
    for (const other of this.#active.copy()) if (other !== r) this.#session.interrupt(other);
    if (this.#versionReady()) return this.#agree(r);
    r.waits = true;
    return 0;
  }

  #versionReady(): boolean {
    for (const other of this.#active)
      if (other !== this.#versionRequest && other.generation === this.#generation) return false;
    return true;
  }

  #agree(r: Request): number {
    const { msize, version } = r.message;
    const session = this.#session;
    this.#versionRequest = undefined;
    session.drop();
    session.msizeBytes = Math.min(msize, session.options.maxMsizeBytes);
    this.#dialect = dialectFor(version) ?? NO_DIALECT;
    this.#journal?.agreed(this.#dialect.version);
    encodeRversion(r.writer, session.msizeBytes, this.#dialect.version);
    return 0;
  }

  /** Ends a request: its reply, what it held, its place, its `done`, and the Tflush requests that waited for it. */
  #finish(r: Request, result: number): void {
    const isCurrent = r.generation === this.#generation;
    // It has had no effect, and its client asked for no end of it.
    if (this.#held && isCurrent && result === -Errno.EINTR && this.#session.mayBeginAnew(r)) {
      this.#takeBack(r);
      return;
    }
    const replyBytes = isCurrent ? reply(this.#session, this.#dialect, r, result) : 0;
    if (r.journaled !== 0) this.#journal?.finished(r, result, replyBytes);
    this.#session.settle(r);
    const { done, token } = r;
    let flush = r.firstFlush;
    this.#active.retire(r);
    if (done !== undefined) this.#callDone(done, token, replyBytes);
    while (flush !== undefined) {
      const next: Request | undefined = flush.nextFlush;
      this.#finish(flush, 0);
      flush = next;
    }
    this.#goOn();
  }

  /** Makes the request one that has yet to be begun. */
  #takeBack(r: Request): void {
    this.#backlog.push(waitingAgain(r));
    this.#session.settle(r);
    this.#active.retire(r);
    this.#goOn();
  }

  #callDone(done: Done<unknown>, token: unknown, replyBytes: number): void {
    try {
      done(token, replyBytes);
    } catch (error) {
      this.#session.report('the transport threw', error);
    }
  }

  /** What the end of a request lets happen: a Tversion that waited for it, requests that had no place, the promise of dropAll. */
  #goOn(): void {
    const version = this.#versionRequest;
    if (version !== undefined && this.#versionReady()) this.#finish(version, this.#agree(version));
    if (!this.#backlog.isEmpty && !this.#draining) this.#startWaiting();
    if (this.#idle.length > 0) this.#checkIdle();
  }

  #startWaiting(): void {
    this.#draining = true;
    while (!this.#held && this.#versionRequest === undefined && this.#active.count < REQUESTS_MAX) {
      const next = this.#backlog.shift();
      if (next === undefined) break;
      this.#startWaited(next);
    }
    this.#draining = false;
  }

  #whenIdle(): MaybePromise<void> {
    return this.#isIdle() ? undefined : new Promise((resolve) => this.#idle.push(resolve));
  }

  #isIdle(): boolean {
    return this.#active.count === 0 && this.#session.closing === 0 && !this.#recovering;
  }

  #checkIdle(): void {
    if (!this.#isIdle()) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
