/**
 * Lines about failures of a backend. A guest can provoke as many as it likes on a full disk, so a kind of failure is told when it first
 * happens, and then each time that its number has doubled.
 */
import { Errno } from '../../errno.js';

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Errno).map(([name, number]) => [number, name]),
);

export class FailureLog {
  readonly #log: (message: string) => void;
  readonly #counts = new Map<string, number>();

  constructor(log: (message: string) => void) {
    this.#log = log;
  }

  /** `result` is a negative errno; `operation` is a verb. */
  add(operation: string, offsetBytes: number, result: number): void {
    const name = NAMES.get(-result) ?? `errno ${-result}`;
    const kind = `${operation} ${name}`;
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    if (!isPowerOfTwo(count)) return;
    const times = count === 1 ? '' : ` (${count} times so far)`;
    this.#log(`cannot ${operation} at byte ${offsetBytes}: ${name}${times}`);
  }
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count));
}
