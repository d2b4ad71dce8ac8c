/**
 * Where a session's journal is kept: memory that outlives the process, for as long as nobody removes it. What a backend is (a file of
 * the host's, mapped) is its own affair.
 */
import type { HeldFiles } from './held-files.js';

export interface JournalStore {
  /** Where open files are held that lose their names; without, those go with the process. */
  readonly files?: HeldFiles | undefined;
  /** What another process left, as a copy; undefined where there is nothing. */
  read(): Uint8Array | undefined;
  /**
   * Memory of this many bytes for a journal that is to take the place of the one before; its first bytes are aligned to 4, and it is
   * the caller's from then on. Writing to it must not fail. Undefined where there is no room.
   */
  create(sizeBytes: number): Uint8Array | undefined;
  /** What was created last is the journal from here on, whole; the one before is gone. */
  commit(): void;
  /** There is no journal any more. */
  remove(): void;
}
