/**
 * Starts a device process again that died by itself: at once, and after a pause that grows where it does not live long. A process that dies over and
 * over is given up, and is started by `chassis restart` or the next attach.
 */

import type { Log } from './logging/log.js';

export interface RecoveryOptions {
  /** Starts the process over, with all functions. Does nothing where it runs. */
  readonly revive: () => Promise<void>;
  /** It is not started again by itself. */
  readonly onGivenUp: () => void;
  readonly log: Log;
}

/** A process that lives this long is no part of a loop. */
const LONG_LIFE_MS = 1000;
const MAX_SHORT_LIVES = 6;
const FIRST_PAUSE_MS = 100;

export class Recovery {
  private readonly options: RecoveryOptions;
  private running = false;
  private ended = false;
  private timer: NodeJS.Timeout | undefined;
  private shortLives = 0;
  private startedAt = -Infinity;
  private diedAt = 0;
  private recoveries = 0;

  constructor(options: RecoveryOptions) {
    this.options = options;
  }

  /** True while the process is on its way back. */
  get isUnderWay(): boolean {
    return this.running;
  }

  /** How often the process came back after it had died. */
  get restarts(): number {
    return this.recoveries;
  }

  /** The process died. */
  begin(): void {
    if (this.ended) return;
    if (!this.running) this.diedAt = performance.now();
    this.running = true;
    const lived = performance.now() - this.startedAt;
    this.shortLives = lived < LONG_LIFE_MS ? this.shortLives + 1 : 0;
    this.next();
  }

  /** The process runs, whoever started it. */
  started(): void {
    this.startedAt = performance.now();
    if (!this.running) return;
    this.running = false;
    this.recoveries++;
    clearTimeout(this.timer);
    this.options.log.info(
      `the device process runs again, after ${Math.round(performance.now() - this.diedAt)} ms`,
    );
  }

  end(): void {
    this.ended = true;
    this.running = false;
    clearTimeout(this.timer);
  }

  private next(): void {
    if (this.shortLives >= MAX_SHORT_LIVES) return this.giveUp();
    const pauseMs = this.shortLives === 0 ? 0 : FIRST_PAUSE_MS * 2 ** (this.shortLives - 1);
    this.timer = setTimeout(() => void this.attempt(), pauseMs);
  }

  private async attempt(): Promise<void> {
    try {
      await this.options.revive();
    } catch (error) {
      if (!this.running) return;
      this.options.log.warn('cannot start the device process', error);
      this.shortLives++;
      this.next();
    }
  }

  private giveUp(): void {
    this.running = false;
    this.shortLives = 0;
    this.options.onGivenUp();
    this.options.log.error(
      `the device process died ${MAX_SHORT_LIVES} times in a row: it is not started again by itself`,
    );
  }
}
