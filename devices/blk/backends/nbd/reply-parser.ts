/**
 * The server's side of the transmission phase: replies, simple and structured, whose data goes to where their calls want it. A machine
 * of bytes without a socket. Whatever a server sends, it touches only memory of calls that wait for a reply, and keeps nothing.
 */
import { Errno } from '../../../errno.js';
import type { NbdCall } from './nbd-call.js';
import {
  DATA_CHUNK_HEADER_BYTES,
  ERROR_CHUNK_HEADER_BYTES,
  ERROR_OFFSET_BYTES,
  HOLE_CHUNK_BYTES,
  NBD_ESHUTDOWN,
  NBD_MAX_STRING_BYTES,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  NbdCommand,
  NbdReplyType,
  SimpleReplyField,
  StructuredReplyField,
} from './protocol.js';

const TWO_POW_32 = 0x1_0000_0000;
/** Error chunks may have fields that are not known yet. */
const MAX_ERROR_CHUNK_BYTES = ERROR_CHUNK_HEADER_BYTES + NBD_MAX_STRING_BYTES + ERROR_OFFSET_BYTES + 64;
const ZEROES = new Uint8Array(64 * 1024);

export interface ReplyEvents {
  /** The call with this name that waits for a reply. */
  find(slot: number, serial: number): NbdCall | undefined;
  /** Its reply is complete. */
  replied(call: NbdCall, result: number): void;
}

/** What the bytes to come are. */
const State = {
  magic: 0,
  simpleHeader: 1,
  structuredHeader: 2,
  chunkHeader: 3,
  errorChunk: 4,
  data: 5,
} as const;
type State = (typeof State)[keyof typeof State];

export class ReplyParser {
  readonly #structured: boolean;
  readonly #events: ReplyEvents;
  readonly #buffer = new Uint8Array(MAX_ERROR_CHUNK_BYTES);
  readonly #view = new DataView(this.#buffer.buffer);
  #state: State = State.magic;
  #length = 0;
  #expected = 4;
  #call: NbdCall | undefined;
  #type = 0;
  #isLast = false;
  /** Where in the call's data the chunk goes on, and how much of it is to come. */
  #dataAt = 0;
  #dataLeft = 0;

  constructor(structured: boolean, events: ReplyEvents) {
    this.#structured = structured;
    this.#events = events;
  }

