/**
 * One client of an export: its socket, and the 9p server that is its session. Requests are served where they were received and read
 * data goes out from where the file system put it.
 *
 * What a client can make us hold is bounded: so many requests begun or not yet answered to the last byte, and so many bytes of
 * buffers. At either bound we stop reading from it, until it has taken its replies.
 */
import { getSystemErrorName } from 'node:util';
import { Errno } from '../../devices/errno.js';
import { MessageType } from '../../devices/9p/protocol/constants.js';
import type { Server } from '../../devices/9p/server/server.js';
import { closeFd, EpollEvents, type Reactor } from '../../host/index.js';
import type { BufferPool } from './buffer-pool.js';
import { COPIED_REQUEST_BYTES, Exchange, SMALL_REPLY_BYTES } from './exchange.js';
import { BAD_SIZE, Receiver } from './receiver.js';
import { ReplyQueue } from './reply-queue.js';

/** Requests begun or not yet answered to the last byte. The server has 128 under way, the others are next. */
const MAX_EXCHANGES = 256;
/** Bytes of buffers that requests under way and replies hold: 32 reads of 512 KiB; passed by one message at most. */
const MAX_LENT_BYTES = 24 * 2 ** 20;
/** So much goes out before the rest of a batch is served, so that the client can begin with it. */
const EAGER_SEND_BYTES = 131_072;

/** size[4] Tread tag[2] fid[4] offset[8] count[4]; Treaddir is the same. */
const TYPE_OFFSET = 4;
const READ_COUNT_OFFSET = 19;
const READ_REQUEST_BYTES = 23;
/** size[4] Rread tag[2] count[4] data[count] */
const READ_REPLY_BYTES = 11;

export interface ConnectionOptions {
  /** A connected, non-blocking socket, which the connection closes. */
  readonly fd: number;
  readonly reactor: Reactor;
  readonly pool: BufferPool;
  /** A server of this connection alone. */
  readonly server: Server;
  /** The largest message, either way. */
  readonly maxMessageBytes: number;
  /** The socket is closed, and requests under way still end. */
  readonly onClosed: (reason: string) => void;
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #receiver: Receiver;
  readonly #replies: ReplyQueue;
  readonly #spare: Exchange[] = [];
  #exchanges = 0;
  /** Bytes of large reply buffers. */
  #replyBytes = 0;
  #watched: number = EpollEvents.EPOLLIN;
  /** The socket is full. */
  #sendBlocked = false;
  /** A bound is reached: nothing is read or served. */
  #stalled = false;
  /** Requests of one receive are being served; what they answer is sent after the last. */
  #inBatch = false;
  #flushDue = false;
  #closed = false;
  /** When the client began to owe us the rest of a message, or its first one; undefined where it owes nothing. */
  #owedSinceMs: number | undefined = performance.now();

  constructor(options: ConnectionOptions) {
    const { fd, pool, maxMessageBytes } = options;
    this.#options = options;
    this.#receiver = new Receiver(fd, pool, maxMessageBytes);
    this.#replies = new ReplyQueue(fd, this.#recycle);
  }

