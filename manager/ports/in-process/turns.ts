/** After this many turns in a row among microtasks, the event loop gets one: timers and I/O must not starve. */
const MICROTASK_TURNS = 64;

/**
 * Runs work after the call that asked for it has returned: as a microtask, which is what makes a request in one process cheap,
 * and every so often from the event loop, since a guest that asks again at once would otherwise never let go of it.
 */
export class Turns {
  readonly #run: () => void;
  #scheduled = false;
  #inARow = 0;

  constructor(run: () => void) {
    this.#run = run;
  }

  /** Has the work run once, soon, however often this is called before. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    if (++this.#inARow <= MICROTASK_TURNS) {
      queueMicrotask(this.#turn);
    } else {
      this.#inARow = 0;
      setImmediate(this.#turn);
    }
  }

  readonly #turn = (): void => {
    this.#scheduled = false;
    this.#run();
  };
}
