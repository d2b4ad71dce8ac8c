import { Flags } from '@oclif/core';
import type { Card } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';
import { cardsTable } from '../../support/networks-text.js';

export default class NetList extends BaseCommand {
  static override summary = 'List the network cards, with what they sent, received and lost.';
  static override description =
    'LOST counts frames of all kinds that did not arrive; --json tells them apart: those of a slow guest, of a storm, of a ' +
    'locked address, and others.';
  static override examples = [
    '<%= config.bin %> net list',
    '<%= config.bin %> net list --chassis dev --json',
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'Only those of this chassis' }),
  };

  async run(): Promise<{ cards: Card[] }> {
    const { flags } = await this.parse(NetList);
    const cards = await (await this.client()).cards(flags.chassis);
    this.log(cards.length > 0 ? cardsTable(cards) : 'there is no network card; try: chassis net add lan0');
    return { cards };
  }
}