  /** Takes received bytes from `start` to `end`. Answers what is wrong with them, if something is; nothing may be fed after that. */
  feed(bytes: Uint8Array, start: number, end: number): string | undefined {
    let at = start;
    while (at < end) {
      if (this.#state === State.data) {
        const take = Math.min(this.#dataLeft, end - at);
        const call = this.#call as NbdCall;
        call.vector.scatter(call.vectorOffset + this.#dataAt, bytes, at, take);
        this.#dataAt += take;
        this.#dataLeft -= take;
        at += take;
        if (this.#dataLeft > 0) continue;
      } else {
        const take = Math.min(this.#expected - this.#length, end - at);
        for (let i = 0; i < take; i++) this.#buffer[this.#length + i] = bytes[at + i];
        this.#length += take;
        at += take;
        if (this.#length < this.#expected) continue;
      }
      const problem = this.#advance();
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  /** All of what was expected is there. */
  #advance(): string | undefined {
    switch (this.#state) {
      case State.magic:
        return this.#magic();
      case State.simpleHeader:
        return this.#simpleReply();
      case State.structuredHeader:
        return this.#chunk();
      case State.chunkHeader:
        return this.#type === NbdReplyType.NBD_REPLY_TYPE_OFFSET_HOLE ? this.#hole() : this.#dataChunk();
      case State.errorChunk:
        return this.#errorChunk();
      case State.data:
        return this.#endChunk();
    }
  }

  #magic(): string | undefined {
    const magic = this.#view.getUint32(0);
    if (magic === NBD_SIMPLE_REPLY_MAGIC) this.#more(State.simpleHeader, SimpleReplyField.BYTES);
    else if (magic === NBD_STRUCTURED_REPLY_MAGIC && this.#structured) {
      this.#more(State.structuredHeader, StructuredReplyField.BYTES);
    } else return 'a reply has no magic';
    return undefined;
  }

  #simpleReply(): string | undefined {
    const call = this.#find(SimpleReplyField.COOKIE);
    if (call === undefined) return 'a reply is for nobody';
    const isRead = call.command === NbdCommand.NBD_CMD_READ;
    if (isRead && this.#structured) return 'a read has a simple reply';
    const error = this.#view.getUint32(SimpleReplyField.ERROR);
    call.error = error === 0 ? 0 : resultOf(error);
    this.#isLast = true;
    if (!isRead || error !== 0) return this.#endChunk();
    call.coverage.add(0, call.lengthBytes);
    this.#expectData(0, call.lengthBytes);
    return undefined;
  }

  #chunk(): string | undefined {
    const call = this.#find(StructuredReplyField.COOKIE);
    if (call === undefined) return 'a reply is for nobody';
    const view = this.#view;
    this.#isLast = (view.getUint16(StructuredReplyField.FLAGS) & NBD_REPLY_FLAG_DONE) !== 0;
    this.#type = view.getUint16(StructuredReplyField.TYPE);
    const lengthBytes = view.getUint32(StructuredReplyField.LENGTH);
    if ((this.#type & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) return this.#expectError(lengthBytes);
    const isRead = call.command === NbdCommand.NBD_CMD_READ;
    switch (this.#type) {
      case NbdReplyType.NBD_REPLY_TYPE_NONE:
        if (lengthBytes !== 0 || !this.#isLast) return 'an empty chunk is not empty, or not the last';
        return this.#endChunk();
      case NbdReplyType.NBD_REPLY_TYPE_OFFSET_DATA:
        if (!isRead || lengthBytes <= DATA_CHUNK_HEADER_BYTES) return 'data makes no sense';
        if (lengthBytes - DATA_CHUNK_HEADER_BYTES > call.lengthBytes) return 'more data than was asked for';
        this.#dataLeft = lengthBytes - DATA_CHUNK_HEADER_BYTES;
        this.#more(State.chunkHeader, DATA_CHUNK_HEADER_BYTES, true);
        return undefined;
      case NbdReplyType.NBD_REPLY_TYPE_OFFSET_HOLE:
        if (!isRead || lengthBytes !== HOLE_CHUNK_BYTES) return 'a hole makes no sense';
        this.#more(State.chunkHeader, HOLE_CHUNK_BYTES, true);
        return undefined;
      default:
        return `a chunk is of the unknown type ${this.#type}`;
    }
  }

  #dataChunk(): string | undefined {
    return this.#place(this.#dataLeft) ?? this.#expectData(this.#dataAt, this.#dataLeft);
  }

  #hole(): string | undefined {
    const lengthBytes = this.#view.getUint32(8);
    const problem = this.#place(lengthBytes);
    if (problem !== undefined) return problem;
    const { vector, vectorOffset } = this.#call as NbdCall;
    for (let done = 0; done < lengthBytes; done += ZEROES.length) {
      const take = Math.min(ZEROES.length, lengthBytes - done);
      vector.scatter(vectorOffset + this.#dataAt + done, ZEROES, 0, take);
    }
    return this.#endChunk();
  }

  /** Takes the offset at the start of the buffer for a chunk of `lengthBytes`. */
  #place(lengthBytes: number): string | undefined {
    const call = this.#call as NbdCall;
    const offset = this.#view.getUint32(0) * TWO_POW_32 + this.#view.getUint32(4);
    const at = offset - call.offsetBytes;
    if (lengthBytes === 0 || at < 0 || at > call.lengthBytes - lengthBytes) {
      return 'a chunk lies outside what was asked for';
    }
    if (!call.coverage.add(at, at + lengthBytes)) return 'chunks overlap, or are too many';
    this.#dataAt = at;
    return undefined;
  }

  #expectError(lengthBytes: number): string | undefined {
    if (lengthBytes < ERROR_CHUNK_HEADER_BYTES || lengthBytes > MAX_ERROR_CHUNK_BYTES) {
      return 'an error has a wrong length';
    }
    this.#more(State.errorChunk, lengthBytes, true);
    return undefined;
  }

  #errorChunk(): string | undefined {
    const call = this.#call as NbdCall;
    const error = this.#view.getUint32(0);
    const messageBytes = this.#view.getUint16(4);
    const withOffset = this.#type === NbdReplyType.NBD_REPLY_TYPE_ERROR_OFFSET;
    const room = this.#length - ERROR_CHUNK_HEADER_BYTES - (withOffset ? ERROR_OFFSET_BYTES : 0);
    if (messageBytes > room) return 'an error is longer than itself';
    const isKnown = withOffset || this.#type === NbdReplyType.NBD_REPLY_TYPE_ERROR;
    if (isKnown && error === 0) return 'an error is none';
    // The first one counts: those that follow are its consequences.
    if (call.error === 0) call.error = error === 0 ? -Errno.EIO : resultOf(error);
    return this.#endChunk();
  }

  #endChunk(): string | undefined {
    const call = this.#call as NbdCall;
    this.#call = undefined;
    this.#more(State.magic, 4, true);
    if (!this.#isLast) return undefined;
    const isRead = call.command === NbdCommand.NBD_CMD_READ;
    if (isRead && call.error === 0 && !call.coverage.isWhole(call.lengthBytes)) {
      return 'a read succeeds without all of its data';
    }
    this.#events.replied(call, call.error);
    return undefined;
  }

  #find(cookie: number): NbdCall | undefined {
    this.#call = this.#events.find(this.#view.getUint32(cookie + 4), this.#view.getUint32(cookie));
    return this.#call;
  }

  /** Expects the buffer to have `lengthBytes`, going on from what it has, or anew. */
  #more(state: State, lengthBytes: number, anew = false): void {
    this.#state = state;
    this.#expected = lengthBytes;
    if (anew) this.#length = 0;
  }

  #expectData(at: number, lengthBytes: number): undefined {
    this.#state = State.data;
    this.#length = 0;
    this.#dataAt = at;
    this.#dataLeft = lengthBytes;
    return undefined;
  }
}

/** NBD's errors are Linux's numbers; those that a server should not send are failures all the same. */
function resultOf(error: number): number {
  switch (error) {
    case Errno.EPERM:
    case Errno.ENOMEM:
    case Errno.EINVAL:
    case Errno.ENOSPC:
    case Errno.EOVERFLOW:
    case Errno.EOPNOTSUPP:
      return -error;
    case NBD_ESHUTDOWN:
      return -NBD_ESHUTDOWN;
    default:
      return -Errno.EIO;
  }
}
