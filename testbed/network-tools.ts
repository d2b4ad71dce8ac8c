import { basename, dirname, join } from 'node:path';
import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { ExtraFile } from './initramfs.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'network tools',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['iperf3', 'ethtool'],
  // One asks whether to start a service, which is not done here; the other has ciphers of the past.
  provided: ['debconf', 'openssl-provider-legacy'],
};

const PROGRAMS = { iperf3: 'usr/bin/iperf3', ethtool: 'usr/sbin/ethtool' } as const;
/** Where their libraries are in the guest, which has no C library of its own. */
const FOLDER = '/opt/network-tools';

/**
 * Debian's iperf3 and ethtool as files for a guest, where both are on the PATH. Fetched where they are missing (9 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findNetworkTools(onProgress?: OnProgress, signal?: AbortSignal): Promise<ExtraFile[]> {
  const root = await debianTree('network-tools-trixie-1', request, probe, { onProgress, signal });
  const hostPaths = new Set<string>();
  const wrappers: ExtraFile[] = [];
  for (const [name, path] of Object.entries(PROGRAMS)) {
    const [loader, ...prefix] = programInTree(root, path);
    const { stdout } = await execa(loader, ['--list', ...prefix]);
    const libraries = [...stdout.matchAll(/=> (\/\S+)/g)].map(([, library]) => library);
    // The last is loaded by name, when a thread is to end.
    const unwinder = join(dirname(loader), 'libgcc_s.so.1');
    for (const file of [loader, join(root, path), ...libraries, unwinder]) hostPaths.add(file);
    const words = `${FOLDER}/${basename(loader)} --library-path ${FOLDER} ${FOLDER}/${name}`;
    wrappers.push({ path: `/bin/${name}`, bytes: `#!/bin/sh\nexec ${words} "$@"\n` });
  }
  const files = Array.from(hostPaths, (hostPath) => ({
    path: `${FOLDER}/${basename(hostPath)}`,
    hostPath,
  }));
  return [...files, ...wrappers];
}

/** @throws QemuUnavailableError BAD_PACKAGE */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  for (const path of Object.values(PROGRAMS)) {
    const [file, ...prefix] = programInTree(root, path);
    const { exitCode } = await execa(file, [...prefix, '--version'], run);
    signal?.throwIfAborted();
    if (exitCode !== 0) throw badPackage(request.title, root);
  }
}
