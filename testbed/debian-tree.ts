import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, removeDocumentation, unpack, type PackageRequest } from './debian.js';
import { QemuUnavailableError } from './errors.js';
import type { OnProgress } from './progress.js';

/** Whose steps are reported, and what ends them. */
export interface Activity {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
}

/**
 * The packages unpacked in the cache under `name`, fetched where they are missing. `probe` says whether what lies in a tree runs.
 * @throws QemuUnavailableError, see `fetchPackages`; UNSUPPORTED_HOST on other machines than x86-64 Linux; what `probe` throws.
 */
export async function debianTree(
  name: string,
  request: PackageRequest,
  probe: (root: string, signal?: AbortSignal) => Promise<unknown>,
  activity: Activity,
): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    const problem = `${request.title} can only be fetched for x86-64 Linux`;
    throw new QemuUnavailableError('UNSUPPORTED_HOST', problem);
  }
  const cache = Cache.ofUser();
  return cache.entry(name, activity, async (directory) => {
    const archives = join(directory, 'archives');
    await unpack(request.title, await fetchPackages(cache, request, archives, activity), directory, activity);
    await rm(archives, { recursive: true });
    await removeDocumentation(directory);
    await probe(directory, activity.signal);
  });
}

/** A program in such a tree that does not run. */
export function badPackage(title: string, root: string): QemuUnavailableError {
  return new QemuUnavailableError('BAD_PACKAGE', `the ${title} in ${root} does not run`, `rm -r ${root}`);
}
