import { execa } from 'execa';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, programInTree, removeDocumentation, unpack, type PackageRequest } from './debian.js';
import { QemuUnavailableError } from './errors.js';
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
 * @throws QemuUnavailableError, see `fetchPackages`; UNSUPPORTED_HOST on other machines than x86-64 Linux.
 */
export async function findVirtiofsd(onProgress?: OnProgress, signal?: AbortSignal): Promise<Virtiofsd> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new QemuUnavailableError('UNSUPPORTED_HOST', 'virtiofsd can only be fetched for x86-64 Linux');
  const cache = Cache.ofUser();
  const activity = { onProgress, signal };
  const root = await cache.entry('virtiofsd-trixie-1', activity, async (directory) => {
    const archives = join(directory, 'archives');
    await unpack(request.title, await fetchPackages(cache, request, archives, activity), directory, activity);
    await rm(archives, { recursive: true });
    await removeDocumentation(directory);
    await probe(directory, signal);
  });
  return probe(root, signal);
}

/** @throws QemuUnavailableError BAD_PACKAGE where what lies in the tree does not run. */
async function probe(root: string, signal?: AbortSignal): Promise<Virtiofsd> {
  const command = programInTree(root, 'usr/libexec/virtiofsd');
  const [file, ...prefix] = command;
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout } = await execa(file, [...prefix, '--version'], run);
  signal?.throwIfAborted();
  const version = /^virtiofsd (\S+)/.exec(stdout ?? '')?.[1];
  if (version === undefined)
    throw new QemuUnavailableError('BAD_PACKAGE', `the virtiofsd in ${root} does not run`, `rm -r ${root}`);
  return { version, command };
}
