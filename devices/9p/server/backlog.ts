import type { IoVector } from '../../io-vector.js';
import { HEADER_BYTES } from '../protocol/constants.js';
import type { Done, Request, RequestOrigin } from './request.js';

/** Where a message's type and tag stand. */
const TYPE_OFFSET = 4;
const TAG_OFFSET = 5;

/** A request that was handed over and is not looked at yet, but for its header. */
export interface Waiting {
  readonly source: IoVector;
  readonly reply: IoVector;
  readonly done: Done<unknown>;
  readonly token: unknown;
  readonly origin: RequestOrigin;
  /** size[4] type[1] tag[2], or less where the message is shorter. Fetched once, here. */
  readonly header: Uint8Array;
}

/** A request that waits: what kind it is was fetched then, and is not fetched again. */
export function waitingRequest(
  source: IoVector,
  reply: IoVector,
  done: Done<unknown>,
  token: unknown,
  origin: RequestOrigin,
): Waiting {
  const bytes = new Uint8Array(HEADER_BYTES);
  const header = bytes.subarray(0, source.gather(0, bytes, 0, HEADER_BYTES));
  return { source, reply, done, token, origin, header };
}

/** A request that was begun, and has had no effect. */
export function waitingAgain(r: Request): Waiting {
  const { source, reply, done = () => undefined, token, origin } = r;
  return { source, reply, done, token, origin, header: r.bytes.slice(0, HEADER_BYTES) };
}

/** Requests that wait their turn: a linked list, because an array's shift moves all the others. */
export class Backlog {
  #first: Link | undefined;
  #last: Link | undefined;

  get isEmpty(): boolean {
    return this.#first === undefined;
  }

  push(waiting: Waiting): void {
    const link: Link = { waiting, next: undefined };
    if (this.#last === undefined) this.#first = link;
    else this.#last.next = link;
    this.#last = link;
  }

  shift(): Waiting | undefined {
    const link = this.#first;
    this.#first = link?.next;
    if (this.#first === undefined) this.#last = undefined;
    return link?.waiting;
  }

  /** Takes the request with this tag out of its turn, if there is one. */
  remove(tag: number): Waiting | undefined {
    let before: Link | undefined;
    for (let link = this.#first; link !== undefined; before = link, link = link.next) {
      if (tagOf(link.waiting) !== tag) continue;
      if (before === undefined) this.#first = link.next;
      else before.next = link.next;
      if (this.#last === link) this.#last = before;
      return link.waiting;
    }
    return undefined;
  }
}

interface Link {
  readonly waiting: Waiting;
  next: Link | undefined;
}

/** Undefined where the message is shorter. */
export function typeOf({ header }: Waiting): number | undefined {
  return header[TYPE_OFFSET];
}

function tagOf({ header }: Waiting): number {
  return header.length < HEADER_BYTES ? -1 : header[TAG_OFFSET] | (header[TAG_OFFSET + 1] << 8);
}
