/**
 * What happened of late, and who listens. Nothing is kept for a listener but its place: one that is slower than what happens loses the
 * oldest, and is told so.
 */
import { randomBytes } from 'node:crypto';
import type { ChassisEvent, Event, EventBody, EventsQuery, Gap } from '../control/api.js';

/** Some MB where all tags are as long as can be. */
const KEPT_EVENTS = 4096;
const DAEMON_BYTES = 4;
const ID = /^([0-9a-f]{8})-(\d{1,15})$/;

export class EventLog {
  /** Which daemon it was that told an event. */
  private readonly daemon = randomBytes(DAEMON_BYTES).toString('hex');
  private readonly keptEvents: number;
  /** Of event number n at n modulo `keptEvents`. */
  private readonly ring: ChassisEvent[] = [];
  /** The number of the last one; the first has 1. */
  private last = 0;
  private readonly listeners = new Set<() => void>();
  private closed = false;

  constructor(keptEvents = KEPT_EVENTS) {
    this.keptEvents = keptEvents;
  }

  append(chassis: string, body: EventBody): void {
    this.last++;
    this.ring[this.last % this.keptEvents] = {
      ...{ id: this.idOf(this.last), time: new Date().toISOString(), chassis },
      ...body,
    };
    this.wake();
  }

  /** From now on, or from what follows `since`; ends once the log is closed or nobody listens any more. */
  follow(query: EventsQuery, gone: AbortSignal): AsyncGenerator<Event> {
    return this.from(this.startOf(query.since), query.chassis, gone);
  }

  /** Ends what all listeners hear. */
  close(): void {
    this.closed = true;
    this.wake();
  }

  private async *from(start: Start, chassis: string | undefined, gone: AbortSignal): AsyncGenerator<Event> {
    let { next } = start;
    if (start.gap) yield this.gap(next);
    while (!this.closed && !gone.aborted) {
      if (next > this.last) {
        await this.nextEvent(gone);
        continue;
      }
      if (next < this.oldest) {
        const missed = this.oldest - next;
        next = this.oldest;
        yield this.gap(next, missed);
        continue;
      }
      const event = this.ring[next++ % this.keptEvents];
      if (chassis === undefined || event.chassis === chassis) yield event;
    }
  }

  private startOf(since: string | undefined): Start {
    if (since === undefined) return { next: this.last + 1, gap: false };
    const [, daemon, number] = ID.exec(since) ?? [];
    const next = Number(number) + 1;
    const isKnown = daemon === this.daemon && next <= this.last + 1;
    return isKnown ? { next, gap: false } : { next: this.oldest, gap: true };
  }

  private get oldest(): number {
    return Math.max(1, this.last - this.keptEvents + 1);
  }

  /** Whoever goes on after it gets event number `next`. */
  private gap(next: number, missed?: number): Gap {
    const id = this.idOf(next - 1);
    return { id, time: new Date().toISOString(), type: 'gap', ...(missed !== undefined && { missed }) };
  }

  private idOf(number: number): string {
    return `${this.daemon}-${number}`;
  }

  private async nextEvent(gone: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        this.listeners.delete(wake);
        gone.removeEventListener('abort', wake);
        resolve();
      };
      this.listeners.add(wake);
      gone.addEventListener('abort', wake);
    });
  }

  private wake(): void {
    for (const wake of [...this.listeners]) wake();
  }
}

/** Where a listener begins, and whether it is told that it lacks something. */
interface Start {
  readonly next: number;
  readonly gap: boolean;
}
