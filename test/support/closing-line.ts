import type { Reporter, TestModule } from 'vitest/node';

/** Ends the run with a line that says in plain words what it came to: `N passed, N failed, N skipped`. */
export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    process.stdout.write(`\n${closingLine(modules, unhandledErrors.length)}\n`);
  }
}

/** `failures` are those that belong to no file. */
export function closingLine(modules: readonly TestModule[], failures: number): string {
  let [passed, failed, skipped] = [0, failures, 0];
  for (const module of modules) {
    // A file that could not be loaded has no tests to count, and those behind a hook that failed count as skipped: failures all the same.
    failed += [module, ...module.children.allSuites()].filter((each) => each.errors().length > 0).length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === 'passed') passed++;
      else if (state === 'failed') failed++;
      else skipped++;
    }
  }
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
