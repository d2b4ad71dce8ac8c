/** What a guest is to be given, so that it mounts the tree, and what is wanted elsewhere, by itself. */
import {
  SYSTEMD_UNIT_NAME,
  systemdUnit,
  UDEV_RULE_NAME,
  udevRule,
} from '../devices/9p/fs/mount-tree/guest-setup.js';
import type { GuestSetup, GuestSetupQuery } from './control/api.js';
import { TREE_MOUNT_COMMAND, TREE_MOUNT_POINT, TREE_TAG } from './mount-command.js';

export function guestSetup({ format, exec }: GuestSetupQuery): GuestSetup {
  switch (format) {
    case 'helper':
      return {
        text: `${TREE_MOUNT_COMMAND}\nsh ${TREE_MOUNT_POINT}/ctl/helper.sh${exec ? ' --exec' : ''} &\n`,
      };
    case 'systemd':
      return { text: systemdUnit({ exec }), path: `/etc/systemd/system/${SYSTEMD_UNIT_NAME}` };
    case 'udev':
      return { text: udevRule(TREE_TAG), path: `/etc/udev/rules.d/${UDEV_RULE_NAME}` };
  }
}
