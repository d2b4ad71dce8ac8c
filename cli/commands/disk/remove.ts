import { Args } from '@oclif/core';
import { RemovalCommand } from '../../support/removal-command.js';

export default class DiskRemove extends RemovalCommand {
  static override summary = 'Pull a disk out of the VM.';
  static override description =
    'Unmount it in the guest first: nobody outside can see whether it is mounted, and a Linux guest lets it go all the same. ' +
    'Done when the VMM has confirmed. A guest that does not answer in time keeps the disk, which works on; it goes as soon ' +
    'as the guest complies.';
  static override examples = [
    '<%= config.bin %> disk remove root',
    '<%= config.bin %> disk remove root --json',
  ];
  static override args = {
    NAME: Args.string({ description: 'The disk', required: true }),
  };

  protected override readonly removal = 'removeDisk';
}
