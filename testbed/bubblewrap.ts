import { chmod, cp, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'bubblewrap',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['bubblewrap'],
  provided: [],
};

/**
 * A folder with a `bwrap` that any user can run, for the PATH: Debian's from the cache, fetched where it is missing (5 MB, with a C library);
 * undefined where the PATH has one. The caller removes it.
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findBubblewrap(
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const { failed } = await execa('bwrap', ['--version'], { reject: false });
  if (!failed) return undefined;
  const cached = await debianTree('bubblewrap-trixie-1', request, probe, { onProgress, signal });
  const folder = await mkdtemp(join(tmpdir(), 'chassis-bwrap-'));
  await chmod(folder, 0o755);
  const root = join(folder, 'tree');
  await cp(join(cached, 'usr'), join(root, 'usr'), { recursive: true, verbatimSymlinks: true });
  const words = programInTree(root, 'usr/bin/bwrap').map((word) => `'${word}'`);
  await writeFile(join(folder, 'bwrap'), `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`, { mode: 0o755 });
  return folder;
}

/** @throws QemuUnavailableError BAD_PACKAGE */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  const [file, ...prefix] = programInTree(root, 'usr/bin/bwrap');
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { exitCode } = await execa(file, [...prefix, '--version'], run);
  signal?.throwIfAborted();
  if (exitCode !== 0) throw badPackage(request.title, root);
}
