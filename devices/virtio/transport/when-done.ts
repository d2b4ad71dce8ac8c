/** Runs `finish` once `work` is done, at once where it is no promise. Work that fails is done, too, and `failed` is told before. */
export function whenDone(
  work: () => void | Promise<void>,
  failed: (error: unknown) => void,
  finish: () => void,
): void {
  try {
    const promise = work();
    if (promise instanceof Promise) {
      void promise.catch(failed).finally(finish);
      return;
    }
  } catch (error) {
    failed(error);
  }
  finish();
}
