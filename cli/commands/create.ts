import { Args, Flags } from '@oclif/core';
import { resolve } from 'node:path';
import { MAX_SLOTS, type Chassis, type DrivenVmm } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Create extends BaseCommand {
  static override summary = 'Create a chassis: the hot-plug slots of one VM.';
  static override examples = [
    '<%= config.bin %> create dev',
    '<%= config.bin %> create dev --slots 16',
    '<%= config.bin %> create dev --mounts 100',
    '<%= config.bin %> create dev --vmm cloud-hypervisor --api-socket /run/user/1000/ch.sock',
    '<%= config.bin %> create dev --json',
  ];
  static override args = {
    name: Args.string({ description: 'Lower-case letters, digits and dashes, 32 at most', required: true }),
  };
  static override flags = {
    slots: Flags.integer({
      description: 'Hot-plug slots, 8 functions each; fixed once a VM runs [default: 8]',
      min: 1,
      max: MAX_SLOTS,
    }),
    mounts: Flags.integer({
      description: 'As many slots as this number of mounts takes, 8 to a slot; see: chassis plan',
      min: 1,
    }),
    vmm: Flags.option({
      options: ['qemu', 'cloud-hypervisor'] as const satisfies DrivenVmm[],
      description: 'The VMM of the VM that gets it [default: qemu]',
    })(),
    'api-socket': Flags.string({
      description:
        "Where Cloud Hypervisor serves its API [default: a socket in the chassis's folder; see: chassis args]",
    }),
  };

  async run(): Promise<Chassis> {
    const { args, flags } = await this.parse(Create);
    const { slots, mounts, vmm, 'api-socket': socket } = flags;
    const apiSocket = socket === undefined ? undefined : resolve(socket);
    const chassis = await (await this.client()).create(args.name, { slots, mounts, vmm, apiSocket });
    const boot = chassis.apiSocket === undefined ? 'chassis run --help' : 'chassis args --help';
    this.log(`chassis ${chassis.name}: ${chassis.slots} slots\n  boot a VM on it: ${boot}`);
    return chassis;
  }
}
