/** What one regular file has of a quota, for as long as somebody has it open or changes it. */
import { Errno, isFailure } from '../../errno.js';
import { FileMode } from './file-system.js';
import { PathLock } from './path-lock.js';
import { blocksOf, QUOTA_BLOCK_BYTES, type Quota } from './quota.js';

/** Asks for the file's size in bytes. */
export type Measure = () => Promise<number>;

export class FileAccount {
  readonly key: string;
  holders = 0;
  readonly #quota: Quota;
  /** Changes of the number of blocks are made alone: what is measured in between is true. Taken after the path lock. */
  readonly #lock = new PathLock();
  /** What is counted; -1 before anybody has asked. */
  #blocks = -1;
  #hasName = true;

  constructor(quota: Quota, key: string) {
    this.#quota = quota;
    this.key = key;
  }

  /** A file without a name goes with its last holder. */
  release(): void {
    if (--this.holders > 0) return;
    this.#quota.forget(this);
    if (this.#hasName) return;
    this.#quota.giveName(FileMode.S_IFREG);
    this.#quota.addBlocks(-this.#blocks);
  }

  /** The last name is gone. `sizeBytes` was measured while the account was held. */
  loseName(sizeBytes: number): void {
    // Nobody has changed the size since, or the blocks would be known.
    if (this.#blocks < 0) this.#blocks = blocksOf(sizeBytes);
    this.#hasName = false;
    this.#quota.forget(this);
  }

  /** The last name was gone before this account was made, of a file that is open. Whoever holds it later finds it. */
  resumeNameless(sizeBytes: number): void {
    if (this.#blocks < 0) this.#blocks = blocksOf(sizeBytes);
    this.#hasName = false;
  }

  /** Makes `change`, after which the file is to have `sizeBytes`: -ENOSPC where there is no room for that. */
  resize(sizeBytes: number, measure: Measure, change: () => Promise<number>): Promise<number> {
    return this.#lock.exclusive(async () => {
      const before = await this.#measure(measure);
      if (isFailure(before)) return before;
      if (blocksOf(sizeBytes) - this.#blocks > this.#quota.freeBlocks) return -Errno.ENOSPC;
      return this.#changed(sizeBytes, measure, change);
    });
  }

  /**
   * Writes at `offset`, or at the end where that is 'end', as many bytes as there is room for: `write` is told how many.
   * Bytes written, or a negative errno: -ENOSPC where there is room for none.
   */
  async write(
    offset: number | 'end',
    lengthBytes: number,
    measure: Measure,
    write: (lengthBytes: number) => Promise<number>,
  ): Promise<number> {
    if (offset !== 'end') {
      const inside = await this.#lock.shared(async () =>
        blocksOf(offset + lengthBytes) <= this.#blocks ? write(lengthBytes) : undefined,
      );
      if (inside !== undefined) return inside;
    }
    return this.#lock.exclusive(async () => {
      const before = await this.#measure(measure);
      if (isFailure(before)) return before;
      const start = offset === 'end' ? before : offset;
      const room = (this.#blocks + this.#quota.freeBlocks) * QUOTA_BLOCK_BYTES - start;
      if (room <= 0) return -Errno.ENOSPC;
      const length = Math.min(lengthBytes, room);
      return this.#changed(start + length, measure, () => write(length));
    });
  }

  /** Reserves what the change may take, so that nobody else does meanwhile, and counts what it took. */
  async #changed(sizeBytes: number, measure: Measure, change: () => Promise<number>): Promise<number> {
    this.#count(Math.max(blocksOf(sizeBytes), this.#blocks));
    const answer = await change();
    await this.#measure(measure);
    return answer;
  }

  async #measure(measure: Measure): Promise<number> {
    const sizeBytes = await measure();
    if (!isFailure(sizeBytes)) this.#count(blocksOf(sizeBytes));
    return sizeBytes;
  }

  /** What the first measuring finds is counted already. */
  #count(blocks: number): void {
    if (this.#blocks >= 0) this.#quota.addBlocks(blocks - this.#blocks);
    this.#blocks = blocks;
  }
}
