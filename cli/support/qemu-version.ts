import { execa } from 'execa';
import { ChassisError, type QemuArgsRequest } from '../../manager/control/api.js';

type QemuFacts = NonNullable<QemuArgsRequest['qemu']>;

/** The oldest that is known to work: it takes disks and network cards. Mounts need 10.1. */
const MINIMUM = [7, 2] as const;
/** Those over which mounts, disks and network cards are served. */
const DEVICES = ['vfio-user-pci', 'vhost-user-test-device-pci', 'vhost-user-blk-pci', 'virtio-net-pci'];
const WAY_OUT =
  'install QEMU 10.1 or later (Debian 13: qemu-system-x86 from backports) or name one with --qemu or $CHASSIS_QEMU';

/** What the daemon wants to know of a QEMU. Throws where `command` is none, or not new enough. */
export async function requireQemu(command: string): Promise<QemuFacts> {
  const { stdout, failed } = await execa(command, ['--version'], { reject: false });
  const version = /version (\d+)\.(\d+)\.(\d+)/.exec(stdout ?? '');
  if (failed || version === null) {
    throw new ChassisError('VMM_UNSUITABLE', `${command} is not a QEMU that runs here`, WAY_OUT);
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
    throw new ChassisError(
      'VMM_UNSUITABLE',
      `${command} is QEMU ${major}.${minor}: disks and network cards need 7.2, and mounts 10.1`,
      WAY_OUT,
    );
  }
  return { version: version.slice(1, 4).join('.'), devices: await devicesOf(command) };
}

async function devicesOf(command: string): Promise<string[]> {
  const { stdout } = await execa(command, ['-device', 'help'], { reject: false });
  const names = [...(stdout ?? '').matchAll(/^name "([\w-]+)"/gm)].map(([, name]) => name);
  return names.filter((name) => DEVICES.includes(name));
}
