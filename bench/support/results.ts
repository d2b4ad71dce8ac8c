import { table } from '../../cli/support/mounts-text.js';

/** Figures of several sides for one thing measured: one number a round. */
export interface Comparison {
  readonly name: string;
  readonly unit: string;
  /** Whether more is better; a ratio above 1 always means that the first side is ahead. */
  readonly better: 'more' | 'less';
  readonly sides: Record<string, number[]>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The median over the rounds of the ratio within a round: what a noisy machine does to both sides cancels out. */
export function ratio(comparison: Comparison, side: string, peer: string): number {
  const mine = comparison.sides[side];
  const theirs = comparison.sides[peer];
  return median(
    mine.map((value, i) => (comparison.better === 'more' ? value / theirs[i] : theirs[i] / value)),
  );
}

/** A table with a column a side, and the ratio of each other side to the last, the peer; or the same as lines of JSON. */
export function printComparisons(comparisons: readonly Comparison[], json: boolean): void {
  const names = Object.keys(comparisons[0].sides);
  const own = names.slice(0, -1);
  const peer = names[names.length - 1];
  if (json) {
    for (const comparison of comparisons) {
      const ratios = Object.fromEntries(own.map((side) => [side, ratio(comparison, side, peer)]));
      process.stdout.write(`${JSON.stringify({ ...comparison, peer, ratios })}\n`);
    }
    return;
  }
  const rows = comparisons.map((comparison) => [
    comparison.name,
    ...Object.values(comparison.sides).map((values) => median(values).toPrecision(4)),
    comparison.unit,
    ...own.map((side) => ratio(comparison, side, peer).toFixed(2)),
  ]);
  const headings = ['MEDIAN OF', ...names, 'UNIT', ...own.map((side) => `${side}:${peer}`)];
  process.stdout.write(`${table(headings, rows)}\n`);
}
