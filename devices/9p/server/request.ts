/**
 * One request under way: its message, its reply, and everything it holds of the session until it is done. Requests are
 * pooled, with all their parts, so that serving one allocates nothing.
 */
import { IoVector } from '../../io-vector.js';
import { Attributes, FileSystemStatistics } from '../fs/file-system.js';
import type { FsNode, Interruptible, OpenFile } from '../fs/file-system.js';
import { HEADER_BYTES, P9_NOTAG, REQUEST_MAX_BYTES } from '../protocol/constants.js';
import { MessageReader, MessageWriter } from '../protocol/cursor.js';
import { TMessage } from '../protocol/messages.js';
import { Qid } from '../protocol/replies.js';
import { DirectoryWriter } from './directory-writer.js';
import type { Fid } from './fid.js';

/** Called once for each request, with the bytes of the reply in the reply's buffers: 0 where there is no reply. */
export type Done<Token> = (token: Token, replyBytes: number) => void;

/** `journal/intent.ts` has them. */
export const INTENT_FIELDS = 5;

/** What a transport tells a request by that may be given again to another server: a chain's numbers. Read when the request begins. */
export interface RequestOrigin {
  readonly inflightNumber?: number;
  /** It was given to a server before this one. Those come before all others. */
  readonly restored?: boolean;
}

export const NO_ORIGIN: RequestOrigin = { inflightNumber: 0, restored: false };

const NO_VECTOR = new IoVector();

export class Request {
  /** The message as it was when it was fetched: what the guest writes later is not seen. */
  readonly bytes = new Uint8Array(REQUEST_MAX_BYTES);
  readonly words = new Int32Array(this.bytes.buffer);
  readonly reader = new MessageReader(this.bytes);
  readonly message = new TMessage();
  readonly writer = new MessageWriter(new Uint8Array(REQUEST_MAX_BYTES));
  readonly replyWords = new Int32Array(this.writer.bytes.buffer);
  readonly directory = new DirectoryWriter(this.writer);
  readonly attributes = new Attributes();
  readonly statistics = new FileSystemStatistics();
  readonly qid = new Qid();
  /** The data of a Tread's reply or of a Twrite, in the client's buffers. */
  readonly payload = new IoVector();

  origin = NO_ORIGIN;
  /** What the session's journal has of it, or is to have: a JournalUse. */
  journaled = 0;
  /** How many renames and removals the journal had when it began. */
  moves = 0;
  /** What its journal is told of its files before it changes them: an Intent's fields. */
  readonly intent = new Float64Array(INTENT_FIELDS);
  readonly intentBytes = new Uint8Array(this.intent.buffer);

  /** Which session it belongs to; the reply of an older one is not written any more. */
  generation = 0;
  source: IoVector = NO_VECTOR;
  reply: IoVector = NO_VECTOR;
  /** What the reply may take: the client's buffers or msize, whichever is less. */
  roomBytes = 0;
  /** Bytes of the reply that are in place after what `writer` holds. */
  payloadBytes = 0;
  /** When it began, where it is one of those that are timed; otherwise 0. */
  begunMs = 0;
  done: Done<unknown> | undefined;
  token: unknown;
  /** Where it stands among the requests under way. */
  slot = 0;

  /** It is a Tflush or Tversion that waits for others: the last of them ends it. */
  waits = false;
  /** A Tflush waits for it. */
  flushed = false;
  /** The Tflush requests that wait for it, in the order they came. */
  firstFlush: Request | undefined;
  nextFlush: Request | undefined;
  /** The file whose read, write or lock is under way, which may be asked to give up. */
  blocked: OpenFile | undefined;
  /** What that call was given: the payload or the message's lock. */
  blockedOn: Interruptible | undefined;

  /** What is given back when the request ends, however it ends. */
  fid: Fid | undefined;
  dfid: Fid | undefined;
  changing: Fid | undefined;
  readingDirectory: Fid | undefined;
  reserved: Fid | undefined;
  ownedNode: FsNode | undefined;
  ownedFile: OpenFile | undefined;
  openReserved = false;
  xattrReserved = false;
  /** The file that it opens is to be removed with its fid (ORCLOSE). */
  removesOnClunk = false;
  /** It is one of the locks that are waited for. */
  lockWaits = false;
  /** How many names of a walk are behind it. */
  walked = 0;

  begin(source: IoVector, reply: IoVector, done: Done<unknown>, token: unknown, origin: RequestOrigin): void {
    this.source = source;
    this.reply = reply;
    this.done = done;
    this.token = token;
    this.origin = origin;
    this.journaled = 0;
    this.roomBytes = reply.byteLength;
    this.payloadBytes = 0;
    this.waits = false;
    this.flushed = false;
    this.walked = 0;
    this.removesOnClunk = false;
    this.message.type = 0;
    this.message.tag = P9_NOTAG;
    this.writer.reset(HEADER_BYTES);
  }

  /** Lets go of the client's buffers. */
  end(): void {
    this.source = NO_VECTOR;
    this.reply = NO_VECTOR;
    this.done = undefined;
    this.token = undefined;
    this.origin = NO_ORIGIN;
    this.firstFlush = undefined;
    this.nextFlush = undefined;
    this.blocked = undefined;
    this.blockedOn = undefined;
    this.payload.clear();
    this.directory.abandon();
  }

  /** Queues a Tflush that waits for this request. */
  addFlush(flush: Request): void {
    this.flushed = true;
    if (this.firstFlush === undefined) {
      this.firstFlush = flush;
      return;
    }
    let last = this.firstFlush;
    while (last.nextFlush !== undefined) last = last.nextFlush;
    last.nextFlush = flush;
  }
}

/** The node that an earlier step got, which the caller gives to a fid now. */
export function takeNode(r: Request): FsNode {
  const node = r.ownedNode;
  if (node === undefined) throw new Error('a step ran without its node');
  r.ownedNode = undefined;
  return node;
}
