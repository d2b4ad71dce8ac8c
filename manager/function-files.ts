/** What a function keeps in files so that the next device process finds it there, should this one be killed. */
import { readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Each is named by what `ChassisPaths.functionFiles` answers, and one of these. */
export const FunctionFile = {
  /** Requests that are under way: `manager/ports/keeping/inflight-file.ts`. */
  INFLIGHT: 'inflight',
} as const;

/** Removes all files of a function, whose paths begin like this. */
export function removeFunctionFiles(prefix: string): void {
  const folder = dirname(prefix);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return;
  }
  for (const name of names) {
    if (name.startsWith(basename(prefix))) rmSync(join(folder, name), { force: true });
  }
}
