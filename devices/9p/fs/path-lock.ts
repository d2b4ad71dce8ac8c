/**
 * Keeps paths true while they are used. Calls that name a file share the lock; those that take a name away from one have it for
 * themselves. Without it a guest could rename a directory, and put a symbolic link in its place, between the moment when a path is
 * worked out and the moment when the object looks it up, and be led anywhere (the class of CVE-2026-93834).
 */
export class PathLock {
  #sharers = 0;
  #taken = false;
  /** In order of arrival, so that neither kind starves the other. */
  readonly #waiting: { readonly exclusive: boolean; readonly start: () => void }[] = [];

  /** Runs `work` together with others that share. It must not ask for the lock again. */
  async shared<T>(work: () => Promise<T>): Promise<T> {
    if (this.#taken || this.#waiting.length > 0) await this.#wait(false);
    else this.#sharers++;
    try {
      return await work();
    } finally {
      this.#sharers--;
      this.#next();
    }
  }

  /** Runs `work` alone. It must not ask for the lock again. */
  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    if (this.#taken || this.#sharers > 0 || this.#waiting.length > 0) await this.#wait(true);
    else this.#taken = true;
    try {
      return await work();
    } finally {
      this.#taken = false;
      this.#next();
    }
  }

  #wait(exclusive: boolean): Promise<void> {
    return new Promise((start) => {
      this.#waiting.push({ exclusive, start });
    });
  }

  /** Counts in whoever may go on now; they start a little later. */
  #next(): void {
    for (let first = this.#waiting.at(0); first !== undefined && this.#admits(first.exclusive);) {
      this.#waiting.shift();
      if (first.exclusive) this.#taken = true;
      else this.#sharers++;
      first.start();
      first = this.#waiting.at(0);
    }
  }

  #admits(exclusive: boolean): boolean {
    return !this.#taken && (!exclusive || this.#sharers === 0);
  }
}
