import type { Growth } from '../hotplug.js';

/** Samples of several operations, by size. */
export class Samples {
  readonly #byOperation = new Map<string, Map<number, number[]>>();

  add(operation: string, size: number, value: number): void {
    const bySize = this.#byOperation.get(operation) ?? new Map<number, number[]>();
    this.#byOperation.set(operation, bySize);
    bySize.set(size, [...(bySize.get(size) ?? []), value]);
  }

  growths(): Growth[] {
    return [...this.#byOperation].map(([operation, valuesBySize]) => ({ operation, valuesBySize }));
  }
}
