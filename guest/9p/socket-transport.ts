/** 9p messages over a stream of bytes: each begins with its size, and a reply is matched to its request by its tag. */
import { GuestError } from '../errors.js';
import { HEADER_BYTES } from './constants.js';
import type { Exchange, MessageBuffer, Transport9p } from './transport.js';

/** A reliable, ordered stream, such as a socket of Node's. It is the transport's from the start, and ends with it. */
export interface ByteStream {
  /** Calls `sent` once the bytes may change again. */
  write(bytes: Uint8Array, sent: () => void): unknown;
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown;
  on(event: 'error' | 'end' | 'close', listener: () => void): unknown;
  destroy(): unknown;
}

const TAG_OFFSET = 5;
/** Buffers kept for reuse, of each size. */
const MAX_IDLE = 64;
const SMALLEST_LOG2 = 8;

/** Buffers in sizes of powers of two, reused. */
class Buffers {
  readonly #idle: MessageBuffer[][] = [];

  take(lengthBytes: number): MessageBuffer {
    const log2 = Math.max(SMALLEST_LOG2, 32 - Math.clz32(Math.max(1, lengthBytes) - 1));
    const idle = this.#idle[log2]?.pop();
    if (idle !== undefined) return idle;
    const bytes = new Uint8Array(2 ** log2);
    return { bytes, view: new DataView(bytes.buffer) };
  }

  give(buffer: MessageBuffer): void {
    const idle = (this.#idle[31 - Math.clz32(buffer.bytes.byteLength)] ??= []);
    if (idle.length < MAX_IDLE) idle.push(buffer);
  }
}

class SocketExchange implements Exchange {
  readonly request: MessageBuffer;
  readonly reply: MessageBuffer;
  readonly replyCapacity: number;
  resolve: (replyBytes: number) => void = () => {};
  reject: (error: GuestError) => void = () => {};
  readonly #transport: SocketTransport9p;
  #tag = -1;
  #writing = false;
  #released = false;

  constructor(
    transport: SocketTransport9p,
    request: MessageBuffer,
    reply: MessageBuffer,
    replyBytes: number,
  ) {
    this.#transport = transport;
    this.request = request;
    this.reply = reply;
    this.replyCapacity = replyBytes;
  }

  send(lengthBytes: number, tag: number): Promise<number> {
    this.#tag = tag;
    this.#writing = true;
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
      this.#transport.submit(this, tag, this.request.bytes.subarray(0, lengthBytes), () => this.#written());
    });
  }

  cancel(): void {
    this.#transport.forget(this.#tag, this);
  }

  release(): void {
    this.#released = true;
    if (!this.#writing) this.#transport.recycle(this);
  }

  #written(): void {
    this.#writing = false;
    if (this.#released) this.#transport.recycle(this);
  }
}

export class SocketTransport9p implements Transport9p {
  readonly maxMessageBytes: number;
  readonly #stream: ByteStream;
  readonly #buffers = new Buffers();
  /** Requests that are out, by tag. */
  readonly #out = new Map<number, SocketExchange>();
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #headerView = new DataView(this.#header.buffer);
  /** Bytes of the reply that are here, its header's included. */
  #have = 0;
  #size = 0;
  #target: SocketExchange | undefined;
  #failure: string | undefined;

  /** Any number of requests may be out; their memory is the only bound. */
  constructor(stream: ByteStream, maxMessageBytes: number) {
    this.#stream = stream;
    this.maxMessageBytes = maxMessageBytes;
    stream.on('data', (chunk) => this.#receive(chunk));
    stream.on('error', () => this.#fail('EIO'));
    stream.on('end', () => this.#fail('ENOTCONN'));
    stream.on('close', () => this.#fail('ENOTCONN'));
  }

  acquire(requestBytes: number, replyBytes: number): Exchange {
    if (this.#failure !== undefined) throw this.#error();
    const request = this.#buffers.take(requestBytes);
    return new SocketExchange(this, request, this.#buffers.take(replyBytes), replyBytes);
  }

  async close(): Promise<void> {
    this.#fail('EIO');
  }

  /** For an exchange: sends its request and has the reply with this tag put into it. */
  submit(exchange: SocketExchange, tag: number, bytes: Uint8Array, sent: () => void): void {
    if (this.#failure !== undefined) {
      sent();
      exchange.reject(this.#error());
      return;
    }
    this.#out.set(tag, exchange);
    this.#stream.write(bytes, sent);
  }

  /** For an exchange: its reply will not come. */
  forget(tag: number, exchange: SocketExchange): void {
    if (this.#out.get(tag) === exchange) this.#out.delete(tag);
  }

  /** For an exchange: nobody uses its buffers. */
  recycle(exchange: SocketExchange): void {
    this.#buffers.give(exchange.request);
    this.#buffers.give(exchange.reply);
  }

  #receive(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.byteLength && this.#failure === undefined;) {
      at += this.#have < HEADER_BYTES ? this.#takeHeader(chunk, at) : this.#takeBody(this.#target, chunk, at);
      if (this.#have >= HEADER_BYTES && this.#have === this.#size) this.#finish();
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const taken = Math.min(HEADER_BYTES - this.#have, chunk.byteLength - at);
    this.#header.set(chunk.subarray(at, at + taken), this.#have);
    this.#have += taken;
    if (this.#have < HEADER_BYTES) return taken;
    this.#size = this.#headerView.getUint32(0, true);
    const exchange = this.#out.get(this.#headerView.getUint16(TAG_OFFSET, true));
    if (exchange === undefined || this.#size < HEADER_BYTES || this.#size > exchange.replyCapacity) {
      this.#fail('EIO');
      return taken;
    }
    exchange.reply.bytes.set(this.#header);
    this.#target = exchange;
    return taken;
  }

  #takeBody(exchange: SocketExchange | undefined, chunk: Uint8Array, at: number): number {
    const taken = Math.min(this.#size - this.#have, chunk.byteLength - at);
    exchange?.reply.bytes.set(chunk.subarray(at, at + taken), this.#have);
    this.#have += taken;
    return taken;
  }

  #finish(): void {
    const exchange = this.#target;
    this.#target = undefined;
    this.#have = 0;
    if (exchange === undefined) return;
    this.forget(this.#headerView.getUint16(TAG_OFFSET, true), exchange);
    exchange.resolve(this.#size);
  }

  /** The stream broke or ended: whoever waits is rejected, and so is everybody who comes. */
  #fail(code: string): void {
    if (this.#failure !== undefined) return;
    this.#failure = code;
    this.#stream.destroy();
    for (const exchange of this.#out.values()) exchange.reject(this.#error());
    this.#out.clear();
  }

  #error(): GuestError {
    return new GuestError(this.#failure ?? 'EIO', { syscall: 'send' });
  }
}
