/** QEMU and passt. */
import { execa } from 'execa';
import { ChassisError } from '../../manager/control/api.js';
import { requireQemu } from '../support/qemu-version.js';
import { failed, ok, warning, type Check } from './check.js';
import { installation } from './packages.js';

/** What each of its devices is for. */
const USES = {
  'vfio-user-pci': 'any device over vfio-user',
  'vhost-user-test-device-pci': 'mounts over vhost-user',
  'vhost-user-blk-pci': 'disks',
  'virtio-net-pci': 'network cards',
} as const;

export async function checkQemu(command: string): Promise<Check> {
  try {
    const { version, devices } = await requireQemu(command);
    const lacking = Object.entries(USES).filter(([device]) => !devices.includes(device));
    if (lacking.length === 0) return ok('qemu', `${command} ${version}: ${Object.values(USES).join(', ')}`);
    const without = lacking.map(([device, use]) => `${device} (${use})`).join(', ');
    const cure = 'use a build for x86_64 or aarch64 with these devices';
    // One of the first two carries a mount.
    const canMount = devices.includes('vfio-user-pci') || devices.includes('vhost-user-test-device-pci');
    return (canMount ? warning : failed)('qemu', `${command} ${version} lacks ${without}`, cure);
  } catch (error) {
    if (!(error instanceof ChassisError)) throw error;
    return failed(
      'qemu',
      error.message,
      `${installation('qemu')} (10.1 or later: Debian 13 has it in trixie-backports), or name one: --qemu, $CHASSIS_QEMU`,
    );
  }
}

export async function checkPasst(): Promise<Check> {
  const { stdout, failed: isMissing } = await execa('passt', ['--version'], { reject: false });
  const version = /^passt (\S+)/m.exec(stdout ?? '')?.[1];
  if (!isMissing && version !== undefined) return ok('passt', version);
  return warning('passt', 'there is none, which `net add --passt` needs', installation('passt'));
}
