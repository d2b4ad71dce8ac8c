import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, unpack, type PackageRequest } from './debian.js';
import { QemuUnavailableError } from './errors.js';
import type { OnProgress } from './progress.js';

const request: PackageRequest = {
  title: 'OVMF',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['ovmf'],
  provided: [],
};

const imageName = 'OVMF.fd';

/**
 * The path of an image of OVMF, the UEFI firmware for virtual machines, for QEMU's `-bios`: its variables are in the image, so that each start
 * begins afresh. Debian's, in the cache, fetched where it is missing (6 MB).
 * @throws QemuUnavailableError, see `fetchPackages`; BAD_PACKAGE where the image is not where it should be.
 */
export async function findOvmf(onProgress?: OnProgress, signal?: AbortSignal): Promise<string> {
  const cache = Cache.ofUser();
  const activity = { onProgress, signal };
  const root = await cache.entry('ovmf-trixie-1', activity, async (directory) => {
    const archives = join(directory, 'archives');
    const tree = join(directory, 'tree');
    await unpack(request.title, await fetchPackages(cache, request, archives, activity), tree, activity);
    await extractImage(tree, join(directory, imageName));
    await Promise.all([archives, tree].map((path) => rm(path, { recursive: true })));
  });
  return join(root, imageName);
}

async function extractImage(tree: string, path: string): Promise<void> {
  try {
    await copyFile(join(tree, 'usr/share/ovmf', imageName), path);
  } catch (error) {
    throw new QemuUnavailableError('BAD_PACKAGE', `no ${imageName} in the package ovmf: ${String(error)}`);
  }
}
