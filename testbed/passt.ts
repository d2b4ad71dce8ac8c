import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'passt',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['passt'],
  provided: [],
};

/**
 * The command line of Debian's passt, which brings a guest's traffic to the host's sockets without root: the program in the cache and its
 * first arguments, fetched where it is missing (5 MB, with a C library).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findPasst(onProgress?: OnProgress, signal?: AbortSignal): Promise<readonly string[]> {
  return programInTree(
    await debianTree('passt-trixie-1', request, probe, { onProgress, signal }),
    'usr/bin/passt',
  );
}

/** By the exit code: into a pipe it says nothing. @throws QemuUnavailableError BAD_PACKAGE */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const [file, ...prefix] = programInTree(root, 'usr/bin/passt');
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { exitCode } = await execa(file, [...prefix, '--version'], run);
  signal?.throwIfAborted();
  if (exitCode !== 0) throw badPackage(request.title, root);
}
