/**
 * What guests were refused, or did, for whoever asks later: the last so many events. Each has a number; what is not kept has one too, so
 * that a gap between numbers tells how much is missing.
 */
import type { AuditEvent, AuditPage } from '../control/api.js';

/** Events that are kept; with the longest paths, 5 MB. */
const KEPT_MAX = 1024;
/** Events of one answer. */
export const AUDIT_PAGE = 256;

export class AuditLog {
  readonly #events: AuditEvent[] = [];
  /** Of each event that is kept. */
  readonly #numbers: number[] = [];
  readonly #waiting = new Set<() => void>();
  #next: number;

  /** `first` is the number of the first event. */
  constructor(first = 0) {
    this.#next = first;
  }

  /** Keeps events in the place of older ones. `dropped` are those after them that nobody has. */
  note(events: readonly AuditEvent[], dropped: number): void {
    for (const event of events) {
      this.#events.push(event);
      this.#numbers.push(this.#next++);
    }
    this.#next += dropped;
    const excess = Math.max(this.#events.length - KEPT_MAX, 0);
    this.#events.splice(0, excess);
    this.#numbers.splice(0, excess);
    if (events.length + dropped > 0) this.#wake();
  }

  /** The events from that number on, as many as one answer has. */
  page(from: number): AuditPage {
    const first = this.#numbers.findIndex((number) => number >= from);
    const events = first < 0 ? [] : this.#events.slice(first, first + AUDIT_PAGE);
    const isLast = first < 0 || first + events.length === this.#events.length;
    const next = isLast ? Math.max(this.#next, from) : this.#numbers[first + events.length];
    return { events, dropped: next - from - events.length, next };
  }

  /** As `page`, once there is one, or the time is over. */
  async nextPage(from: number, waitMs: number): Promise<AuditPage> {
    if (from >= this.#next && waitMs > 0) await this.#noted(waitMs);
    return this.page(from);
  }

  /** The number of the next event. */
  get next(): number {
    return this.#next;
  }

  /** Whoever waits need not any more. */
  close(): void {
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  #noted(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, waitMs);
      this.#waiting.add(wake);
    });
  }
}
