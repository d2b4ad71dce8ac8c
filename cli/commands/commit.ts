import { Args, Flags } from '@oclif/core';
import type { Change } from '../../manager/control/api.js';
import { changeText, countText } from '../support/changes-text.js';
import { ReviewCommand } from '../support/review-command.js';

export default class Commit extends ReviewCommand {
  static override strict = false;
  static override summary =
    'Bring what the guest changed in an overlay to the directory, all of it or some paths.';
  static override description =
    "The guest may go on meanwhile; what it has open for writing is committed as it is, and stays a change. It may be interrupted, or killed: no step loses anything, and the next one goes on. The guest's version takes the place of the directory's, also where that was changed on this machine since: chassis diff compares with what is there now.";
  static override examples = [
    '<%= config.bin %> commit work',
    '<%= config.bin %> commit work src docs/guide.md',
    '<%= config.bin %> commit work --json',
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
    const { args, argv, flags } = await this.parse(Commit);
    const chassis = await this.chassisName(flags.chassis);
    const paths = (argv as string[]).slice(1);
    const changes = await this.review(chassis, args.TAG, { kind: 'commit', paths });
    for (const change of changes) this.log(changeText(change));
    this.log(`${countText(changes.length)} committed`);
    return { changes };
  }
}
