import { Args } from '@oclif/core';
import type { TopologyNode } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { topologyText } from '../support/topology-text.js';

export default class Tree extends BaseCommand {
  static override summary = 'Draw the hierarchy of a chassis as lspci -t does, with what sits where.';
  static override description =
    "Ports, switches, slots, functions and mounts. Bus numbers are the guest's to give, so slots stand in their place.";
  static override examples = ['<%= config.bin %> tree', '<%= config.bin %> tree dev --json'];
  static override args = {
    name: Args.string({ description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<TopologyNode> {
    const { args } = await this.parse(Tree);
    const root = await (await this.client()).tree(await this.chassisName(args.name));
    this.log(topologyText(root));
    return root;
  }
}
