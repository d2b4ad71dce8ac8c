import { Args, Flags } from '@oclif/core';
import type { Disk } from '../../../manager/control/api.js';
import { BaseCommand } from '../../support/base-command.js';
import { parseSize, sizeText } from '../../support/size.js';

export default class DiskResize extends BaseCommand {
  static override summary = 'Change the size of a disk, also while the guest uses it.';
  static override description =
    'The guest is told at once. An image file is made longer or shorter. A block device or an NBD export has a size of its own: ' +
    'change that first, then say it here. The file system on the disk is for the guest to resize (resize2fs).';
  static override examples = [
    '<%= config.bin %> disk resize root 20G',
    '<%= config.bin %> disk resize root 5G --shrink',
  ];
  static override args = {
    NAME: Args.string({ description: 'The disk', required: true }),
    SIZE: Args.string({ description: 'Its new size: 20G, 512M, or bytes', required: true }),
  };
  static override flags = {
    shrink: Flags.boolean({ description: 'Allow a smaller size: what lies beyond it is lost' }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<{ disk: Disk }> {
    const { args, flags } = await this.parse(DiskResize);
    const sizeBytes = parseSize(args.SIZE);
    const chassis = await this.chassisName(flags.chassis);
    const client = await this.client();
    const disk = await client.resizeDisk(chassis, args.NAME, { sizeBytes, shrink: flags.shrink });
    this.log(`${disk.name} has ${sizeText(disk.sizeBytes ?? sizeBytes)}`);
    return { disk };
  }
}
