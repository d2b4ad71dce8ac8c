import { Args, Flags } from '@oclif/core';
import type { AuditPage } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { droppedText, eventText } from '../support/policy-text.js';

/** How long one request waits for something to happen. */
const WAIT_MS = 10_000;

export default class Audit extends BaseCommand {
  static override summary = 'List what the guest was refused of a mount, or follow what it does.';
  static override description =
    'The device process remembers the last thousand refusals of each mount. What was too much is counted, not kept: 10,000 events a second, ' +
    'and what others pushed out. With --follow it goes on until it is interrupted, and --json prints a page of events a line.';
  static override examples = [
    '<%= config.bin %> audit work',
    '<%= config.bin %> audit work --follow',
    "<%= config.bin %> audit work --follow --all --json | jq -c '.events[]'",
  ];
  static override args = {
    TAG: Args.string({ description: 'The tag it was attached under', required: true }),
  };
  static override flags = {
    follow: Flags.boolean({ char: 'f', description: 'Go on with what happens next' }),
    all: Flags.boolean({
      description: 'What was let through, too: from now on, and while this runs',
      dependsOn: ['follow'],
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<AuditPage> {
    const { args, flags } = await this.parse(Audit);
    const chassis = await this.chassisName(flags.chassis);
    const client = await this.client();
    const ask = (from: number | undefined, waitMs: number): Promise<AuditPage> =>
      client.audit(chassis, args.TAG, { all: flags.all, from, waitMs });
    if (flags.follow) {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(0));
      for (let from: number | undefined; ;)
        from = this.tell(await ask(from, from === undefined ? 0 : WAIT_MS));
    }
    let whole = await ask(undefined, 0);
    for (let page = await ask(whole.next, 0); page.next > whole.next; page = await ask(page.next, 0))
      whole = {
        events: [...whole.events, ...page.events],
        dropped: whole.dropped + page.dropped,
        next: page.next,
      };
    this.print(whole);
    return whole;
  }

  /** Prints what there is of a page that is followed; answers where to go on. */
  private tell(page: AuditPage): number {
    if (!this.jsonEnabled()) this.print(page);
    else if (page.events.length + page.dropped > 0) process.stdout.write(`${JSON.stringify(page)}\n`);
    return page.next;
  }

  private print({ events, dropped }: AuditPage): void {
    if (dropped > 0) this.log(droppedText(dropped));
    for (const event of events) this.log(eventText(event));
  }
}
