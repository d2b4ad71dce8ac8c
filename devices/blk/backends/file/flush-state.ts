/** What a file has to say when it is flushed. */
export class FlushState {
  /** Whether something may not be on the medium yet; at first, as somebody may have written before us (ourselves, before a crash). */
  #dirty = true;
  #lost = 0;

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

  /** 0, or the errno of the failure that lost data. */
  get failure(): number {
    return this.#lost;
  }
}
