import { Errno } from '../../../errno.js';

/** What a file has to say when it is flushed. */
export class FlushState {
  /** Whether something may not be on the medium yet; at first, as somebody may have written before us (ourselves, before a crash). */
  #dirty = true;
  #lost = 0;
  #cutOff = false;
  /** A cut that no flush has failed for yet. */
  #untold = false;

  /** A write has ended that the next flush has to cover. */
  wrote(): void {
    this.#dirty = true;
  }

  /** True where a flush has something to do. From now on, writes that end are the next flush's. */
  begin(): boolean {
    const dirty = this.#dirty;
    this.#dirty = false;
    return dirty;
  }

  /**
   * Data that had been written did not get to the medium. The kernel says so once, and then drops the pages or counts them as clean:
   * the next fdatasync would succeed, and say what is not true. So no flush succeeds any more.
   */
  lost(result: number): void {
    this.#dirty = true;
    this.#lost = result;
  }

  /** Somebody has cut off the file, and with it what had been written there: no flush succeeds until that is mended. */
  cutOff(): void {
    this.#dirty = true;
    this.#cutOff = true;
    this.#untold = true;
  }

  /** Whoever is responsible has given the file a size. A cut that the driver has not been told of fails one flush yet. */
  mended(): void {
    this.#cutOff = false;
  }

  get isCutOff(): boolean {
    return this.#cutOff;
  }

  /** 0, or the errno of the failure that lost data. */
  get failure(): number {
    return this.#lost;
  }

  /** What a flush has to answer now: 0, or the errno of the failure that lost data. */
  tell(): number {
    if (this.#lost !== 0) return this.#lost;
    const failed = this.#cutOff || this.#untold;
    this.#untold = false;
    return failed ? -Errno.EIO : 0;
  }
}
