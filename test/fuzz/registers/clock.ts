/** Time for what a case runs: timers wait until a case says so. */
export class Clock {
  readonly #due = new Map<number, () => void>();
  #next = 1;

  /** Runs `work` with timers that are this clock's. */
  during<T>(work: () => T): T {
    const { setTimeout: start, clearTimeout: stop } = globalThis;
    const timers = globalThis as unknown as { setTimeout: unknown; clearTimeout: unknown };
    timers.setTimeout = (action: () => void) => {
      this.#due.set(this.#next, action);
      return this.#next++;
    };
    timers.clearTimeout = (timer: number) => this.#due.delete(timer);
    try {
      return work();
    } finally {
      Object.assign(globalThis, { setTimeout: start, clearTimeout: stop });
    }
  }

  /** How many timers wait. */
  get waiting(): number {
    return this.#due.size;
  }

  /** All timers that wait now are due. */
  pass(): void {
    for (const [timer, action] of [...this.#due]) if (this.#due.delete(timer)) action();
  }
}
