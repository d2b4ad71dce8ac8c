import type { TestRuns } from './notifications.js';
import type { Comparison } from './results.js';

/** Who goes first, and after whom, changes with the turn. */
export function rotated<T>(items: readonly T[], turn: number): T[] {
  const order = turn % 2 === 0 ? [...items] : [...items].reverse();
  const first = (turn >> 1) % items.length;
  return [...order.slice(first), ...order.slice(0, first)];
}

export function comparison({ test, sides }: TestRuns): Comparison {
  const figures = Object.entries(sides).map(([name, runs]) => [name, runs.map(({ figure }) => figure)]);
  const { name, unit, better } = test;
  return { name, unit, better, sides: Object.fromEntries(figures) as Record<string, number[]> };
}
