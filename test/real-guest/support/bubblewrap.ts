import { rmSync } from 'node:fs';
import { delimiter } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { findBubblewrap } from '../../../testbed/bubblewrap.js';
import { QemuUnavailableError } from '../../../testbed/errors.js';

/**
 * Has the processes of this file's daemons confined, as on a Debian with bubblewrap: call it at the top of the file. Files without it are as
 * on one that has none. Where no package can be had, they run unconfined.
 */
export function withBubblewrap(): void {
  const { PATH } = process.env;
  let folder: string | undefined;
  beforeAll(async () => {
    folder = await findBubblewrap().catch((error: unknown) => {
      if (error instanceof QemuUnavailableError && process.env.CI !== 'true') return undefined;
      throw error;
    });
    if (folder !== undefined) process.env.PATH = `${folder}${delimiter}${PATH}`;
  });
  afterAll(() => {
    process.env.PATH = PATH;
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });
}
