import { GuestError } from '../errors.js';

/** What every operation takes. */
export interface OperationOptions {
  /** Ends the operation early: what is under way is flushed, and the operation rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Runs calls to the server, and gives their errors the system call and path that the caller knows. */
export interface OperationRunner {
  /** Rejects with ENOTCONN once the mount has ended. */
  run<T>(syscall: string, path: string, work: () => Promise<T>): Promise<T>;
  /** Runs what must be possible to the last: letting go of fids. */
  always<T>(syscall: string, path: string, work: () => Promise<T>): Promise<T>;
}

/** Counts what is under way on a mount, so that it can be let go of when nothing is. */
export class Operations implements OperationRunner {
  /** For the parts of an operation that `hold` keeps under way: they may begin to its end. */
  readonly held: OperationRunner = {
    run: (syscall, path, work) => this.always(syscall, path, work),
    always: (syscall, path, work) => this.always(syscall, path, work),
  };
  #underWay = 0;
  #ended = false;
  #idle: (() => void) | undefined;

  async run<T>(syscall: string, path: string, work: () => Promise<T>): Promise<T> {
    this.#assertNotEnded(syscall, path);
    return this.always(syscall, path, work);
  }

  async always<T>(syscall: string, path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#count(work);
    } catch (error) {
      throw error instanceof GuestError ? error.at(syscall, path) : error;
    }
  }

  /** An operation of several parts, whose errors the parts have named. */
  async hold<T>(syscall: string, path: string, work: () => Promise<T>): Promise<T> {
    this.#assertNotEnded(syscall, path);
    return this.#count(work);
  }

  /** Lets no operation begin any more; resolves once none is under way. */
  end(): Promise<void> {
    this.#ended = true;
    if (this.#underWay === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  async #count<T>(work: () => Promise<T>): Promise<T> {
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) this.#idle?.();
    }
  }

  #assertNotEnded(syscall: string, path: string): void {
    if (this.#ended) throw new GuestError('ENOTCONN', { syscall, path, detail: 'not mounted any more' });
  }
}
