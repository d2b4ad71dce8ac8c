import { resolve } from 'node:path';
import { Args, Flags } from '@oclif/core';
import type { Chassis } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Restore extends BaseCommand {
  static override summary = 'Make a chassis of what `chassis save` has written.';
  static override description =
    'All of it, or nothing: what the file counts on and is not here, or is another one by now, is named, and there is no chassis then. ' +
    'The file says which files and directories of the host a guest gets: restore only what you trust. docs/save-restore.md has the rest.';
  static override examples = [
    '<%= config.bin %> restore dev.chassis',
    '<%= config.bin %> restore dev.chassis --chassis dev2',
  ];
  static override args = {
    FILE: Args.string({ description: 'What was saved', required: true }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'Its name here [default: the one that it had]' }),
  };

  async run(): Promise<Chassis> {
    const { args, flags } = await this.parse(Restore);
    const { chassis: name } = flags;
    const path = resolve(args.FILE);
    const chassis = await (await this.client()).restoreSaved({ path, ...(name !== undefined && { name }) });
    this.log(`chassis ${chassis.name}: restored\n  the flags for its VM: chassis args ${chassis.name}`);
    return chassis;
  }
}
