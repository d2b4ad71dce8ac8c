/** The kernel's limits, and what Node and native calls can do. */
import { accessSync, constants, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { failed, ok, warning, type Check } from './check.js';
import { installation } from './packages.js';

const HOST_CHECK = fileURLToPath(new URL('../../manager/host-check.js', import.meta.url));
/** A device process has a few descriptors for each function, and one for each file that a guest has open. */
const FILES_WANTED = 4096;
/** A watched directory takes one. */
const WATCHES_WANTED = 65_536;
const INSTANCES_WANTED = 128;

/** `range` is as in package.json's `engines`: `>=20.19`. */
export function checkNode(range: string, version = process.versions.node): Check {
  const wanted = range.replace(/^>=/, '').split('.').map(Number);
  const there = version.split('.').map(Number);
  const at = wanted.findIndex((part, i) => part !== there[i]);
  if (at < 0 || there[at] > wanted[at]) return ok('node', version);
  return failed('node', `${version} is too old: ${range} is needed`, installation('node'));
}

/** Tries them in a process of its own, which may come to grief. */
export async function checkNative(): Promise<Check[]> {
  const { stdout, stderr, failed: isBroken } = await execa(process.execPath, [HOST_CHECK], { reject: false });
  if (isBroken) {
    const reason =
      /^\w*Error.*$/m.exec(stderr)?.[0] ?? (stderr.trim().split('\n').at(-1) || 'it ended at once');
    return [
      failed(
        'native calls',
        `koffi cannot be loaded: ${reason}`,
        'install the package anew on this machine: npm install --global chassis (Linux on x86-64 or arm64)',
      ),
    ];
  }
  const problems = Object.entries(JSON.parse(stdout) as Record<string, string | null>).filter(
    ([, problem]) => problem !== null,
  );
  if (problems.length === 0) return [ok('native calls', 'koffi, memfd_create, eventfd, epoll, openat2')];
  return problems.map(([call, problem]) => failed(call, String(problem), CURES[call] ?? CURES.memfd_create));
}

const CURES: Readonly<Record<string, string>> = {
  openat2: 'use Linux 5.6 or later; in a container, let its seccomp filter pass openat2',
  memfd_create: 'see `ulimit -a`, and in a container its seccomp filter',
};

export function checkLimits(): Check[] {
  return [
    checkNumber(
      'open files',
      openFilesLimit(),
      FILES_WANTED,
      'raise the hard limit: LimitNOFILE= of its service, or /etc/security/limits.conf',
    ),
    ...(['max_user_watches', 'max_user_instances'] as const).map((name) =>
      checkNumber(
        name === 'max_user_watches' ? 'inotify watches' : 'inotify instances',
        readNumber(`/proc/sys/fs/inotify/${name}`),
        name === 'max_user_watches' ? WATCHES_WANTED : INSTANCES_WANTED,
        `for attach --watch and apply --watch: sysctl fs.inotify.${name}=${name === 'max_user_watches' ? WATCHES_WANTED : INSTANCES_WANTED}`,
      ),
    ),
    checkNamespaces(),
  ];
}

function checkNumber(name: string, found: number | undefined, wanted: number, cure: string): Check {
  if (found === undefined) return warning(name, 'not known', `see whether there are ${wanted}`);
  return found >= wanted ? ok(name, String(found)) : warning(name, `${found}: ${wanted} are better`, cure);
}

function checkNamespaces(): Check {
  const name = 'user namespaces';
  if (process.getuid?.() === 0) return ok(name, 'needless for root');
  if (readNumber('/proc/sys/user/max_user_namespaces') === 0)
    return warning(name, 'none are allowed', 'sysctl user.max_user_namespaces=15000');
  if (readNumber('/proc/sys/kernel/unprivileged_userns_clone') === 0)
    return warning(name, 'not for users', 'sysctl kernel.unprivileged_userns_clone=1');
  if (readNumber('/proc/sys/kernel/apparmor_restrict_unprivileged_userns') === 1) {
    return warning(
      name,
      'AppArmor restricts them',
      'allow the program by a profile, or: sysctl kernel.apparmor_restrict_unprivileged_userns=0',
    );
  }
  return ok(name, 'allowed');
}

/** The hard limit: Node raises the soft one to it by itself. */
function openFilesLimit(): number | undefined {
  const hard = /^Max open files +\S+ +(\S+)/m.exec(read('/proc/self/limits') ?? '')?.[1];
  return hard === 'unlimited' ? Infinity : hard === undefined ? undefined : Number(hard);
}

function readNumber(path: string): number | undefined {
  const text = read(path);
  return text === undefined ? undefined : Number(text);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

export function checkKvm(): Check {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
    return ok('kvm', '/dev/kvm');
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code !== 'ENOENT';
    return warning(
      'kvm',
      isThere ? '/dev/kvm is not yours to use' : 'there is no /dev/kvm',
      isThere
        ? 'join its group: usermod -aG kvm $USER, and log in anew; guests are emulated, and slow, without'
        : 'enable virtualisation in the firmware, or nested on the host of this VM; guests are emulated, and slow, without',
    );
  }
}
