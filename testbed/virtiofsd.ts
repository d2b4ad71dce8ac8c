import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

/** The back end of virtio-fs, the other way to share a host's directory with a guest. */
export interface Virtiofsd {
  /** As it says itself: `1.13.2`. */
  readonly version: string;
  /** The program and its first arguments. */
  readonly command: readonly string[];
}

const request: PackageRequest = {
  title: 'virtiofsd',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['virtiofsd'],
  provided: [],
};

/**
 * Debian's virtiofsd in the cache, fetched where it is missing (4 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findVirtiofsd(onProgress?: OnProgress, signal?: AbortSignal): Promise<Virtiofsd> {
  return probe(await debianTree('virtiofsd-trixie-1', request, probe, { onProgress, signal }), signal);
}

/** @throws QemuUnavailableError BAD_PACKAGE where what lies in the tree does not run. */
async function probe(root: string, signal?: AbortSignal): Promise<Virtiofsd> {
  const command = programInTree(root, 'usr/libexec/virtiofsd');
  const [file, ...prefix] = command;
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout } = await execa(file, [...prefix, '--version'], run);
  signal?.throwIfAborted();
  const version = /^virtiofsd (\S+)/.exec(stdout ?? '')?.[1];
  if (version === undefined) throw badPackage(request.title, root);
  return { version, command };
}
