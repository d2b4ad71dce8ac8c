import { table } from '../../cli/support/mounts-text.js';
import { CROSSINGS, type Crossings, type Run } from './vm-sides.js';
import type { VmTest } from './vm-tests.js';

/** What of a test is told here. */
type CountedTest = Pick<VmTest, 'name' | 'unit' | 'better' | 'per' | 'operations'>;

/** All runs of one test, by side. */
export interface TestRuns {
  readonly test: CountedTest;
  readonly sides: Readonly<Record<string, readonly Run[]>>;
}

/** What kicks and interrupts cost is paid once each: how many there were, in all rounds together. */
export function printNotifications(results: readonly TestRuns[], sizeMiB: number, json: boolean): void {
  const text = json
    ? results.map((result) => jsonLine(result, sizeMiB)).join('\n')
    : [interruptsTable(results, sizeMiB), kicksTable(results, sizeMiB), crossingsTable(results)].join('\n\n');
  process.stdout.write(`${text}\n`);
}

/** Interrupts that the guest took of each side's device, by its own count. */
function interruptsTable(results: readonly TestRuns[], sizeMiB: number): string {
  const names = Object.keys(results[0].sides);
  const rows = results.map((result) => [
    result.test.name,
    ...names.map((name) => shortNumber(guestInterrupts(result, name, sizeMiB))),
    result.test.per,
  ]);
  return table(['INTERRUPTS IN THE GUEST', ...names, 'PER'], rows);
}

/** Doorbells that reached the chassis. Nobody counts its peers'. */
function kicksTable(results: readonly TestRuns[], sizeMiB: number): string {
  const own = Object.entries(results[0].sides).filter(([, runs]) => runs[0].crossings !== undefined);
  const names = own.map(([name]) => name);
  const rows = results.map(({ test, sides }) => [
    test.name,
    ...names.map((name) => {
      const kicks = totalCrossings(sides[name])?.kicks ?? 0;
      return shortNumber(kicks / (sides[name].length * amountOf(test, sizeMiB)));
    }),
    test.per,
  ]);
  return table(['KICKS', ...names, 'PER'], rows);
}

/** What crossed the chassis's own mounts, by their own count. */
function crossingsTable(results: readonly TestRuns[]): string {
  const rows = results.flatMap(({ test, sides }) =>
    Object.entries(sides).flatMap(([name, runs]) => {
      const total = totalCrossings(runs);
      if (total === undefined) return [];
      const { requests, ...others } = total;
      const shares = Object.values(others).map((count) => shortNumber((count * 1000) / requests));
      return [[test.name, name, String(requests), ...shares]];
    }),
  );
  const headings = ['KICKS', 'INTERRUPTS', 'WAKE-UPS', 'EMPTY WAKE-UPS', 'POLLS'];
  return table(['PER 1000 REQUESTS', 'OVER', 'REQUESTS', ...headings], rows);
}

function jsonLine(result: TestRuns, sizeMiB: number): string {
  const { test, sides } = result;
  const described = Object.entries(sides).map(([name, runs]) => [
    name,
    { guestInterrupts: guestInterrupts(result, name, sizeMiB), ...totalCrossings(runs) },
  ]);
  const shown = Object.fromEntries(described) as unknown;
  return JSON.stringify({
    name: 'notifications',
    test: test.name,
    guestInterruptsPer: test.per,
    sides: shown,
  });
}

function guestInterrupts({ test, sides }: TestRuns, name: string, sizeMiB: number): number {
  const runs = sides[name];
  const total = runs.reduce((sum, run) => sum + run.guestInterrupts, 0);
  return total / (runs.length * amountOf(test, sizeMiB));
}

/** How much of what is counted against one run does. */
function amountOf({ operations }: CountedTest, sizeMiB: number): number {
  return operations === undefined ? sizeMiB : operations / 1000;
}

function totalCrossings(runs: readonly Run[]): Crossings | undefined {
  const all = runs.flatMap(({ crossings }) => crossings ?? []);
  if (all.length === 0) return undefined;
  const entries = CROSSINGS.map((key) => [key, all.reduce((total, each) => total + each[key], 0)]);
  return Object.fromEntries(entries) as Crossings;
}

function shortNumber(value: number): string {
  return value.toFixed(value < 10 ? 1 : 0);
}
