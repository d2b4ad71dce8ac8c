import { Args } from '@oclif/core';
import type { Chassis } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Restart extends BaseCommand {
  static override summary =
    'Start the device process of a chassis over, after it was lost or does not answer.';
  static override description =
    'All mounts are made anew. A QEMU that was connected over vfio-user cannot reconnect: its functions are dead, and ' +
    'come back once they are plugged in anew or the VM is started again.';
  static override examples = ['<%= config.bin %> restart', '<%= config.bin %> restart dev --json'];
  static override args = {
    name: Args.string({ description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<Chassis> {
    const { args } = await this.parse(Restart);
    const chassis = await (await this.client()).restart(await this.chassisName(args.name));
    this.log(`chassis ${chassis.name}: device process runs again (pid ${chassis.deviceProcess.pid})`);
    return chassis;
  }
}
