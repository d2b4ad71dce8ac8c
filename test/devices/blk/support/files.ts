import { closeSync, constants, existsSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';

/** A directory that goes away with the test. */
export function temporaryFolder(parent = tmpdir()): string {
  const path = mkdtempSync(join(parent, 'chassis-blk-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A file system in memory, where there is one. */
export const MEMORY_FOLDER = existsSync('/dev/shm') ? '/dev/shm' : undefined;

/** Whether files in temporary directories can be read and written past the page cache. */
export const CAN_DIRECT = ((): boolean => {
  const folder = mkdtempSync(join(tmpdir(), 'chassis-blk-'));
  try {
    closeSync(openSync(join(folder, 'probe'), constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT));
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
})();
