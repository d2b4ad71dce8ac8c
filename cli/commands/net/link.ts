import { Args, Flags } from '@oclif/core';
import type { Card } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';

export default class NetLink extends BaseCommand {
  static override summary = "Pull a network card's cable, or plug it in again.";
  static override description =
    'The guest is told at once. While the cable is out, frames are lost both ways.';
  static override examples = ['<%= config.bin %> net link lan0 down', '<%= config.bin %> net link lan0 up'];
  static override args = {
    NAME: Args.string({ description: 'The card', required: true }),
    STATE: Args.string({ description: 'up or down', required: true, options: ['up', 'down'] }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<{ card: Card }> {
    const { args, flags } = await this.parse(NetLink);
    const chassis = await this.chassisName(flags.chassis);
    const card = await (await this.client()).setLink(chassis, args.NAME, args.STATE === 'up');
    this.log(`the link of ${card.name} is ${args.STATE}`);
    return { card };
  }
}
