import { Args } from '@oclif/core';
import { RemovalCommand } from '../../support/removal-command.js';

export default class NetRemove extends RemovalCommand {
  static override summary = 'Pull a network card out of the VM.';
  static override description =
    'The guest may use it meanwhile: it loses its connections. Done when the VMM has confirmed. A guest that does not answer ' +
    'in time keeps the card, which works on; it goes as soon as the guest complies.';
  static override examples = [
    '<%= config.bin %> net remove lan0',
    '<%= config.bin %> net remove lan0 --json',
  ];
  static override args = {
    NAME: Args.string({ description: 'The card', required: true }),
  };

  protected override readonly removal = 'removeCard';
}
