/** Runs jobs one after the other, in the order in which they came. A job that fails does not stop the next. */
export class SerialQueue {
  private tail: Promise<unknown> = Promise.resolve();

  run<T>(job: () => Promise<T>): Promise<T> {
    const result = this.tail.then(job);
    this.tail = result.catch(() => undefined);
    return result;
  }

  /** Resolves once all jobs so far have ended. */
  async drained(): Promise<void> {
    await this.tail;
  }
}
