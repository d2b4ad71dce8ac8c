/** Replies on their way to a socket, first come first sent, many in one write. */
import { Errno } from '../../devices/errno.js';
import { IovecBuffer, sendVector } from '../../host/index.js';
import type { Exchange } from './exchange.js';

/** Replies in one write. */
const VECTORS = 128;

/** Filled and used within one call, so that all connections share it. */
const iovecs = new IovecBuffer(VECTORS);

export class ReplyQueue {
  readonly #fd: number;
  readonly #onSent: (exchange: Exchange) => void;
  #first: Exchange | undefined;
  #last: Exchange | undefined;
  #pendingBytes = 0;

  /** @param onSent takes back an exchange whose reply is out */
  constructor(fd: number, onSent: (exchange: Exchange) => void) {
    this.#fd = fd;
    this.#onSent = onSent;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  push(exchange: Exchange): void {
    exchange.next = undefined;
    if (this.#last === undefined) this.#first = exchange;
    else this.#last.next = exchange;
    this.#last = exchange;
    this.#pendingBytes += exchange.replyBytes;
  }

  /** Sends until nothing is left (0), the socket is full (-EAGAIN), or it fails (another negative errno). */
  flush(): number {
    while (this.#first !== undefined) {
      const sent = sendVector(this.#fd, iovecs, this.#fill());
      if (sent > 0) this.#take(sent);
      else if (sent !== -Errno.EINTR) return sent;
    }
    return 0;
  }

  /** Gives back all that is not sent. */
  drop(): void {
    while (this.#first !== undefined) this.#shift(this.#first);
  }

  #fill(): number {
    let count = 0;
    for (let e = this.#first; e !== undefined && count < VECTORS; e = e.next)
      iovecs.set(count++, e.target.address + e.sentBytes, e.replyBytes - e.sentBytes);
    return count;
  }

  #take(sentBytes: number): void {
    this.#pendingBytes -= sentBytes;
    let left = sentBytes;
    for (let e = this.#first; e !== undefined && left > 0; e = this.#first) {
      const taken = Math.min(left, e.replyBytes - e.sentBytes);
      e.sentBytes += taken;
      left -= taken;
      if (e.sentBytes < e.replyBytes) return;
      this.#shift(e);
    }
  }

  #shift(exchange: Exchange): void {
    this.#first = exchange.next;
    if (this.#first === undefined) this.#last = undefined;
    exchange.next = undefined;
    this.#onSent(exchange);
  }
}
