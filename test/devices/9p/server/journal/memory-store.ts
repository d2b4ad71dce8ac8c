import type { JournalStore } from '../../../../../devices/9p/server/journal/journal-store.js';

/** A journal's place that can be looked at as it is at any moment, as what is left of a killed process. */
export class MemoryStore implements JournalStore {
  /** As another process finds it. */
  journal: Uint8Array | undefined;
  /** Journals begun so far, and the bytes of the last. */
  begun = 0;
  /** Refuses to make more. */
  full = false;
  #next: Uint8Array | undefined;

  constructor(journal?: Uint8Array) {
    this.journal = journal;
  }

  read(): Uint8Array | undefined {
    return this.journal?.slice();
  }

  create(sizeBytes: number): Uint8Array | undefined {
    // What a new file's memory has before it is written is nobody's business.
    this.#next = this.full ? undefined : new Uint8Array(sizeBytes).fill(0xa5);
    return this.#next;
  }

  commit(): void {
    this.begun++;
    this.journal = this.#next;
  }

  remove(): void {
    this.journal = undefined;
  }

  /** What the next process finds. */
  left(): MemoryStore {
    return new MemoryStore(this.read());
  }
}
