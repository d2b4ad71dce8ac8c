/** Waits for changes, and for them to be over: editors save in several steps. */

/** So long nothing may have changed; and so long at most, while something goes on changing. */
const QUIET_MS = 200;
const PATIENCE_MS = 2000;

export class Alarm {
  private rungAt: number | undefined;
  private timer: NodeJS.Timeout | undefined;
  private wake: () => void = () => undefined;

  /** Something changed. Counts as well while nobody waits. */
  ring(): void {
    this.rungAt ??= performance.now();
    const leftMs = PATIENCE_MS - (performance.now() - this.rungAt);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.wake(), Math.max(0, Math.min(QUIET_MS, leftMs)));
  }

  /** Resolves after a change, or that time, or as soon as it is aborted. */
  async next(mostMs: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>((done) => {
      const timeout = setTimeout(() => this.wake(), mostMs);
      const wake = (): void => {
        clearTimeout(timeout);
        signal.removeEventListener('abort', wake);
        done();
      };
      this.wake = wake;
      signal.addEventListener('abort', wake);
      if (this.rungAt !== undefined) this.ring();
      if (signal.aborted) wake();
    });
    clearTimeout(this.timer);
    this.rungAt = undefined;
  }
}
