/** The object's callback functions as promises that never reject: exceptions, thrown or called back, become errno values. */
import { Errno, errnoOfException, type Failure } from '../../../errno.js';
import type { Done, DoneWith } from './node-fs-like.js';

/** 0 or a negative errno. */
export function call(start: (done: Done) => void): Promise<number> {
  return new Promise((resolve) => {
    try {
      start((error) => {
        resolve(isError(error) ? -errnoOfException(error) : 0);
      });
    } catch (error) {
      resolve(-errnoOfException(error));
    }
  });
}

/** What the function calls back with, or a negative errno. */
export function callFor<T>(start: (done: DoneWith<T>) => void): Promise<T | Failure> {
  return new Promise((resolve) => {
    try {
      start((error, result) => {
        if (isError(error)) resolve(-errnoOfException(error));
        else resolve(result ?? -Errno.EIO);
      });
    } catch (error) {
      resolve(-errnoOfException(error));
    }
  });
}

function isError(error: unknown): boolean {
  return error !== null && error !== undefined;
}
