/** Requests and replies of 9P: headers, tags, errors and flushes, the same for every message. */
import { GuestError } from '../errors.js';
import { HEADER_BYTES, MessageType, NOTAG } from './constants.js';
import { MessageReader, MessageWriter } from './cursor.js';
import { IdPool } from './id-pool.js';
import type { Exchange, Transport9p } from './transport.js';

/** Room for a message's header and its fields of fixed size; Tsetattr's are the longest. */
const FIXED_BYTES = 80;
/** Room for the replies that hold no data. Rwalk's 16 qids are 217 bytes. */
export const SMALL_REPLY_BYTES = 256;

/** How to send a request and read its reply. */
export interface Call<T> {
  readonly type: keyof typeof MessageType;
  /** Bytes of names and data in the request, or more. */
  readonly variableBytes?: number;
  /** Bytes of the reply at most; SMALL_REPLY_BYTES by default. */
  readonly replyBytes?: number;
  readonly signal?: AbortSignal;
  /** Appends the request's body. */
  readonly encode: (w: MessageWriter) => void;
  /** Takes the reply's body; the bytes are the transport's again when it returns. */
  readonly decode: (r: MessageReader) => T;
}

export class Rpc9p {
  readonly #transport: Transport9p;
  readonly #writer = new MessageWriter();
  readonly #reader = new MessageReader();
  readonly #tags = new IdPool(NOTAG);
  /** No message is longer, either way. */
  msize: number;

  constructor(transport: Transport9p) {
    this.#transport = transport;
    this.msize = transport.maxMessageBytes;
  }

  /**
   * Sends one request. Rejects with a GuestError: the server's errno, EIO for a reply that is none, ENAMETOOLONG for a request
   * larger than msize; with the signal's reason once an aborted request was flushed.
   */
  async call<T>(call: Call<T>): Promise<T> {
    const { type, variableBytes = 0, replyBytes = SMALL_REPLY_BYTES, signal } = call;
    signal?.throwIfAborted();
    const acquired = this.#transport.acquire(
      Math.min(FIXED_BYTES + variableBytes, this.msize),
      Math.min(replyBytes, this.msize),
      signal,
      type === 'Tflush',
    );
    const exchange = acquired instanceof Promise ? await acquired : acquired;
    const tag = type === 'Tversion' ? NOTAG : this.#tags.take();
    try {
      if (tag === undefined)
        throw new GuestError('EAGAIN', { syscall: nameOf(type), detail: 'every tag is in use' });
      const length = this.#encode(exchange, call, tag);
      const replyLength = await (signal === undefined
        ? exchange.send(length, tag)
        : this.#sendAbortable(exchange, length, tag, signal));
      return this.#decode(exchange, replyLength, call, tag);
    } finally {
      exchange.release();
      if (tag !== undefined && tag !== NOTAG) this.#tags.give(tag);
    }
  }

  /** size[4] type[1] tag[2], then the body. */
  #encode<T>(exchange: Exchange, call: Call<T>, tag: number): number {
    const w = this.#writer;
    w.start(exchange.request);
    w.u32(0);
    w.u8(MessageType[call.type]);
    w.u16(tag);
    call.encode(w);
    if (w.overrun || w.length > this.msize) throw tooLong(call.type);
    w.setSize(w.length);
    return w.length;
  }

  #decode<T>(exchange: Exchange, lengthBytes: number, call: Call<T>, tag: number): T {
    const syscall = nameOf(call.type);
    const r = this.#reader;
    const end = Math.min(lengthBytes, exchange.replyCapacity);
    r.start(exchange.reply, 0, end);
    const size = r.u32();
    const type = r.u8();
    if (r.u16() !== tag || r.overrun || size < HEADER_BYTES || size > end) throw garbled(syscall);
    r.start(exchange.reply, HEADER_BYTES, size);
    if (type === MessageType.Rlerror) {
      const errno = r.u32();
      if (r.overrun || errno === 0) throw garbled(syscall);
      throw new GuestError(errno, { syscall });
    }
    if (type !== MessageType[call.type] + 1) throw garbled(syscall);
    const value = call.decode(r);
    if (r.overrun) throw garbled(syscall);
    return value;
  }

  /**
   * A tag may be used again only once its flush was answered, and an answer that comes before counts: so both are awaited.
   */
  async #sendAbortable(
    exchange: Exchange,
    lengthBytes: number,
    tag: number,
    signal: AbortSignal,
  ): Promise<number> {
    signal.throwIfAborted();
    let flushed: Promise<boolean> | undefined;
    const reply = exchange.send(lengthBytes, tag);
    const { promise: aborted, resolve: abort } = withResolvers<undefined>();
    const onAbort = () => {
      // A server that fails to flush will still answer the request itself.
      flushed = this.#flush(tag).then(
        () => true,
        () => false,
      );
      void flushed.then((done) => {
        if (done) abort(undefined);
      });
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const length = await Promise.race([reply, aborted]);
      if (flushed === undefined) return length ?? 0;
      await flushed;
      if (length !== undefined && length > 0) return length;
      exchange.cancel();
      throw signal.reason;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Asks the server to forget request `tag`: once this resolves, it will not answer that one. */
  #flush(tag: number): Promise<void> {
    return this.call({ type: 'Tflush', encode: (w) => w.u16(tag), decode: () => undefined });
  }
}

function tooLong(type: keyof typeof MessageType): GuestError {
  return new GuestError('ENAMETOOLONG', {
    syscall: nameOf(type),
    detail: 'the message is larger than msize',
  });
}

/** 'Tgetattr' is 'getattr' in an error. */
function nameOf(type: keyof typeof MessageType): string {
  return type.slice(1);
}

function garbled(syscall: string): GuestError {
  return new GuestError('EIO', { syscall, detail: 'the reply is not what the protocol says' });
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
