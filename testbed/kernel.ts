import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { Cache } from './cache.js';
import { fetchPackages, unpack, type PackageRequest, type Suite } from './debian.js';
import { decompress } from './decompress.js';
import { QemuUnavailableError } from './errors.js';
import { kernelPayload } from './kernel-image.js';
import { loadOrder, moduleName, readModuleInfo, type ModuleInfo } from './kernel-modules.js';
import type { Activity, OnProgress } from './progress.js';

/** Which Linux the guest runs: the stock kernels of Debian 12 and 13. */
export type KernelVersion = '6.1' | '6.12';
export const kernelVersions = ['6.1', '6.12'] as const satisfies readonly KernelVersion[];

/** A kernel in the cache. */
export interface Kernel {
  readonly version: KernelVersion;
  /** What `uname -r` says. */
  readonly release: string;
  /** For QEMU's `-kernel`. */
  readonly imagePath: string;
  /** As distributed: what boot loaders take. */
  readonly bzImagePath: string;
  /** Folder of uncompressed modules, `<name>.ko`, with all that they depend on. */
  readonly modulesDirectory: string;
}

/** Loaded at boot: without udev nobody would load a driver when its device is plugged in later. */
export const driverModules = [
  ...['virtio_pci', 'virtio_console'],
  ...['9pnet_virtio', '9p', 'virtio_blk', 'virtio_net', 'virtio_rng', 'virtiofs'],
] as const;

/** Loaded by the kernel when asked for. */
const onDemandModules = [
  ...['ext4', 'vfat', 'nls_cp437', 'nls_ascii', 'crc32c_generic'],
  ...['af_packet', '9pnet_fd'],
] as const;

const bzImageName = 'bzImage';

const suites: Record<KernelVersion, readonly [Suite, ...Suite[]]> = {
  '6.1': ['bookworm'],
  // With the suite that QEMU comes from, so that they share one set of package lists.
  '6.12': ['trixie', 'trixie-backports'],
};

/** A stock Debian kernel in the cache, fetched where it is missing (70 MB for 6.1, 110 MB for 6.12). */
export async function findKernel(
  version: KernelVersion,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<Kernel> {
  const cache = Cache.ofUser();
  const activity = { onProgress, signal };
  const root = await cache.entry(`linux-${version}-${modulesDigest()}`, activity, (directory) =>
    build(cache, version, directory, activity),
  );
  return {
    version,
    release: await readFile(join(root, 'release'), 'utf8'),
    imagePath: join(root, 'image'),
    bzImagePath: join(root, bzImageName),
    modulesDirectory: join(root, 'modules'),
  };
}

/** So that whoever adds a module gets a kernel with it. */
function modulesDigest(): string {
  const names = [...driverModules, ...onDemandModules, bzImageName].join();
  return createHash('sha256').update(names).digest('hex').slice(0, 8);
}

async function build(
  cache: Cache,
  version: KernelVersion,
  directory: string,
  activity: Activity,
): Promise<void> {
  const request: PackageRequest = {
    title: `Linux ${version}`,
    suites: suites[version],
    prefer: suites[version][0],
    packages: ['linux-image-amd64'],
    provided: ['initramfs-tools', 'kmod', 'linux-base'],
  };
  const archives = join(directory, 'archives');
  const tree = join(directory, 'tree');
  await unpack(request.title, await fetchPackages(cache, request, archives, activity), tree, activity);
  activity.onProgress?.({ step: `${request.title}: extracting the kernel and its modules` });
  await extractImage(tree, directory, activity.signal);
  await extractModules(tree, join(directory, 'modules'), activity.signal);
  await Promise.all([archives, tree].map((path) => rm(path, { recursive: true })));
}

/**
 * Under emulation a guest takes seconds to decompress its own kernel. The ELF kernel inside boots at once, by the PVH entry
 * that Debian's kernels have.
 */
async function extractImage(tree: string, directory: string, signal?: AbortSignal): Promise<void> {
  const path = await findFile(join(tree, 'boot'), /^vmlinuz-/);
  const bzImage = await readFile(path);
  const payload = kernelPayload(bzImage);
  const image = payload === undefined ? bzImage : await decompress(payload.data, payload.format, signal);
  await writeFile(join(directory, 'image'), image);
  await writeFile(join(directory, bzImageName), bzImage);
  await writeFile(join(directory, 'release'), basename(path).replace('vmlinuz-', ''));
}

async function extractModules(tree: string, directory: string, signal?: AbortSignal): Promise<void> {
  const { paths, builtIn } = await listModules(tree);
  const wanted = [...driverModules, ...onDemandModules].filter((name) => !builtIn.has(name));
  const contents = new Map<string, Uint8Array>();
  const infos = new Map<string, ModuleInfo>();
  const find = (name: string) => infos.get(moduleName(name));
  // A module's needs are known once it is decompressed, and there are thousands: read only what is reached.
  const pending: string[] = [...wanted];
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const path = paths.get(name);
    if (path === undefined || infos.has(name)) continue;
    const file = await readFile(path);
    const content = path.endsWith('.xz') ? await decompress(file, 'xz', signal) : file;
    contents.set(name, content);
    const info = readModuleInfo(name, content);
    infos.set(name, info);
    pending.push(...info.depends);
  }
  await mkdir(directory);
  for (const { name } of loadOrder(wanted, find))
    await writeFile(join(directory, `${name}.ko`), contents.get(name)!);
}

/** The modules of the tree, by name. Debian 12 has them in /lib, Debian 13 in /usr/lib. */
async function listModules(tree: string): Promise<{ paths: Map<string, string>; builtIn: Set<string> }> {
  const paths = new Map<string, string>();
  const builtIn = new Set<string>();
  for (const top of ['lib/modules', 'usr/lib/modules'].map((path) => join(tree, path))) {
    for (const entry of await readdir(top, { recursive: true }).catch(() => [])) {
      if (/\.ko(\.xz)?$/.test(entry)) paths.set(moduleName(basename(entry)), join(top, entry));
      if (basename(entry) !== 'modules.builtin') continue;
      const lines = (await readFile(join(top, entry), 'utf8')).split('\n');
      for (const line of lines) builtIn.add(moduleName(basename(line)));
    }
  }
  return { paths, builtIn };
}

async function findFile(directory: string, pattern: RegExp): Promise<string> {
  const name = (await readdir(directory)).find((candidate) => pattern.test(candidate));
  if (name === undefined)
    throw new QemuUnavailableError('BAD_PACKAGE', `no file like ${pattern.source} in ${directory}`);
  return join(directory, name);
}
