/**
 * Positions in an open directory as Numbers. The host's are 63-bit hashes on some file systems (ext4). Those below 2^52 are
 * cookies as they are; for others the entries given are numbered, and the latest numbers' positions remembered.
 */
import { StateReader } from '../../../state-reader.js';
import { StateWriter } from '../../../state-writer.js';

const POSITION_FIELDS = { low: 4, high: 4 } as const;
/** Cookies from here on are numbers of entries. */
const NUMBER_BASE = 2 ** 52;
const TWO_32 = 0x1_0000_0000;
/** 512 KiB at most for each open directory; a client that reads on needs only the last. */
const REMEMBERED = 65_536;
const FIRST_ROOM = 256;
/** Of those, how many another directory is told that goes on for this one: its client goes on at the last. */
const TOLD = 128;

export class DirectoryCookies {
  /** Number of the entry given last. Never used twice, so that a cookie means one position. */
  #last = 0;
  /** Position behind entry n, in two halves, at 2 × (n mod its room). */
  #positions = new Uint32Array(0);

  /** What `save` told elsewhere; what makes no sense is left out. */
  static from(saved: Uint8Array): DirectoryCookies {
    const cookies = new DirectoryCookies();
    const reader = new StateReader(saved);
    cookies.#last = Math.min(reader.read(8), NUMBER_BASE);
    const positions = reader.list(() => reader.record(POSITION_FIELDS));
    if (reader.overrun) return new DirectoryCookies();
    for (const [index, { low, high }] of positions.slice(-FIRST_ROOM).entries())
      cookies.#remember(cookies.#last - index, low, high);
    return cookies;
  }

  /** The number of the entry given last, and the latest positions, the last one first. Empty where none had to be numbered. */
  save(): Uint8Array {
    if (this.#room === 0) return new Uint8Array(0);
    const writer = new StateWriter();
    writer.write(8, this.#last);
    const count = Math.min(TOLD, this.#last, this.#room);
    const positions = Array.from({ length: count }, (_, index) => this.recall(this.#last - index));
    writer.list(positions, (position) => writer.record(POSITION_FIELDS, position ?? { low: 0, high: 0 }));
    return writer.bytes;
  }

  /** The cookie behind the entry that is about to be given; `low` and `high` are the host's position there. */
  next(low: number, high: number): number {
    if (high < NUMBER_BASE / TWO_32) return high * TWO_32 + low;
    const number = this.#last + 1;
    if (number >= this.#room && this.#room < REMEMBERED) this.#grow();
    this.#remember(number, low, high);
    return NUMBER_BASE + number;
  }

  #remember(number: number, low: number, high: number): void {
    if (this.#room === 0) this.#grow();
    const at = 2 * (number % this.#room);
    this.#positions[at] = low;
    this.#positions[at + 1] = high;
  }

  /** The entry asked about last was taken. */
  advance(): void {
    this.#last++;
  }

  /** The number that a cookie stands for, or -1 where it is the host's position itself. */
  numberOf(cookie: number): number {
    return cookie >= NUMBER_BASE ? cookie - NUMBER_BASE : -1;
  }

  /** The host's position behind entry `number`, if it is still known. */
  recall(number: number): { readonly low: number; readonly high: number } | undefined {
    if (number > this.#last || this.#last - number >= this.#room) return undefined;
    const at = 2 * (number % this.#room);
    return { low: this.#positions[at], high: this.#positions[at + 1] };
  }

  /** Numbers go on behind `number`: that many entries were passed over. */
  passed(number: number): void {
    this.#last = Math.max(this.#last, number);
  }

  get #room(): number {
    return this.#positions.length / 2;
  }

  /** All numbers so far are below the old room, so that they keep their places. */
  #grow(): void {
    const positions = new Uint32Array(Math.max(2 * this.#positions.length, 2 * FIRST_ROOM));
    positions.set(this.#positions);
    this.#positions = positions;
  }
}
