import { Flags } from '@oclif/core';
import type { Change } from '../../manager/control/api.js';
import { changeText } from '../support/changes-text.js';
import { ExitCode } from '../support/exit-codes.js';
import { ReviewCommand } from '../support/review-command.js';

export default class Diff extends ReviewCommand {
  // oclif parses by what a class has itself.
  static override strict = false;
  static override args = ReviewCommand.args;
  static override summary = 'List what the guest changed in a mount with an overlay.';
  static override description =
    'While it is mounted, and after it was detached. A: added, M: changed, m: other owner, mode, times or attributes, D: removed, R: renamed. ' +
    'What is below a directory that was added or renamed is listed too; of a directory that was removed, itself alone.';
  static override examples = [
    '<%= config.bin %> diff work',
    '<%= config.bin %> diff work src docs/guide.md',
    '<%= config.bin %> diff work --exit-code > /dev/null || echo changed',
    "<%= config.bin %> diff work --json | jq -r '.changes[].path'",
  ];
  static override flags = {
    'exit-code': Flags.boolean({
      description: `End with ${ExitCode.UNEXPECTED} where there are changes, as git does`,
    }),
    ...ReviewCommand.flags,
  };

  async run(): Promise<{ changes: Change[] }> {
    const { flags } = await this.parse(Diff);
    const changes: Change[] = [];
    let count = 0;
    for await (const page of await this.pages('diff')) {
      count += page.changes.length;
      if (this.jsonEnabled()) changes.push(...page.changes);
      for (const change of page.changes) this.log(changeText(change));
    }
    if (flags['exit-code'] && count > 0) process.exitCode = ExitCode.UNEXPECTED;
    return { changes };
  }
}
