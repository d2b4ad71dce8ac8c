import type { Timers } from '../../../guest/pci/timers.js';

/** Time that passes when a test says so. */
export class ManualTimers implements Timers {
  #now = 0;
  readonly #waiting = new Set<{ readonly at: number; readonly action: () => void }>();

  after(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, action };
    this.#waiting.add(timer);
    return () => this.#waiting.delete(timer);
  }

  /** How many timers run. */
  get count(): number {
    return this.#waiting.size;
  }

  /** Milliseconds from now to each timer that runs, ascending. */
  get due(): number[] {
    return [...this.#waiting].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /** Lets so many milliseconds pass: timers that are due run, earliest first. What they start is not due before the next call. */
  pass(ms: number): void {
    this.#now += ms;
    const due = [...this.#waiting].filter(({ at }) => at <= this.#now).sort((a, b) => a.at - b.at);
    for (const timer of due) {
      if (this.#waiting.delete(timer)) timer.action();
    }
  }
}
