import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
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
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findDiod(onProgress?: OnProgress, signal?: AbortSignal): Promise<Diod> {
  const root = await debianTree('diod-trixie-1', request, probe, { onProgress, signal });
  const program = (name: string): string[] => programInTree(root, `usr/sbin/${name}`);
  return { server: program('diod'), tool: program };
}

/** @throws QemuUnavailableError BAD_PACKAGE where what lies in the tree does not run. */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const [file, ...prefix] = programInTree(root, 'usr/sbin/diod');
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout, stderr } = await execa(file, [...prefix, '--help'], run);
  signal?.throwIfAborted();
  if (!`${String(stdout)}${String(stderr)}`.includes('Usage: diod')) throw badPackage(request.title, root);
}
