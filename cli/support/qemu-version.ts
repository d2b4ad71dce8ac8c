import { execa } from 'execa';
import { ChassisError } from '../../manager/control/api.js';

/** The first QEMU with a vfio-user client. */
const MINIMUM = [10, 1] as const;
const WAY_OUT =
  'install QEMU 10.1 or later (Debian 13: qemu-system-x86 from backports) or name one with --qemu or $CHASSIS_QEMU';

/** Throws where `command` is not a QEMU that is new enough. */
export async function requireQemu(command: string): Promise<void> {
  const { stdout, failed } = await execa(command, ['--version'], { reject: false });
  const version = /version (\d+)\.(\d+)/.exec(stdout ?? '');
  if (failed || version === null) {
    throw new ChassisError('VMM_UNSUITABLE', `${command} is not a QEMU that runs here`, WAY_OUT);
  }
  const [major, minor] = [Number(version[1]), Number(version[2])];
  if (major < MINIMUM[0] || (major === MINIMUM[0] && minor < MINIMUM[1])) {
    throw new ChassisError(
      'VMM_UNSUITABLE',
      `${command} is QEMU ${major}.${minor}: too old for vfio-user`,
      WAY_OUT,
    );
  }
}
