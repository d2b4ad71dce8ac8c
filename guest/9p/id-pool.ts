/** Hands out small integers, the last one given back first. For tags and fids. */
export class IdPool {
  readonly #limit: number;
  readonly #free: number[] = [];
  #next = 0;

  /** Ids are 0 … `limit` - 1. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Ids that are out. */
  get taken(): number {
    return this.#next - this.#free.length;
  }

  /** Undefined where all are out. */
  take(): number | undefined {
    return this.#free.pop() ?? (this.#next < this.#limit ? this.#next++ : undefined);
  }

  give(id: number): void {
    this.#free.push(id);
  }
}
