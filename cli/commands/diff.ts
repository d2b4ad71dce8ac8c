import { Args, Flags } from '@oclif/core';
import type { Change } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { changeText } from '../support/changes-text.js';
import { ExitCode } from '../support/exit-codes.js';

export default class Diff extends BaseCommand {
  static override strict = false;
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
  static override args = {
    TAG: Args.string({
      description: 'The tag it was attached under; paths within the mount may follow',
      required: true,
    }),
  };
  static override flags = {
    'exit-code': Flags.boolean({
      description: `End with ${ExitCode.UNEXPECTED} where there are changes, as git does`,
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<{ changes: Change[] }> {
    const { args, argv, flags } = await this.parse(Diff);
    const chassis = await this.chassisName(flags.chassis);
    const paths = (argv as string[]).slice(1);
    const changes: Change[] = [];
    let count = 0;
    for await (const page of (await this.client()).review(chassis, args.TAG, { kind: 'diff', paths })) {
      count += page.changes.length;
      if (this.jsonEnabled()) changes.push(...page.changes);
      for (const change of page.changes) this.log(changeText(change));
    }
    if (flags['exit-code'] && count > 0) process.exitCode = ExitCode.UNEXPECTED;
    return { changes };
  }
}
