import { execa } from 'execa';
import { join } from 'node:path';
import type { PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'mmdebstrap',
  suites: ['bookworm'],
  prefer: 'bookworm',
  packages: ['mmdebstrap'],
  // It is a script for the system's own Perl and apt. (Perl itself cannot be left out: it is asked for as that of any architecture.)
  provided: ['apt', 'python3'],
};

/**
 * Debian's mmdebstrap, which makes file systems of Debian's packages, in the cache; fetched where it is missing (9 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findMmdebstrap(onProgress?: OnProgress, signal?: AbortSignal): Promise<string> {
  return join(
    await debianTree('mmdebstrap-bookworm-1', request, probe, { onProgress, signal }),
    'usr/bin/mmdebstrap',
  );
}

/** @throws QemuUnavailableError BAD_PACKAGE */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { exitCode } = await execa(join(root, 'usr/bin/mmdebstrap'), ['--version'], run);
  signal?.throwIfAborted();
  if (exitCode !== 0) throw badPackage(request.title, root);
}
