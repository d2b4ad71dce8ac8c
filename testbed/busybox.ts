import { execa } from 'execa';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, unpack, type PackageRequest } from './debian.js';
import type { OnProgress } from './progress.js';

/** The guest's whole user space: one static program. */
export interface Busybox {
  /** The program on the host. */
  readonly path: string;
  /** The names under which it is called. */
  readonly applets: readonly string[];
}

const request: PackageRequest = {
  title: 'busybox',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['busybox-static'],
  provided: [],
};

/** Debian's static busybox in the cache, fetched where it is missing (1 MB). */
export async function findBusybox(onProgress?: OnProgress, signal?: AbortSignal): Promise<Busybox> {
  const cache = Cache.ofUser();
  const activity = { onProgress, signal };
  const root = await cache.entry('busybox-trixie-1', activity, async (directory) => {
    const archives = join(directory, 'archives');
    const tree = join(directory, 'tree');
    await unpack(request.title, await fetchPackages(cache, request, archives, activity), tree, activity);
    const program = join(directory, 'busybox');
    await copyFile(join(tree, 'usr/bin/busybox'), program);
    await Promise.all([archives, tree].map((path) => rm(path, { recursive: true })));
    const { stdout } = await execa(program, ['--list'], { cancelSignal: signal });
    await writeFile(join(directory, 'applets'), stdout);
  });
  const applets = (await readFile(join(root, 'applets'), 'utf8')).split('\n').filter((name) => name !== '');
  return { path: join(root, 'busybox'), applets };
}