  /** Starts to serve. 0, or a negative errno and nothing has changed. */
  open(): number {
    const { reactor, fd } = this.#options;
    return reactor.add(fd, this.#watched, this.#onEvent);
  }

  /** Milliseconds for which the client has kept us waiting for the rest of a message, or for its first. */
  owedForMs(nowMs: number): number {
    return this.#owedSinceMs === undefined || this.#stalled ? 0 : nowMs - this.#owedSinceMs;
  }

  /** Ends the connection; what is not sent is lost. Requests under way go on, the server's `dropAll` tells until when. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    const { reactor, fd, onClosed } = this.#options;
    reactor.remove(fd);
    closeFd(fd);
    this.#replies.drop();
    this.#receiver.close();
    onClosed(reason);
  }

  readonly #onEvent = (events: number): void => {
    if ((events & EpollEvents.EPOLLOUT) !== 0) {
      this.#sendBlocked = false;
      this.#flush();
      this.#resume();
    }
    const gone = (events & (EpollEvents.EPOLLHUP | EpollEvents.EPOLLERR)) !== 0;
    // A client that is gone takes no replies, and its event would come again at once for as long as we do not read.
    if (this.#stalled && gone) this.close('the client is gone');
    else if ((events & EpollEvents.EPOLLIN) !== 0 || gone) this.#read();
  };

  #read(): void {
    if (this.#closed || this.#stalled) return;
    const received = this.#receiver.receive();
    if (received > 0) this.#serveBatch();
    else if (received === 0) this.close('the client closed the connection');
    else if (received !== -Errno.EAGAIN) this.close(`receiving failed: ${getSystemErrorName(received)}`);
  }

  /** Serves what has been received, as far as the bounds let it, and sends what is answered. */
  #serveBatch(): void {
    this.#inBatch = true;
    let sizeBytes = 0;
    while (!this.#closed && !(this.#stalled = !this.#hasRoom())) {
      sizeBytes = this.#receiver.next();
      if (sizeBytes <= 0) break;
      this.#serve(sizeBytes);
      if (this.#replies.pendingBytes >= EAGER_SEND_BYTES) this.#flush();
    }
    this.#inBatch = false;
    if (!this.#closed) this.#flush();
    if (this.#closed) return;
    if (sizeBytes === BAD_SIZE) return this.close('the client sent a message of impossible size');
    this.#note();
    this.#watch();
  }

  #serve(sizeBytes: number): void {
    const exchange = this.#spare.pop() ?? new Exchange();
    this.#exchanges++;
    this.#owedSinceMs = undefined;
    this.#prepareReply(exchange, sizeBytes);
    this.#prepareRequest(exchange, sizeBytes);
    this.#receiver.skip(sizeBytes);
    this.#options.server.handle(exchange.request, exchange.reply, this.#done, exchange);
  }

  #prepareRequest(exchange: Exchange, sizeBytes: number): void {
    const { request, copy } = exchange;
    const { buffer, offset } = this.#receiver;
    request.clear();
    if (sizeBytes > COPIED_REQUEST_BYTES) {
      exchange.source = this.#receiver.pin();
      request.pushPart(buffer, offset, sizeBytes);
      return;
    }
    for (let i = 0; i < sizeBytes; i++) copy.bytes[i] = buffer.bytes[offset + i];
    request.pushPart(copy, 0, sizeBytes);
  }

  #prepareReply(exchange: Exchange, sizeBytes: number): void {
    const { pool, maxMessageBytes } = this.#options;
    const { view } = this.#receiver.buffer;
    const { offset } = this.#receiver;
    const type = view.getUint8(offset + TYPE_OFFSET);
    let roomBytes = SMALL_REPLY_BYTES;
    if ((type === MessageType.Tread || type === MessageType.Treaddir) && sizeBytes === READ_REQUEST_BYTES)
      roomBytes = Math.min(
        READ_REPLY_BYTES + view.getUint32(offset + READ_COUNT_OFFSET, true),
        maxMessageBytes,
      );
    if (roomBytes > SMALL_REPLY_BYTES) {
      exchange.target = pool.take(roomBytes);
      this.#replyBytes += exchange.target.byteLength;
    }
    exchange.reply.clear();
    exchange.reply.pushPart(exchange.target, 0, Math.max(roomBytes, SMALL_REPLY_BYTES));
  }

  readonly #done = (exchange: Exchange, replyBytes: number): void => {
    if (exchange.source !== undefined) this.#receiver.unpin(exchange.source);
    exchange.source = undefined;
    if (replyBytes === 0 || this.#closed) {
      this.#recycle(exchange);
    } else {
      exchange.replyBytes = replyBytes;
      exchange.sentBytes = 0;
      this.#replies.push(exchange);
    }
    if (this.#inBatch || this.#flushDue || this.#closed) return;
    this.#flushDue = true;
    // Requests that end in the same turn of the event loop share a write.
    queueMicrotask(this.#flushLate);
  };

  readonly #flushLate = (): void => {
    this.#flushDue = false;
    this.#flush();
    this.#resume();
  };

  readonly #recycle = (exchange: Exchange): void => {
    if (exchange.target !== exchange.small) {
      this.#replyBytes -= exchange.target.byteLength;
      this.#options.pool.give(exchange.target);
      exchange.target = exchange.small;
    }
    this.#exchanges--;
    this.#spare.push(exchange);
  };

  /** Sends what the socket takes. */
  #flush(): void {
    if (this.#closed || this.#sendBlocked || this.#replies.pendingBytes === 0) return;
    const answer = this.#replies.flush();
    if (answer === 0) return;
    if (answer !== -Errno.EAGAIN) return this.close(`sending failed: ${getSystemErrorName(answer)}`);
    this.#sendBlocked = true;
    if (!this.#inBatch) this.#watch();
  }

  /** Goes on with what waits since a bound was reached. */
  #resume(): void {
    if (this.#closed) return;
    if (this.#stalled && this.#hasRoom()) this.#serveBatch();
    else this.#watch();
  }

  #hasRoom(): boolean {
    if (this.#isWithinBounds()) return true;
    this.#flush();
    return !this.#closed && this.#isWithinBounds();
  }

  #isWithinBounds(): boolean {
    return this.#exchanges < MAX_EXCHANGES && this.#replyBytes + this.#receiver.lentBytes < MAX_LENT_BYTES;
  }

  #note(): void {
    if (this.#receiver.isPartial && !this.#stalled) this.#owedSinceMs ??= performance.now();
  }

  #watch(): void {
    const events = (this.#stalled ? 0 : EpollEvents.EPOLLIN) | (this.#sendBlocked ? EpollEvents.EPOLLOUT : 0);
    if (events === this.#watched) return;
    this.#watched = events;
    this.#options.reactor.modify(this.#options.fd, events);
  }
}
