import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import type { Saved } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Save extends BaseCommand {
  static override summary = 'Write a chassis whose VM is paused, or off, to a file.';
  static override description =
    "What it is made of, and what its devices know of their guest. The guest's memory is the VMM's to save: docs/save-restore.md " +
    'says in which order. Nothing is changed, and whatever cannot be saved is named. The daemon writes the file, for its user alone (mode 0600).';
  static override examples = [
    '<%= config.bin %> save dev.chassis',
    '<%= config.bin %> save dev.chassis --topology  # for a guest that moves while it runs',
  ];
  static override args = {
    FILE: Args.string({ description: 'Made, or replaced as a whole', required: true }),
  };
  static override flags = {
    topology: Flags.boolean({
      description: 'Only what it is made of: a guest that moves while it runs brings what its devices know',
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<Saved> {
    const { args, flags } = await this.parse(Save);
    const chassis = await this.chassisName(flags.chassis);
    const path = resolve(args.FILE);
    const saved = await (await this.client()).save(chassis, { path, topology: flags.topology });
    this.log(`chassis ${chassis}: ${saved.bytes} bytes in ${path}`);
    return saved;
  }
}
