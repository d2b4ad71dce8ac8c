/** A completion of that many bytes may make an interrupt wait: more than a network card's largest frame, so that no packet does. */
const BULK_BYTES = 128 << 10;
/** One of fewer than these does not even wait with others: it may be what somebody looks at. The end of a bulk transfer has more. */
const SMALL_BYTES = 16 << 10;
/** No more requests than so many are waited for, and half as many completions have one interrupt. */
const MOST_UNDER_WAY = 8;
/** An interrupt waits no longer than this, in milliseconds. */
const LONGEST_WAIT_MS = 8;
/** Completions that are further apart do not wait for each other. */
const FARTHEST_APART_MS = 2;
/** How soon after one try to let more completions wait the next one comes, in milliseconds: where tries fail, ever later. */
const FIRST_TRY_GAP_MS = 20;
const LAST_TRY_GAP_MS = 200;
/** An interval counts as no longer than this, so that a pause is soon forgotten. */
const LONGEST_INTERVAL_MS = 20;
/** How much the newest interval between completions counts, against all before it. */
const NEWEST_SHARE = 1 / 8;

/**
 * Holds interrupts for bulk back while others follow at once. A driver that has several large requests under way does not mind if the first
 * completion waits for the next ones; one that has a single request under way would wait for nothing. Which it is cannot be seen in the ring,
 * since each request may be answered before the next is made. So it is found out by trying: now and then an interrupt waits for twice as
 * many completions as have been seen to be under way. If they come before the time is up, so many are. From then on one interrupt stands
 * for half of them, so that the driver has the other half to go on with meanwhile. Where they do not come, the interrupt is late, once. A
 * driver with one request under way is thus made to wait for 20 milliseconds in each second at most.
 *
 * The driver can see what is used all the time: only the interrupt is held back.
 */
export class InterruptModeration {
  readonly #interrupt: () => void;
  readonly #late = (): void => this.#timeIsUp();
  /** Completions that the driver has not been shown yet, by size. */
  #bulk = 0;
  #small = 0;
  /** So many requests were last seen to be under way. */
  #underWay = 1;
  /** Completions whose interrupt is held back; 0 where none is. */
  #waiting = 0;
  /** How many it waits for. */
  #waitsFor = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastAt = -Infinity;
  /** Between bulk completions, on the average. */
  #intervalMs = Infinity;
  #nextTryAt = 0;
  #tryGapMs = FIRST_TRY_GAP_MS;

  /** `interrupt` is called for what was held back, from the event loop. */
  constructor(interrupt: () => void) {
    this.#interrupt = interrupt;
  }

  get holding(): boolean {
    return this.#waiting > 0;
  }

  /** A request that moved so many bytes is completed. */
  completed(bytes: number): void {
    if (bytes >= BULK_BYTES) this.#bulk++;
    else if (bytes < SMALL_BYTES) this.#small++;
  }

  /** So many were published, and the driver wants to hear of them. Answers whether to interrupt it now; where not, that comes later. */
  interruptsNow(completions: number): boolean {
    const mayWait = this.#small === 0 && (this.#bulk > 0 || this.holding);
    this.published();
    if (!mayWait) this.#stopWaiting();
    return !mayWait || !this.#waits(completions);
  }

  /** What was completed is published, and the driver does not want to hear of it. */
  published(): void {
    this.#bulk = 0;
    this.#small = 0;
  }

  /** Interrupts for what is held back, if anything is: nothing may wait any longer. */
  release(): void {
    if (this.#waiting === 0) return;
    this.#stopWaiting();
    this.#interrupt();
  }

  #waits(completions: number): boolean {
    const now = performance.now();
    this.#countInterval(now, completions);
    if (this.#waiting === 0) this.#waitsFor = this.#choose(now);
    this.#waiting += completions;
    if (this.#waiting < this.#waitsFor) {
      this.#timer ??= setTimeout(this.#late, this.#waitMs);
      return true;
    }
    this.#seen(this.#waiting);
    this.#stopWaiting();
    return false;
  }

  /** The driver has not heard of so many completions: they were under way at once. */
  #seen(underWay: number): void {
    if (underWay <= this.#underWay) return;
    this.#underWay = Math.min(underWay, MOST_UNDER_WAY);
    this.#tryGapMs = FIRST_TRY_GAP_MS;
  }

  #timeIsUp(): void {
    if (this.#waiting < this.#together) this.#underWay = this.#waiting;
    else this.#tryGapMs = Math.min(this.#tryGapMs * 2, LAST_TRY_GAP_MS);
    this.#stopWaiting();
    this.#interrupt();
  }

  #stopWaiting(): void {
    this.#waiting = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #countInterval(now: number, completions: number): void {
    const interval = Math.min((now - this.#lastAt) / completions, LONGEST_INTERVAL_MS);
    this.#lastAt = now;
    if (this.#intervalMs === Infinity) this.#intervalMs = interval;
    else this.#intervalMs += (interval - this.#intervalMs) * NEWEST_SHARE;
  }

  /** How many completions the next interrupt waits for. */
  #choose(now: number): number {
    if (this.#intervalMs > FARTHEST_APART_MS) return 1;
    if (now < this.#nextTryAt || this.#underWay === MOST_UNDER_WAY) return this.#together;
    this.#nextTryAt = now + this.#tryGapMs;
    return Math.min(this.#underWay * 2, MOST_UNDER_WAY);
  }

  /** So many bulk completions have one interrupt. */
  get #together(): number {
    return Math.max(this.#underWay >> 1, 1);
  }

  get #waitMs(): number {
    const missing = this.#waitsFor - this.#waiting;
    return Math.min(Math.ceil(2 * this.#intervalMs * missing), LONGEST_WAIT_MS);
  }
}
