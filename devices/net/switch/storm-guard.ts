/** How much a port may flood: a bucket of frames that fills at a steady rate. */
export class StormGuard {
  readonly #perSecond: number;
  #frames: number;
  #filledMs: number;

  /** Up to a second's frames may come at once. */
  constructor(framesPerSecond: number, nowMs: number) {
    this.#perSecond = framesPerSecond;
    this.#frames = framesPerSecond;
    this.#filledMs = nowMs;
  }

  /** Whether one more frame may be flooded now. */
  allows(nowMs: number): boolean {
    const filled = this.#frames + ((nowMs - this.#filledMs) * this.#perSecond) / 1000;
    this.#frames = Math.min(filled, this.#perSecond);
    this.#filledMs = nowMs;
    if (this.#frames < 1) return false;
    this.#frames--;
    return true;
  }
}
