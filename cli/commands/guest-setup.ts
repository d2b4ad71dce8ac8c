import { Flags } from '@oclif/core';
import type { GuestSetup as Setup } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class GuestSetup extends BaseCommand {
  static override summary =
    'Print what a guest needs to mount the tree, and its mounts at their targets, by itself.';
  static override description =
    'helper: commands to run as root in the guest, once a mount of the tree is attached. systemd: a unit that does the same. ' +
    'udev: a rule that starts the unit whenever the tree is plugged in, at boot or later.';
  static override examples = [
    '<%= config.bin %> guest-setup',
    '<%= config.bin %> guest-setup --format systemd > chassis-tree@.service',
    '<%= config.bin %> guest-setup --format systemd --exec > chassis-tree@.service',
    "<%= config.bin %> guest-setup --format udev --json | jq -r '.path'",
  ];
  static override flags = {
    format: Flags.option({
      description: 'In which form',
      options: ['helper', 'systemd', 'udev'] as const,
      default: 'helper',
    })(),
    exec: Flags.boolean({
      description: 'Let the host run commands in the guest, as root: chassis exec, cp, and provisioning',
    }),
  };

  async run(): Promise<Setup> {
    const { flags } = await this.parse(GuestSetup);
    const setup = await (await this.client()).guestSetup(flags.format, { exec: flags.exec });
    this.log(setup.text.trimEnd());
    return setup;
  }
}
