import { table } from '../../cli/support/mounts-text.js';

/** Figures of several sides for one thing measured: one number a turn. */
export interface Comparison {
  readonly name: string;
  readonly unit: string;
  /** Whether more is better; a ratio above 1 always means that the first side is ahead. */
  readonly better: 'more' | 'less';
  readonly sides: Record<string, number[]>;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

/** The ratio within each turn, of which what a noisy machine does to both sides cancels out. */
export function ratios({ better, sides }: Comparison, side: string, peer: string): number[] {
  const theirs = sides[peer];
  return sides[side].map((mine, i) => (better === 'more' ? mine / theirs[i] : theirs[i] / mine));
}

/**
 * Two tables: the medians with a column a side, and how each side that is no peer compares with each peer. Or the same as lines of
 * JSON, with the figures of all turns.
 * @param peers names of sides; the last of them where left out.
 */
export function printComparisons(
  comparisons: readonly Comparison[],
  json: boolean,
  peers: readonly string[] = Object.keys(comparisons[0].sides).slice(-1),
): void {
  const names = Object.keys(comparisons[0].sides);
  const own = names.filter((name) => !peers.includes(name));
  const pairs = peers.flatMap((peer) => own.map((side): [string, string] => [side, peer]));
  const text = json ? jsonLines(comparisons, pairs) : tables(comparisons, names, pairs);
  process.stdout.write(`${text}\n`);
}

function jsonLines(comparisons: readonly Comparison[], pairs: readonly [string, string][]): string {
  const lines = comparisons.map((comparison) => {
    const spreads = pairs.map(([side, peer]) => [
      `${side}:${peer}`,
      spreadOf(ratios(comparison, side, peer)),
    ]);
    return JSON.stringify({ ...comparison, ratios: Object.fromEntries(spreads) as unknown });
  });
  return lines.join('\n');
}

function tables(
  comparisons: readonly Comparison[],
  names: readonly string[],
  pairs: readonly [string, string][],
): string {
  const figures = comparisons.map((comparison) => [
    comparison.name,
    ...names.map((name) => spreadOf(comparison.sides[name]).median.toPrecision(4)),
    comparison.unit,
  ]);
  const compared = comparisons.map((comparison) => [
    comparison.name,
    ...pairs.map(([side, peer]) => spreadText(spreadOf(ratios(comparison, side, peer)))),
  ]);
  const headings = pairs.map(([side, peer]) => `${side}:${peer}`);
  return [
    table(['MEDIAN', ...names, 'UNIT'], figures),
    '',
    table(['RATIO (MIN-MAX)', ...headings], compared),
  ].join('\n');
}

function spreadText({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}-${max.toFixed(2)})`;
}
