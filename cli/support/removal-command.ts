import { Flags } from '@oclif/core';
import { BaseCommand } from './base-command.js';

/** What the commands share that pull a disk or a card out: NAME is which. */
export abstract class RemovalCommand extends BaseCommand {
  static override flags = {
    force: Flags.boolean({
      description:
        'Cut it off from a VMM that does not answer, and ask the guest even where the device process died: not a way past a guest that says no',
    }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    timeout: Flags.integer({ description: 'Seconds to wait for the guest', default: 30, min: 1 }),
  };

  /** The client's call that removes one of these. */
  protected abstract readonly removal: 'removeDisk' | 'removeCard';

  async run(): Promise<{ removed: string; durationMs: number }> {
    const { args, flags } = await this.parse(this.ctor as typeof RemovalCommand);
    const name = args.NAME as string;
    const chassis = await this.chassisName(flags.chassis);
    const started = performance.now();
    const client = await this.client();
    await client[this.removal](chassis, name, { force: flags.force, timeoutMs: flags.timeout * 1000 });
    this.log(`${name} is removed`);
    return { removed: name, durationMs: performance.now() - started };
  }
}
