/**
 * Debian packages without root and without touching the system: apt's own tools, pointed at private folders.
 * The mirror, proxies and credentials are the system's; trust comes from the Debian archive keyring alone.
 */
import { execa, ExecaError } from 'execa';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Cache } from './cache.js';
import { aptFailure } from './apt-failure.js';
import { findMirror } from './debian-mirror.js';
import { QemuUnavailableError } from './errors.js';
import type { Activity } from './progress.js';

export type Suite = 'bookworm' | 'trixie' | 'trixie-backports';

export interface PackageRequest {
  /** Names the step in progress messages. */
  readonly title: string;
  /** Where packages may come from. */
  readonly suites: readonly Suite[];
  /** The one of `suites` to prefer. Left to itself, apt takes nothing from a backports suite. */
  readonly prefer: Suite;
  readonly packages: readonly string[];
  /**
   * Packages to take as installed, so that neither they nor what they need is fetched: those that only maintainer scripts
   * use, which never run here.
   */
  readonly provided: readonly string[];
}

const keyrings = ['debian-archive-keyring.gpg', 'debian-archive-keyring.pgp'].map((name) =>
  join('/usr/share/keyrings', name),
);

/** Hooks of the system's apt (desktop caches, `docker-clean`) act on the system's own folders: not on our account. */
const hooks = [
  'APT::Update::Pre-Invoke',
  'APT::Update::Post-Invoke',
  'APT::Update::Post-Invoke-Success',
  'DPkg',
];

/**
 * Downloads packages and everything that they depend on into `directory`, without installing anything.
 * @returns the paths of the .deb files.
 * @throws QemuUnavailableError NO_APT, NO_KEYRING, NO_MIRROR, NO_NETWORK, APT_FAILED.
 */
export async function fetchPackages(
  cache: Cache,
  request: PackageRequest,
  directory: string,
  activity: Activity,
): Promise<string[]> {
  const name = `apt-${request.suites.join('+')}`;
  await cache.locked(name, activity, async () => {
    const config = await writeConfiguration(join(cache.root, name), request, directory, activity);
    await apt(config, ['update'], `${request.title}: reading the package lists`, activity);
    const install = ['install', '--download-only', '--no-install-recommends', '--yes'];
    const wanted = ['--target-release', request.prefer, ...request.packages];
    await apt(config, [...install, ...wanted], `${request.title}: fetching`, activity);
  });
  const names = await readdir(directory);
  return names.filter((file) => file.endsWith('.deb')).map((file) => join(directory, file));
}

/** Unpacks packages into `root`, one after the other: they share folders. Maintainer scripts do not run. */
export async function unpack(
  title: string,
  debs: readonly string[],
  root: string,
  activity: Activity,
): Promise<void> {
  await mkdir(root, { recursive: true });
  for (const [index, deb] of debs.entries()) {
    activity.onProgress?.({
      step: `${title}: unpacking`,
      percent: (index / debs.length) * 100,
      detail: `package ${index + 1} of ${debs.length}`,
    });
    await execa('dpkg-deb', ['--extract', deb, root], { cancelSignal: activity.signal, stdin: 'ignore' });
  }
}

/** Writes apt's private folders and configuration. @returns the configuration file's path. */
async function writeConfiguration(
  root: string,
  request: PackageRequest,
  archives: string,
  { signal }: Activity,
): Promise<string> {
  const keyring = keyrings.find((path) => existsSync(path));
  if (keyring === undefined) {
    throw new QemuUnavailableError(
      'NO_KEYRING',
      'the Debian archive keyring is missing',
      'apt install debian-archive-keyring',
    );
  }
  const mirror = await findMirror(signal);
  const files = {
    config: join(root, 'apt.conf'),
    sources: join(root, 'sources.list'),
    status: join(root, 'status'),
  };
  await mkdir(join(root, 'lists', 'partial'), { recursive: true });
  await mkdir(join(archives, 'partial'), { recursive: true });
  const sources = request.suites.map((suite) => `deb [signed-by=${keyring}] ${mirror} ${suite} main\n`);
  await writeFile(files.sources, sources.join(''));
  await writeFile(files.status, request.provided.map(installedStub).join(''));
  await writeFile(files.config, configuration(root, archives, files));
  return files.config;
}

