/** Notices that nobody needs a process any more: no daemon is there to ask for it, and nothing of a guest's uses it. */
import { existsSync } from 'node:fs';

/** So long a daemon may be away that serves no VM; docs/daemon.md says so. */
export const UNCLAIMED_MS = 600_000;
const LOOK_MS = 5000;

export interface UnclaimedOptions {
  readonly limitMs: number;
  /** Where a daemon would connect: without that file, none ever will. */
  readonly socketPath: string;
  readonly inUse: () => boolean;
  /** Called once. */
  readonly onUnclaimed: () => void;
}

export class Unclaimed {
  readonly #options: UnclaimedOptions;
  #socketPath: string;
  #neededMs = 0;
  #look: NodeJS.Timeout | undefined;

  constructor(options: UnclaimedOptions) {
    this.#options = options;
    this.#socketPath = options.socketPath;
  }

  /** A daemon connects there from now on. */
  moveTo(socketPath: string): void {
    this.#socketPath = socketPath;
  }

  /** A daemon is there. */
  claimed(): void {
    clearInterval(this.#look);
    this.#look = undefined;
  }

  /** None is. */
  abandoned(): void {
    this.claimed();
    this.#neededMs = performance.now();
    this.#look = setInterval(() => this.#lookAgain(), Math.min(LOOK_MS, this.#options.limitMs / 4));
  }

  #lookAgain(): void {
    const { limitMs, inUse, onUnclaimed } = this.#options;
    if (inUse()) this.#neededMs = performance.now();
    else if (performance.now() - this.#neededMs >= limitMs || !existsSync(this.#socketPath)) {
      this.claimed();
      onUnclaimed();
    }
  }
}
