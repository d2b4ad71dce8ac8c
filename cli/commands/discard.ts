import { Args, Flags } from '@oclif/core';
import type { Change } from '../../manager/control/api.js';
import { changeText, countText } from '../support/changes-text.js';
import { ReviewCommand } from '../support/review-command.js';

export default class Discard extends ReviewCommand {
  static override strict = false;
  static override summary = 'Drop what the guest changed in an overlay, all of it or some paths.';
  static override description =
    'The directory shows again, at once if it is mounted. Files that the guest has open stay readable to it. There is no way back.';
  static override examples = [
    '<%= config.bin %> discard work',
    '<%= config.bin %> discard work src docs/guide.md',
    '<%= config.bin %> discard work --json',
  ];
  static override args = {
    TAG: Args.string({
      description: 'The tag it was attached under; paths within the mount may follow',
      required: true,
    }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<{ changes: Change[] }> {
    const { args, argv, flags } = await this.parse(Discard);
    const chassis = await this.chassisName(flags.chassis);
    const paths = (argv as string[]).slice(1);
    const changes = await this.review(chassis, args.TAG, { kind: 'discard', paths });
    for (const change of changes) this.log(changeText(change));
    this.log(`${countText(changes.length)} discarded`);
    return { changes };
  }
}
