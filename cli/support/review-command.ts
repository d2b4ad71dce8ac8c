import { Args, Flags } from '@oclif/core';
import type { Change, ReviewPage, ReviewRequest } from '../../manager/control/api.js';
import { BaseCommand } from './base-command.js';
import { changeText, countText, pathText } from './changes-text.js';

type Kind = ReviewRequest['kind'];

/** What the commands share that are about a guest's changes: the mount, and paths within it. */
export abstract class ReviewCommand extends BaseCommand {
  static override args = {
    TAG: Args.string({
      description: 'The tag it was attached under; paths within the mount may follow',
      required: true,
    }),
  };
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  /** Begins what was asked for, of the changes that were named. */
  protected async pages(kind: Kind): Promise<AsyncGenerator<ReviewPage>> {
    const { args, argv, flags } = await this.parse(this.ctor as typeof ReviewCommand);
    const chassis = await this.chassisName(flags.chassis);
    const paths = (argv as string[]).slice(1);
    return (await this.client()).review(chassis, args.TAG, { kind, paths });
  }

  /** Commits or drops changes, says how far that is, and which they were. */
  protected async settle(kind: Exclude<Kind, 'diff'>, done: string): Promise<{ changes: Change[] }> {
    const changes: Change[] = [];
    for await (const page of await this.pages(kind)) {
      changes.push(...page.changes);
      this.progress(page.done ? '' : `${countText(changes.length)}, at ${pathText(page.path ?? '/')}`);
    }
    for (const change of changes) this.log(changeText(change));
    this.log(`${countText(changes.length)} ${done}`);
    return { changes };
  }

  /** One line that is written over, for people who wait. */
  private progress(text: string): void {
    if (this.jsonEnabled() || !process.stderr.isTTY) return;
    process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }
}
