import type { AwakeSession } from '../device-session.js';

/** How long rings are left alone once they have been empty for a while, in milliseconds. */
const IDLE_PAUSE_MS = 1;
/** Looks in a row that find nothing before the pauses begin: what comes next often comes at once. */
const IDLE_LOOKS = 64;

/**
 * Keeps a session awake for good, so that nobody has to ring a doorbell: looks at its rings over and over from the event loop while there
 * is work, after pauses while there is none, and never has it rest.
 */
export class RingPoller {
  readonly #defer: (work: () => void) => void;
  #session: AwakeSession | undefined;
  #idleLooks = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `defer` runs work soon, from the event loop. */
  constructor(defer: (work: () => void) => void) {
    this.#defer = defer;
  }

  start(session: AwakeSession): void {
    this.stop();
    this.#session = session;
    this.#idleLooks = 0;
    const look = (): void => this.#look(session, look);
    this.#defer(look);
  }

  stop(): void {
    this.#session = undefined;
    clearTimeout(this.#timer);
  }

  /** `again` is the same look, made once for all of a session's. */
  #look(session: AwakeSession, again: () => void): void {
    if (session !== this.#session) return;
    this.#idleLooks = session.poll() ? 0 : this.#idleLooks + 1;
    // The driver may have ended the session from within, at an interrupt.
    if (session !== this.#session) return;
    if (this.#idleLooks < IDLE_LOOKS) this.#defer(again);
    else this.#timer = setTimeout(again, IDLE_PAUSE_MS);
  }
}