function configuration(root: string, archives: string, files: { sources: string; status: string }): string {
  const settings = {
    'Dir::State': root,
    'Dir::State::status': files.status,
    'Dir::Cache': root,
    'Dir::Cache::archives': `${archives}/`,
    'Dir::Log': root,
    'Dir::Etc::sourcelist': files.sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'APT::Architecture': 'amd64',
    // Without root apt never changes user; as root, its own user could not write to our folders.
    'APT::Sandbox::User': 'root',
    'APT::Update::Error-Mode': 'any',
    'Acquire::Languages': 'none',
    'Acquire::GzipIndexes': 'true',
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} ${JSON.stringify(value)};`);
  const cleared = [...hooks, 'APT::Architectures', 'APT::Default-Release'].map((name) => `#clear ${name};`);
  return [...cleared, ...lines, 'APT::Architectures { "amd64"; };', ''].join('\n');
}

/** dpkg's record of an installed package that satisfies any version anyone asks for. */
function installedStub(name: string): string {
  const fields = [
    'Status: install ok installed',
    'Architecture: all',
    'Multi-Arch: foreign',
    'Version: 9999:0',
  ];
  return [`Package: ${name}`, ...fields, 'Maintainer: nobody', 'Description: stands in', '', ''].join('\n');
}

/** Runs apt-get and reports what its status descriptor (`APT::Status-Fd`) says: `dlstatus:<item>:<percent>:<text>`. */
async function apt(
  config: string,
  args: string[],
  step: string,
  { onProgress, signal }: Activity,
): Promise<void> {
  onProgress?.({ step });
  try {
    const child = execa(
      'apt-get',
      ['--config-file', config, '--option', 'APT::Status-Fd=3', '--quiet', ...args],
      {
        cancelSignal: signal,
        stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
        env: { LC_ALL: 'C.UTF-8', DEBIAN_FRONTEND: 'noninteractive' },
      },
    );
    let last = '';
    for await (const line of child.iterable({ from: 'fd3' })) {
      const [kind, , percent, detail] = line.split(':');
      if (kind === 'dlstatus' && line !== last) onProgress?.({ step, percent: Number(percent), detail });
      last = line;
    }
    await child;
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof ExecaError ? aptFailure(error.code, String(error.stderr ?? ''), error) : error;
  }
}

/** Packages from before Debian 13 put some libraries below /lib, which is /usr/lib where they are installed. */
export async function mergeLibraries(root: string, { signal }: Activity): Promise<void> {
  if (!existsSync(join(root, 'lib'))) return;
  // Not joined: the dot has what is in the folder copied, rather than the folder.
  await execa('cp', ['-a', `${root}/lib/.`, join(root, 'usr/lib')], {
    cancelSignal: signal,
    stdin: 'ignore',
  });
  await rm(join(root, 'lib'), { recursive: true });
}

/** Removes what takes room and is of no use in a tree that only programs read. */
export async function removeDocumentation(root: string): Promise<void> {
  const folders = ['doc', 'man', 'locale', 'lintian', 'info'];
  await Promise.all(
    folders.map((name) => rm(join(root, 'usr/share', name), { recursive: true, force: true })),
  );
}

/** Where packages for x86-64 put their libraries, below the root. */
export const libraryFolder = 'usr/lib/x86_64-linux-gnu';

/**
 * The command line that runs a program of an unpacked tree with that tree's own loader and libraries: no chroot, and nothing of
 * the host's C library.
 * @param program its path below the root.
 * @param privateLibraries folders below that of the libraries, of packages that keep theirs to themselves.
 */
export function programInTree(
  root: string,
  program: string,
  privateLibraries: readonly string[] = [],
): string[] {
  const libraries = join(root, libraryFolder);
  const loader = join(libraries, 'ld-linux-x86-64.so.2');
  const path = [libraries, ...privateLibraries.map((name) => join(libraries, name))].join(':');
  return [loader, '--inhibit-cache', '--library-path', path, join(root, program)];
}
