/** Durations of one thing done many times. */
export class Durations {
  private readonly values: number[] = [];

  async time<T>(work: () => Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work();
    this.values.push(performance.now() - started);
    return result;
  }

  get last(): number {
    return this.values.at(-1) ?? 0;
  }

  /** The value that this share of all does not exceed; NaN where there are none. */
  percentile(share: number): number {
    const sorted = [...this.values].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
  }

  toString(): string {
    const shown = [0.5, 0.99, 1].map((share) => this.percentile(share).toFixed(0));
    return `p50 ${shown[0]} ms, p99 ${shown[1]} ms, max ${shown[2]} ms`;
  }
}
