import type { IoVector } from '../../io-vector.js';
import type { Done } from './request.js';

/** A request that was handed over and is not looked at yet. */
export interface Waiting {
  readonly source: IoVector;
  readonly reply: IoVector;
  readonly done: Done<unknown>;
  readonly token: unknown;
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
}

interface Link {
  readonly waiting: Waiting;
  next: Link | undefined;
}
