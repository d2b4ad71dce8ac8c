import { Args, Flags } from '@oclif/core';
import type { PolicyView } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Revoke extends BaseCommand {
  static override summary = 'Take a mount from its guest at once, and leave it plugged in.';
  static override description =
    'Everything that the guest asks of it from then on fails with ESTALE, its open files included, and it can mount it no more: nothing ' +
    'in the guest has to agree. There is no way back but to detach it and attach it again.';
  static override examples = ['<%= config.bin %> revoke work', '<%= config.bin %> revoke work --json'];
  static override args = {
    TAG: Args.string({ description: 'The tag it was attached under', required: true }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<PolicyView> {
    const { args, flags } = await this.parse(Revoke);
    const chassis = await this.chassisName(flags.chassis);
    const view = await (await this.client()).revoke(chassis, args.TAG);
    this.log(`${args.TAG} is revoked; to give it back: chassis detach ${args.TAG}, then attach it again`);
    return view;
  }
}
