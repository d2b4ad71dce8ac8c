import { mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { onTestFinished } from 'vitest';
import { closeFd } from '../../host/index.js';

setFlagsFromString('--expose-gc');

/** Collects all garbage now. What a WeakRef or a promise held in this job is collected in a later one. */
export const collectGarbage = runInNewContext('gc') as () => void;

/** The number of descriptors open in this process; comparable between two calls with no await in between. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** A directory that goes away with the test. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'chassis-host-'));
  onTestFinished(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

/** Closes `fd` with the test. */
export function owned(fd: number): number {
  onTestFinished(() => {
    closeFd(fd);
  });
  return fd;
}

/** A temporary directory, opened. */
export function openTemporaryDirectory(): { path: string; fd: number } {
  const path = temporaryDirectory();
  return { path, fd: owned(openSync(path, 'r')) };
}

/** A name as the calls take it. */
export function cString(text: string): Uint8Array {
  return Buffer.from(`${text}\0`);
}
