import type { Change } from '../../manager/control/api.js';
import { ReviewCommand } from '../support/review-command.js';

export default class Discard extends ReviewCommand {
  // oclif parses by what a class has itself.
  static override strict = false;
  static override args = ReviewCommand.args;
  static override summary = 'Drop what the guest changed in an overlay, all of it or some paths.';
  static override description =
    'The directory shows again, at once if it is mounted. Files that the guest has open stay readable to it. There is no way back.';
  static override examples = [
    '<%= config.bin %> discard work',
    '<%= config.bin %> discard work src docs/guide.md',
    '<%= config.bin %> discard work --json',
  ];

  run(): Promise<{ changes: Change[] }> {
    return this.settle('discard', 'discarded');
  }
}
