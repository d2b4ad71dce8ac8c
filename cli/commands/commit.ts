import type { Change } from '../../manager/control/api.js';
import { ReviewCommand } from '../support/review-command.js';

export default class Commit extends ReviewCommand {
  // oclif parses by what a class has itself.
  static override strict = false;
  static override args = ReviewCommand.args;
  static override summary =
    'Bring what the guest changed in an overlay to the directory, all of it or some paths.';
  static override description =
    "The guest may go on meanwhile; what it has open for writing is committed as it is, and stays a change. It may be interrupted, or killed: no step loses anything, and the next one goes on. The guest's version takes the place of the directory's, also where that was changed on this machine since: chassis diff compares with what is there now.";
  static override examples = [
    '<%= config.bin %> commit work',
    '<%= config.bin %> commit work src docs/guide.md',
    '<%= config.bin %> commit work --json',
  ];

  run(): Promise<{ changes: Change[] }> {
    return this.settle('commit', 'committed');
  }
}
