/**
 * How a process of the daemon's is started with only what it needs: by bubblewrap (bwrap(1)), in namespaces of its own, with nothing to be seen
 * of the host but the program itself, /proc read-only, and the folders that it makes its sockets in.
 */
import { existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { CONFINED } from '../device-process/host-paths.js';

/** What bwrap is told through, besides the three that every process has. */
export const InfoFd = { info: 3, ready: 4, filter: 5 } as const;

/**
 * What is left of root's, where the daemon is root: to give files the owners that guests give them, and to read and write all that was
 * attached. They count for files alone: the user namespace has no device, no mount and no network of the host's.
 */
const CAPABILITIES = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_SETFCAP'] as const;

/** Namespaces of its own, besides those for users and mounts. Processes are the host's: a daemon knows its processes by their pids. */
const NAMESPACES = ['--unshare-ipc', '--unshare-uts', '--unshare-net', '--unshare-cgroup-try'] as const;

export interface Confined {
  readonly program: string;
  readonly args: readonly string[];
  /** Of its system calls: an array of struct sock_filter. */
  readonly filter: Uint8Array | undefined;
}

/** `line` as Node is to be run with it, to run `script`. `folders` can be written to. */
export function bubblewrapped(
  line: readonly string[],
  script: string,
  folders: readonly string[],
  filter?: Uint8Array,
): Confined {
  const args = [
    ...['--unshare-user', '--userns-block-fd', String(InfoFd.ready), '--info-fd', String(InfoFd.info)],
    ...NAMESPACES,
    ...['--cap-drop', 'ALL', ...capabilities().flatMap((capability) => ['--cap-add', capability])],
    ...['--ro-bind', '/proc', '/proc', '--dev-bind', '/dev/null', '/dev/null'],
    ...[...nodeFiles(), ...programFiles(script)].flatMap((path) => ['--ro-bind', path, path]),
    ...folders.flatMap((path) => ['--bind', path, path]),
    ...(filter ? ['--seccomp', String(InfoFd.filter)] : []),
    ...['--remount-ro', '/', '--chdir', '/', '--clearenv', '--setenv', CONFINED, '1'],
    ...['--', process.execPath, ...line],
  ];
  return { program: 'bwrap', args, filter };
}

/** Without root there are none to leave: in a namespace of its own, the user would have more than outside. */
function capabilities(): readonly string[] {
  return process.geteuid?.() === 0 ? CAPABILITIES : [];
}

let ofNode: readonly string[] | undefined;

/** Node, and the libraries that it is linked to, as they are loaded here. Looked up once: it takes tens of milliseconds. */
function nodeFiles(): readonly string[] {
  ofNode ??= findNodeFiles();
  return ofNode;
}

function findNodeFiles(): string[] {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  const libraries = sharedObjects.filter((path) => path.startsWith('/') && !isPackaged(path));
  return [...new Set([process.execPath, ...libraries])];
}

function isPackaged(path: string): boolean {
  return path.split(sep).includes('node_modules');
}

/** The folder of the package that a script is in, as far as it is run, and the packages that it finds. */
function programFiles(script: string): string[] {
  const folders = foldersAbove(script);
  const root = folders.find((folder) => existsSync(join(folder, 'package.json'))) ?? dirname(script);
  const packages = folders.map((folder) => join(folder, 'node_modules')).filter((path) => existsSync(path));
  const inside = script.slice(root.length + 1).split(sep)[0];
  const files = [join(root, 'package.json'), join(root, inside)].filter((path) => existsSync(path));
  // A package that lies in a node_modules folder is in that already.
  return [...files.filter((path) => !packages.some((folder) => path.startsWith(folder + sep))), ...packages];
}

function foldersAbove(path: string): string[] {
  const folders: string[] = [];
  for (let at = dirname(path); ; at = dirname(at)) {
    if (basename(at) !== 'node_modules') folders.push(at);
    if (at === dirname(at)) return folders;
  }
}

/**
 * A map of users or groups (user_namespaces(7)) by which each of ours is itself in the new namespace, so that files keep their owners.
 * `kind` is the map's name in /proc.
 */
export function identityMap(kind: 'uid_map' | 'gid_map'): string {
  const own = kind === 'uid_map' ? process.geteuid?.() : process.getegid?.();
  // Others take privileges to map.
  if (process.geteuid?.() !== 0) return `${own} ${own} 1\n`;
  const lines = readFileSync(`/proc/self/${kind}`, 'utf8').trim().split('\n');
  return lines
    .map((line) => line.trim().split(/\s+/))
    .map(([inside, , count]) => `${inside} ${inside} ${count}\n`)
    .join('');
}
