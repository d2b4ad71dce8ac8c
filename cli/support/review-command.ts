import type { Change, ReviewRequest } from '../../manager/control/api.js';
import { BaseCommand } from './base-command.js';
import { countText, pathText } from './changes-text.js';

/** What the commands share that commit or drop changes: they say which, and how far they are. */
export abstract class ReviewCommand extends BaseCommand {
  /** Commits or drops changes; answers those that it was about. */
  protected async review(
    chassis: string,
    tag: string,
    request: ReviewRequest & { readonly kind: 'commit' | 'discard' },
  ): Promise<Change[]> {
    const changes: Change[] = [];
    const client = await this.client();
    for await (const page of client.review(chassis, tag, request)) {
      changes.push(...page.changes);
      this.progress(page.done ? '' : `${countText(changes.length)}, at ${pathText(page.path ?? '/')}`);
    }
    return changes;
  }

  /** One line that is written over, for people who wait. */
  private progress(text: string): void {
    if (this.jsonEnabled() || !process.stderr.isTTY) return;
    process.stderr.write(`\r\x1b[K${text.slice(0, (process.stderr.columns ?? 80) - 1)}`);
  }
}
