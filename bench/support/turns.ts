import type { TestRuns } from './notifications.js';
import type { Comparison } from './results.js';
import type { Run } from './vm-sides.js';

/** What runs tests on one of the sides. */
interface SideOf {
  readonly side: { readonly name: string };
}

/** Who goes first, and after whom, changes with the turn. */
function rotated<T>(items: readonly T[], turn: number): T[] {
  const order = turn % 2 === 0 ? [...items] : [...items].reverse();
  const first = (turn >> 1) % items.length;
  return [...order.slice(first), ...order.slice(0, first)];
}

export function comparison({ test, sides }: TestRuns): Comparison {
  const figures = Object.entries(sides).map(([name, runs]) => [name, runs.map(({ figure }) => figure)]);
  const { name, unit, better } = test;
  return { name, unit, better, sides: Object.fromEntries(figures) as Record<string, number[]> };
}

/** Has the runners take turns at each test, `turnsOf` of them a round; answers all runs, by test and side. */
export async function takeTurns<Test extends TestRuns['test'], Runner extends SideOf>(
  tests: readonly Test[],
  runners: readonly Runner[],
  rounds: number,
  run: (runner: Runner, test: Test) => Promise<Run>,
  turnsOf: (test: Test) => number = () => 1,
): Promise<(TestRuns & { readonly test: Test })[]> {
  const results = tests.map((test) => ({
    test,
    sides: Object.fromEntries(runners.map(({ side }) => [side.name, [] as Run[]])),
  }));
  for (let round = 0; round < rounds; round++) {
    for (const { test, sides } of results) {
      const turns = turnsOf(test);
      for (let turn = 0; turn < turns; turn++) {
        for (const runner of rotated(runners, round * turns + turn)) {
          sides[runner.side.name].push(await run(runner, test));
        }
      }
    }
  }
  return results;
}
