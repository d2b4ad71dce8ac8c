import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path/posix';
import type { Busybox } from './busybox.js';
import { writeCpio, type CpioEntry } from './cpio.js';
import { initScript } from './guest-init.js';
import { driverModules, type Kernel } from './kernel.js';
import { loadOrder, modprobeIndex, moduleName, readModuleInfo, type ModuleInfo } from './kernel-modules.js';

/** A file, or a symbolic link, to have in the guest. Missing parent folders are made. */
export type ExtraFile = {
  /** Absolute path in the guest. */
  readonly path: string;
  /** Permission bits; 0o755 where left out. */
  readonly mode?: number;
} & ({ readonly bytes: Uint8Array | string } | { readonly hostPath: string } | { readonly target: string });

/** Builds the guest's root file system: busybox, modules, the agent, extra files. Not compressed: it is never stored. */
export async function buildInitramfs(
  kernel: Kernel,
  busybox: Busybox,
  extraFiles: readonly ExtraFile[] = [],
): Promise<Buffer> {
  const files = [
    ...(await baseFiles(busybox)),
    ...(await moduleFiles(kernel)),
    ...(await readExtraFiles(extraFiles)),
  ];
  const links = busybox.applets
    .filter((applet) => applet !== 'busybox')
    .map((applet): CpioEntry => ({ kind: 'link', path: `bin/${applet}`, target: 'busybox' }));
  // The kernel itself calls /sbin/modprobe.
  const folderLinks = ['sbin', 'usr/bin', 'usr/sbin'].map((path): CpioEntry => ({
    kind: 'link',
    path,
    target: path.includes('/') ? '../bin' : 'bin',
  }));
  return writeCpio(withFolders([...files, ...links, ...folderLinks]));
}

async function baseFiles({ path }: Busybox): Promise<CpioEntry[]> {
  return [
    { kind: 'file', path: 'init', mode: 0o755, bytes: Buffer.from(initScript) },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, bytes: await readFile(path) },
    { kind: 'file', path: 'etc/passwd', mode: 0o644, bytes: Buffer.from('root:x:0:0:root:/root:/bin/sh\n') },
    { kind: 'file', path: 'etc/group', mode: 0o644, bytes: Buffer.from('root:x:0:\n') },
    ...['dev', 'proc', 'sys'].map((name): CpioEntry => ({ kind: 'folder', path: name, mode: 0o755 })),
  ];
}

async function moduleFiles({ release, modulesDirectory }: Kernel): Promise<CpioEntry[]> {
  const folder = `lib/modules/${release}`;
  const files: CpioEntry[] = [];
  const infos = new Map<string, ModuleInfo>();
  for (const fileName of await readdir(modulesDirectory)) {
    const bytes = await readFile(join(modulesDirectory, fileName));
    files.push({ kind: 'file', path: `${folder}/${fileName}`, mode: 0o644, bytes });
    infos.set(moduleName(fileName), readModuleInfo(moduleName(fileName), bytes));
  }
  const { dep, alias } = modprobeIndex([...infos.values()]);
  const drivers = driverModules.filter((name) => infos.has(name));
  const order = loadOrder(drivers, (name) => infos.get(name)).map(({ name }) => `/${folder}/${name}.ko\n`);
  const texts = {
    [`${folder}/modules.dep`]: dep,
    [`${folder}/modules.alias`]: alias,
    'etc/modules': order.join(''),
  };
  for (const [path, text] of Object.entries(texts))
    files.push({ kind: 'file', path, mode: 0o644, bytes: Buffer.from(text) });
  return files;
}

async function readExtraFiles(extraFiles: readonly ExtraFile[]): Promise<CpioEntry[]> {
  const read = async (file: ExtraFile): Promise<CpioEntry> => {
    const path = file.path.replace(/^\/+/, '');
    if ('target' in file) return { kind: 'link', path, target: file.target };
    const bytes = 'hostPath' in file ? await readFile(file.hostPath) : Buffer.from(file.bytes);
    return { kind: 'file', path, mode: file.mode ?? 0o755, bytes };
  };
  return Promise.all(extraFiles.map(read));
}

/** Puts before each entry the folders that it lies in, once. */
export function withFolders(entries: readonly CpioEntry[]): CpioEntry[] {
  const known = new Set(entries.filter(({ kind }) => kind !== 'file').map(({ path }) => path));
  known.add('.');
  const missing = (path: string): CpioEntry[] => {
    const parent = dirname(path);
    if (known.has(parent)) return [];
    known.add(parent);
    return [...missing(parent), { kind: 'folder', path: parent, mode: 0o755 }];
  };
  return entries.flatMap((entry) => [...missing(entry.path), entry]);
}
