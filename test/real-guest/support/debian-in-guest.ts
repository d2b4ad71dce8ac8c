/** Debian's programs in a guest that was booted with `guestPrograms`. */
import type { LinuxGuest, ShellOptions } from '../../../testbed/guest.js';
import { DEBIAN_ROOT } from '../../../testbed/guest-programs.js';

/** What the programs expect of a system. */
const PREPARE = `set -e
cd ${DEBIAN_ROOT}
mkdir -p bin dev proc sys tmp mnt
cp /bin/busybox bin/
/bin/busybox --install -s bin
mount --rbind /dev dev
mount -t proc proc proc
mount -t sysfs sys sys
mount -t tmpfs -o size=64M tmp tmp
cp /etc/passwd /etc/group etc/`;

/** Once a guest, before `inDebian`. */
export async function prepareDebian(guest: LinuxGuest): Promise<void> {
  await guest.ok(PREPARE);
}

/** Runs a script with Debian's programs, which has to succeed; answers what it printed. */
export async function inDebian(guest: LinuxGuest, script: string, options?: ShellOptions): Promise<string> {
  const shell = `PATH=/usr/bin:/bin chroot ${DEBIAN_ROOT} /bin/sh <<'END'\n${script}\nEND`;
  return (await guest.ok(shell, options)).stdout;
}
