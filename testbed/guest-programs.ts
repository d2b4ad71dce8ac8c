import { lstat, readdir, readlink } from 'node:fs/promises';
import { basename, join, relative } from 'node:path';
import { execa } from 'execa';
import { libraryFolder, type PackageRequest } from './debian.js';
import { badPackage, debianTree } from './debian-tree.js';
import type { ExtraFile } from './initramfs.js';
import type { OnProgress } from './progress.js';

/** Where `guestPrograms` puts Debian's file system in the guest: programs run there by chroot. */
export const DEBIAN_ROOT = '/debian';

const PYTHON = 'python3.11';

/** From Debian 12, whose stress-ng needs nothing of Mesa's drivers. */
const request: PackageRequest = {
  title: 'programs for the guest',
  suites: ['bookworm'],
  prefer: 'bookworm',
  packages: ['python3-minimal', 'libpython3-stdlib', 'sqlite3', 'git', 'stress-ng'],
  provided: [
    // What git talks to other machines with, and its scripts.
    ...['perl', 'liberror-perl', 'libcurl3-gnutls'],
    ...['dpkg', 'debconf', 'media-types', 'netbase', 'tzdata', 'readline-common', 'libegl-mesa0'],
  ],
};

/** What is taken along of the packages: no more than the programs need, since it all lies in the guest's memory. */
const WANTED = [
  ...['etc/python3.11', 'lib64', 'lib', libraryFolder, `usr/lib/${PYTHON}`, 'usr/share/git-core/templates'],
  ...[PYTHON, 'sqlite3', 'git', 'stress-ng'].map((name) => `usr/bin/${name}`),
];
const UNWANTED = /\/(gconv|test|pydoc_data|idlelib|lib2to3|ensurepip|perl-base)(\/|$)/;

/**
 * Debian's Python, SQLite, git and stress-ng as files of a guest, below DEBIAN_ROOT; fetched where they are missing (30 MB).
 * @throws QemuUnavailableError, see `debianTree`
 */
export async function guestPrograms(onProgress?: OnProgress, signal?: AbortSignal): Promise<ExtraFile[]> {
  const root = await debianTree('guest-programs-bookworm-1', request, prepare, { onProgress, signal });
  const found = await Promise.all(WANTED.map((path) => filesBelow(root, join(root, path))));
  return found.flat();
}

/** Compiles Python's library, which a guest would take seconds for. @throws QemuUnavailableError BAD_PACKAGE */
async function prepare(root: string, signal?: AbortSignal): Promise<void> {
  const library = join(root, `usr/lib/${PYTHON}`);
  // What was compiled is usually checked against its source's time, which the guest's archive of files does not keep.
  const compile = ['-m', 'compileall', '-q', '-s', root, '--invalidation-mode', 'unchecked-hash'];
  const [file, ...prefix] = pythonOnHost(root);
  const { exitCode } = await execa(file, [...prefix, ...compile, '-x', UNWANTED.source, library], {
    ...{ reject: false, stdin: 'ignore', cancelSignal: signal },
    env: { PYTHONHOME: join(root, 'usr') },
  });
  signal?.throwIfAborted();
  if (exitCode !== 0) throw badPackage(request.title, root);
}

/** As `programInTree` does it, for Debian 12, which has part of its libraries in /lib. */
function pythonOnHost(root: string): string[] {
  const folders = [join(root, 'lib', basename(libraryFolder)), join(root, libraryFolder)];
  const loader = join(folders[0], 'ld-linux-x86-64.so.2');
  return [loader, '--inhibit-cache', '--library-path', folders.join(':'), join(root, 'usr/bin', PYTHON)];
}

async function filesBelow(root: string, path: string): Promise<ExtraFile[]> {
  if (UNWANTED.test(path)) return [];
  const status = await lstat(path);
  const inGuest = join(DEBIAN_ROOT, relative(root, path));
  if (status.isSymbolicLink()) return [{ path: inGuest, target: await readlink(path) }];
  if (status.isFile()) return [{ path: inGuest, hostPath: path, mode: status.mode & 0o777 }];
  const names = status.isDirectory() ? await readdir(path) : [];
  const below = await Promise.all(names.map((name) => filesBelow(root, join(path, name))));
  return below.flat();
}
