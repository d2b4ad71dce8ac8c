import { Flags } from '@oclif/core';
import type { Disk } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';
import { disksTable, troubleLines } from '../../support/disks-text.js';

export default class DiskList extends BaseCommand {
  static override summary = 'List the disks, with their requests and bytes so far.';
  static override examples = [
    '<%= config.bin %> disk list',
    '<%= config.bin %> disk list --chassis dev --json',
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'Only those of this chassis' }),
  };

  async run(): Promise<{ disks: Disk[] }> {
    const { flags } = await this.parse(DiskList);
    const disks = await (await this.client()).disks(flags.chassis);
    this.log(disks.length > 0 ? disksTable(disks) : 'there is no disk; try: chassis disk add FILE');
    for (const line of disks.flatMap(troubleLines)) this.log(line);
    return { disks };
  }
}
