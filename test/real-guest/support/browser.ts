import { describe } from 'vitest';
import { findBrowser } from '../../../testbed/browser.js';
import { QemuUnavailableError } from '../../../testbed/errors.js';

const program = await findBrowser().catch((error: unknown) => {
  // As for real guests: no packages, no test, but not unnoticed.
  if (error instanceof QemuUnavailableError && process.env.CI !== 'true') return error;
  throw error;
});

/** Groups tests that need a browser, whose program they get: skipped, with the reason in the title, where it cannot be had. */
export function describeInBrowser(title: string, body: (program: string) => void): void {
  if (typeof program === 'string') describe(title, () => body(program));
  else describe.skip(`${title} (skipped: ${program.message})`, () => body(''));
}
