import { Flags } from '@oclif/core';
import type { Mount } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { mountsTable } from '../support/mounts-text.js';

export default class Mounts extends BaseCommand {
  static override summary = 'List what is attached, with kicks, interrupts and requests so far.';
  static override examples = ['<%= config.bin %> mounts', '<%= config.bin %> mounts --chassis dev --json'];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'Only those of this chassis' }),
  };

  async run(): Promise<{ mounts: Mount[] }> {
    const { flags } = await this.parse(Mounts);
    const mounts = await (await this.client()).mounts(flags.chassis);
    this.log(mounts.length > 0 ? mountsTable(mounts) : 'nothing is attached; try: chassis attach DIR');
    return { mounts };
  }
}
