import { execa } from 'execa';
import { programInTree, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { OnProgress } from './progress.js';

/** Programs of Debian's that serve, make, check and exercise disks, by where they are in the tree. */
const PROGRAMS = {
  fio: 'usr/bin/fio',
  nbdkit: 'usr/bin/nbdkit',
  'qemu-img': 'usr/bin/qemu-img',
  'qemu-nbd': 'usr/bin/qemu-nbd',
  mke2fs: 'usr/sbin/mke2fs',
  e2fsck: 'usr/sbin/e2fsck',
  debugfs: 'usr/sbin/debugfs',
  blkdiscard: 'usr/sbin/blkdiscard',
  blkid: 'usr/sbin/blkid',
  fallocate: 'usr/bin/fallocate',
} as const;
export type DiskProgram = keyof typeof PROGRAMS;

export interface DiskTools {
  /** The tree, which a guest can have as well: its programs need nothing outside. */
  readonly root: string;
  /** A program's command line, here or where `root` says that the tree is. */
  command(program: DiskProgram, root?: string): string[];
}

const request: PackageRequest = {
  title: 'disk tools',
  suites: ['trixie', 'trixie-backports'],
  prefer: 'trixie',
  packages: ['fio', 'nbdkit', 'qemu-utils', 'e2fsprogs', 'util-linux'],
  // Of them only maintainer scripts, and plugins that nobody loads here, have a use.
  provided: [
    ...['python3', 'init-system-helpers', 'adduser', 'passwd', 'base-passwd', 'dpkg', 'tzdata', 'debconf'],
    ...['libtorrent-rasterbar2.0t64', 'libblkio1', 'libcurl3t64-gnutls', 'libssh-4', 'logsave'],
    ...['login', 'login.defs', 'libpam0g', 'libpam-modules', 'util-linux-extra'],
  ],
};

/**
 * Debian's fio, nbdkit, qemu-nbd, e2fsprogs and util-linux in the cache, fetched where they are missing (40 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function findDiskTools(onProgress?: OnProgress, signal?: AbortSignal): Promise<DiskTools> {
  const root = await debianTree('disk-tools-trixie-1', request, probe, { onProgress, signal });
  return { root, command: (program, at = root) => commandIn(at, program) };
}

function commandIn(root: string, program: DiskProgram): string[] {
  // For librados, which fio is linked with.
  return programInTree(root, PROGRAMS[program], ['ceph']);
}

/** Which do not know `--version`. */
const OF_E2FSPROGS: ReadonlySet<DiskProgram> = new Set(['mke2fs', 'e2fsck', 'debugfs']);

/** @throws QemuUnavailableError BAD_PACKAGE where one of what lies in the tree does not run. */
async function probe(root: string, signal?: AbortSignal): Promise<void> {
  for (const name of Object.keys(PROGRAMS) as DiskProgram[]) {
    const [file, ...prefix] = commandIn(root, name);
    const version = OF_E2FSPROGS.has(name) ? '-V' : '--version';
    const run = { reject: false, stdin: 'ignore', cancelSignal: signal } as const;
    const { exitCode } = await execa(file, [...prefix, version], run);
    signal?.throwIfAborted();
    if (exitCode !== 0) throw badPackage(`${request.title} (${name})`, root);
  }
}
