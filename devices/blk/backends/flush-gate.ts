import { PENDING, type BlockCompletion } from './block-backend.js';

/**
 * Runs one flush at a time. Those that come meanwhile share the next: the one under way may have started before the writes that
 * they cover were done.
 */
export class FlushGate {
  readonly #start: (ended: (result: number) => void) => void;
  #running = false;
  #served: BlockCompletion[] = [];
  #waiting: BlockCompletion[] = [];
  /** Always empty: what takes the others' place while they are being told. */
  #spare: BlockCompletion[] = [];
  readonly #ended = (result: number): void => {
    const served = this.#served;
    this.#served = this.#waiting;
    this.#waiting = this.#spare;
    this.#running = this.#served.length > 0;
    if (this.#running) this.#start(this.#ended);
    // Whoever is told may flush again at once.
    for (const completion of served) completion.complete(result);
    served.length = 0;
    this.#spare = served;
  };

  /** `start` begins a flush and calls `ended` with its result, later. */
  constructor(start: (ended: (result: number) => void) => void) {
    this.#start = start;
  }

  get running(): boolean {
    return this.#running;
  }

  flush(completion: BlockCompletion): number {
    if (this.#running) this.#waiting.push(completion);
    else {
      this.#running = true;
      this.#served.push(completion);
      this.#start(this.#ended);
    }
    return PENDING;
  }
}
