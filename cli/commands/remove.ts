import { Args, Flags } from '@oclif/core';
import type { KeptOverlay } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { upperText } from '../support/changes-text.js';

export default class Remove extends BaseCommand {
  static override summary = 'Remove a chassis and end its device process.';
  static override aliases = ['rm'];
  static override examples = ['<%= config.bin %> remove dev', '<%= config.bin %> remove dev --force'];
  static override args = { name: Args.string({ description: 'The chassis', required: true }) };
  static override flags = {
    force: Flags.boolean({ description: 'Also where it has mounts or disks: the guest loses them at once' }),
  };

  async run(): Promise<{ removed: string; kept: KeptOverlay[]; durationMs: number }> {
    const { args, flags } = await this.parse(Remove);
    const started = performance.now();
    const { kept } = await (await this.client()).delete(args.name, { force: flags.force });
    this.log(`chassis ${args.name} is gone`);
    for (const { tag, source, upper } of kept)
      this.log(
        `  changes of ${source} are kept for ${tag} of the next chassis ${args.name}, in ${upperText(upper)}`,
      );
    return { removed: args.name, kept, durationMs: performance.now() - started };
  }
}
