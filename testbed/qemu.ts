import { execa } from 'execa';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Cache } from './cache.js';
import {
  fetchPackages,
  libraryFolder,
  mergeLibraries,
  programInTree,
  removeDocumentation,
  unpack,
  type PackageRequest,
} from './debian.js';
import { QemuUnavailableError } from './errors.js';
import type { OnProgress } from './progress.js';

/** A QEMU for x86-64 guests that can be started. */
export interface QemuBinary {
  /** Major, minor, micro. */
  readonly version: readonly [number, number, number];
  /** The program and its first arguments; append the machine's. */
  readonly command: readonly string[];
  readonly source: 'path' | 'debian';
}

const program = 'qemu-system-x86_64';

/** What a QEMU has to be. */
interface Needs {
  readonly version: readonly [number, number, number];
  readonly device: string;
}
/** The first release with vfio-user's client. */
const current: Needs = { version: [10, 1, 0], device: 'vfio-user-pci' };
/** Debian 12's own. */
const bookworm: Needs = { version: [7, 2, 0], device: 'vhost-user-blk-pci' };

/** What only maintainer scripts use. */
const provided = ['adduser', 'passwd', 'debconf', 'base-passwd'];

const bookwormRequest: PackageRequest = {
  title: "Debian 12's QEMU",
  suites: ['bookworm'],
  prefer: 'bookworm',
  packages: ['qemu-system-x86'],
  provided,
};

const request: PackageRequest = {
  title: 'QEMU',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie-backports',
  packages: ['qemu-system-x86'],
  provided,
};

/**
 * A QEMU that speaks vfio-user: the one on the PATH if it is new enough, else Debian's from trixie-backports, unpacked in the
 * cache (35 MB to download, once).
 * @throws QemuUnavailableError, see `fetchPackages`; UNSUPPORTED_HOST where neither can be had.
 */
export async function findQemu(onProgress?: OnProgress, signal?: AbortSignal): Promise<QemuBinary> {
  const installed = await systemQemu(signal);
  if (installed !== undefined) return installed;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    const ways = 'Install QEMU 10.1 or newer with vfio-user-pci.';
    throw new QemuUnavailableError(
      'UNSUPPORTED_HOST',
      "Debian's QEMU can only be fetched for x86-64 Linux",
      ways,
    );
  }
  return debianQemu(Cache.ofUser(), onProgress, signal);
}

/** The QEMU on the PATH, or undefined where there is none, or one without `vfio-user-pci`. */
export async function systemQemu(signal?: AbortSignal): Promise<QemuBinary | undefined> {
  return probe([program], 'path', current, signal);
}

/** Debian's QEMU in the cache, fetched where it is missing. */
export async function debianQemu(
  cache: Cache,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<QemuBinary> {
  return inCache(cache, 'qemu-trixie-backports-1', request, current, { onProgress, signal });
}

/**
 * Debian 12's own QEMU, fetched where it is missing (30 MB to download, once): the oldest that disks and network cards are served to.
 * @throws QemuUnavailableError, see `debianTree`
 */
export function bookwormQemu(onProgress?: OnProgress, signal?: AbortSignal): Promise<QemuBinary> {
  return inCache(Cache.ofUser(), 'qemu-bookworm-1', bookwormRequest, bookworm, { onProgress, signal });
}

async function inCache(
  cache: Cache,
  name: string,
  packages: PackageRequest,
  needs: Needs,
  activity: { onProgress?: OnProgress | undefined; signal?: AbortSignal | undefined },
): Promise<QemuBinary> {
  const root = await cache.entry(name, activity, async (directory) => {
    const archives = join(directory, 'archives');
    const debs = await fetchPackages(cache, packages, archives, activity);
    await unpack(packages.title, debs, directory, activity);
    await rm(archives, { recursive: true });
    await mergeLibraries(directory, activity);
    await removeDocumentation(directory);
    await requireWorking(directory, needs, activity.signal);
  });
  return requireWorking(root, needs, activity.signal);
}

async function requireWorking(root: string, needs: Needs, signal?: AbortSignal): Promise<QemuBinary> {
  const binary = await probe(treeCommand(root), 'debian', needs, signal);
  if (binary !== undefined) return binary;
  throw new QemuUnavailableError(
    'QEMU_UNUSABLE',
    `the QEMU in ${root} does not run, or lacks ${needs.device}`,
    `rm -r ${root}`,
  );
}

/** Debian's build does not look for firmware and modules beside itself, so it is told where they are. */
function treeCommand(root: string): string[] {
  return [
    ...['env', `QEMU_MODULE_DIR=${join(root, libraryFolder, 'qemu')}`],
    ...programInTree(root, `usr/bin/${program}`),
    ...['qemu', 'seabios'].flatMap((name) => ['-L', join(root, 'usr/share', name)]),
  ];
}

async function probe(
  command: readonly string[],
  source: QemuBinary['source'],
  needs: Needs,
  signal?: AbortSignal,
): Promise<QemuBinary | undefined> {
  const version = parseVersion(await output(command, ['--version'], signal));
  if (version === undefined || !isAtLeast(version, needs.version)) return undefined;
  const devices = await output(command, ['-device', 'help'], signal);
  return devices.includes(`"${needs.device}"`) ? { version, command, source } : undefined;
}

/** What the program prints, or nothing where it does not run. */
async function output(command: readonly string[], args: string[], signal?: AbortSignal): Promise<string> {
  const [file, ...prefix] = command;
  const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
  const { stdout } = await execa(file, [...prefix, ...args], run);
  signal?.throwIfAborted();
  return stdout ?? '';
}

/** Reads `QEMU emulator version 11.1.3 (Debian …)`. */
export function parseVersion(text: string): [number, number, number] | undefined {
  const match = /^QEMU emulator version (\d+)\.(\d+)\.(\d+)/m.exec(text);
  return match ? [Number(match[1]), Number(match[2]), Number(match[3])] : undefined;
}

/** Compares versions number by number. */
export function isAtLeast(version: readonly number[], minimum: readonly number[]): boolean {
  const differing = minimum.findIndex((part, index) => version[index] !== part);
  return differing === -1 || version[differing] > minimum[differing];
}
