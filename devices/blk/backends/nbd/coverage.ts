/** Pieces of a reply that a server may send: no reasonable one cuts a read into more. */
const MAX_PIECES = 4096;

/** Which bytes of a read have arrived. Pieces in order, the usual case, make one range. */
export class Coverage {
  #starts: number[] = [];
  #ends: number[] = [];
  #pieces = 0;

  clear(): void {
    this.#starts.length = 0;
    this.#ends.length = 0;
    this.#pieces = 0;
  }

  /** Adds a piece; false where it overlaps one that is there, or there are too many. */
  add(start: number, end: number): boolean {
    if (++this.#pieces > MAX_PIECES) return false;
    let at = this.#starts.length;
    while (at > 0 && this.#starts[at - 1] > start) at--;
    if (at > 0 && this.#ends[at - 1] > start) return false;
    if (at < this.#starts.length && end > this.#starts[at]) return false;
    const joinsBefore = at > 0 && this.#ends[at - 1] === start;
    const joinsAfter = at < this.#starts.length && this.#starts[at] === end;
    if (joinsBefore && joinsAfter) {
      this.#ends[at - 1] = this.#ends[at];
      this.#starts.splice(at, 1);
      this.#ends.splice(at, 1);
    } else if (joinsBefore) this.#ends[at - 1] = end;
    else if (joinsAfter) this.#starts[at] = start;
    else {
      this.#starts.splice(at, 0, start);
      this.#ends.splice(at, 0, end);
    }
    return true;
  }

  /** Whether every byte from 0 to `lengthBytes` has arrived. */
  isWhole(lengthBytes: number): boolean {
    return this.#starts.length === 1 && this.#starts[0] === 0 && this.#ends[0] === lengthBytes;
  }
}
