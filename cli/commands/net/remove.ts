import { Args, Flags } from '@oclif/core';
import { BaseCommand } from '../../support/base-command.js';

export default class NetRemove extends BaseCommand {
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
  static override flags = {
    force: Flags.boolean({
      description:
        'Cut it off from a VMM that does not answer, and ask the guest even where the device process died: not a way past a guest that says no',
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    timeout: Flags.integer({ description: 'Seconds to wait for the guest', default: 30, min: 1 }),
  };

  async run(): Promise<{ removed: string; durationMs: number }> {
    const { args, flags } = await this.parse(NetRemove);
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const client = await this.client();
    await client.removeCard(chassis, args.NAME, { force: flags.force, timeoutMs: flags.timeout * 1000 });
    this.log(`${args.NAME} is removed`);
    return { removed: args.NAME, durationMs: performance.now() - started };
  }
}
