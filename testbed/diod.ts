import { execa } from 'execa';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, programInTree, removeDocumentation, unpack, type PackageRequest } from './debian.js';
import { QemuUnavailableError } from './errors.js';
import type { OnProgress } from './progress.js';

/** A 9p server in C and its tools, from the same hands: somebody else's reading of the protocol. */
export interface Diod {
  /** The server's command line: the program and its first arguments. */
  readonly server: readonly string[];
  /** That of one of its tools. */
  tool(name: 'diodcat' | 'diodls' | 'diodload'): readonly string[];
}

const request: PackageRequest = {
  title: 'diod',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['diod'],
  provided: ['lsb-base'],
};

/**
 * Debian's diod in the cache, fetched where it is missing (6 MB).
 * @throws QemuUnavailableError, see `fetchPackages`; UNSUPPORTED_HOST on other machines than x86-64 Linux.
 */
export async function findDiod(onProgress?: OnProgress, signal?: AbortSignal): Promise<Diod> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new QemuUnavailableError('UNSUPPORTED_HOST', 'diod can only be fetched for x86-64 Linux');
  const cache = Cache.ofUser();
  const activity = { onProgress, signal };
  const root = await cache.entry('diod-trixie-1', activity, async (directory) => {
    const archives = join(directory, 'archives');
    await unpack(request.title, await fetchPackages(cache, request, archives, activity), directory, activity);
    await rm(archives, { recursive: true });
    await removeDocumentation(directory);
    await probe(directory, signal);
  });
  const program = (name: string): string[] => programInTree(root, `usr/sbin/${name}`);
  return { server: program('diod'), tool: program };
}

/** @throws QemuUnavailableError BAD_PACKAGE where what lies in the tree does not run. */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const [file, ...prefix] = programInTree(root, 'usr/sbin/diod');
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout, stderr } = await execa(file, [...prefix, '--help'], run);
  signal?.throwIfAborted();
  if (!`${String(stdout)}${String(stderr)}`.includes('Usage: diod'))
    throw new QemuUnavailableError('BAD_PACKAGE', `the diod in ${root} does not run`, `rm -r ${root}`);
}
