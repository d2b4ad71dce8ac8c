/** What a package is called, and how it is installed, on the systems that most people have. */
import { readFileSync } from 'node:fs';

const INSTALLERS = {
  debian: 'apt install',
  fedora: 'dnf install',
  arch: 'pacman -S',
} as const;
export type Distribution = keyof typeof INSTALLERS;

const PACKAGES = {
  qemu: { debian: 'qemu-system-x86', fedora: 'qemu-system-x86', arch: 'qemu-system-x86' },
  passt: { debian: 'passt', fedora: 'passt', arch: 'passt' },
  node: { debian: 'nodejs', fedora: 'nodejs', arch: 'nodejs-lts-jod' },
} as const satisfies Record<string, Record<Distribution, string>>;
export type Program = keyof typeof PACKAGES;

/** The system's family by os-release(5), undefined where it is another. */
export function distributionOf(osRelease: string): Distribution | undefined {
  const value = (key: string) => new RegExp(`^${key}="?([^"\n]*)"?$`, 'm').exec(osRelease)?.[1] ?? '';
  const names = [value('ID'), ...value('ID_LIKE').split(' ')];
  if (names.includes('rhel')) return 'fedora';
  return (Object.keys(INSTALLERS) as Distribution[]).find((family) => names.includes(family));
}

export function distribution(): Distribution | undefined {
  try {
    return distributionOf(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return undefined;
  }
}

/** The command that installs a program; on a system that is not known, those of all. */
export function installation(program: Program, family = distribution()): string {
  const command = (each: Distribution) => `${INSTALLERS[each]} ${PACKAGES[program][each]}`;
  if (family !== undefined) return `install it: ${command(family)}`;
  const all = (Object.keys(INSTALLERS) as Distribution[]).map((each) => `${command(each)} (${each})`);
  return `install it: ${all.join(', ')}`;
}
