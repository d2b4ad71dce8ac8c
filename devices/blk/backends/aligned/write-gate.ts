/**
 * Lets writes of whole blocks through side by side, and those that rewrite part of a block one at a time and alone: such a one reads
 * the block and writes it back, and would undo whatever was written to the rest meanwhile. First come, first served.
 */
export class WriteGate {
  #shared = 0;
  #exclusive = false;
  readonly #waiting: { readonly exclusive: boolean; readonly enter: () => void }[] = [];

  /** Enters beside others, if that is possible at once. */
  tryShared(): boolean {
    if (this.#exclusive || this.#waiting.length > 0) return false;
    this.#shared++;
    return true;
  }

  shared(): Promise<void> {
    return this.#enter(false);
  }

  exclusive(): Promise<void> {
    return this.#enter(true);
  }

  leaveShared(): void {
    this.#shared--;
    this.#admit();
  }

  leaveExclusive(): void {
    this.#exclusive = false;
    this.#admit();
  }

  #enter(exclusive: boolean): Promise<void> {
    const entered = new Promise<void>((enter) => this.#waiting.push({ exclusive, enter }));
    this.#admit();
    return entered;
  }

  #admit(): void {
    while (this.#waiting.length > 0 && !this.#exclusive) {
      const [next] = this.#waiting;
      if (next.exclusive && this.#shared > 0) return;
      this.#waiting.shift();
      if (next.exclusive) this.#exclusive = true;
      else this.#shared++;
      next.enter();
    }
  }
}
