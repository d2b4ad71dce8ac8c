/** A promise and what settles it. */
export function later(): { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } {
  let resolve = (): void => {};
  let reject = (_: Error): void => {};
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

/** Lets promise callbacks run. */
export async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
