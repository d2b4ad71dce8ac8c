import { Flags } from '@oclif/core';
import { BaseCommand } from '../support/base-command.js';
import { happenedText } from '../support/events-text.js';

export default class Events extends BaseCommand {
  static override summary =
    'Follow what happens: mounts, disks, cards, processes and VMs that come, go and change.';
  static override description =
    'It goes on until it is interrupted, or the daemon ends. The daemon remembers the last 4,096 events: with --since, what came after one of ' +
    'them is told first; one that this daemon does not know, as `start`, gets all there is. With --json each event is a line of JSON, with its id. ' +
    'docs/events.md describes them.';
  static override examples = [
    '<%= config.bin %> events',
    '<%= config.bin %> events --chassis dev --since start',
    '<%= config.bin %> events --json | jq --unbuffered -r \'select(.type == "mount.attached").tag\'',
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'That of one chassis alone' }),
    since: Flags.string({ description: 'What came after the event of this id, first', helpValue: 'ID' }),
  };

  async run(): Promise<void> {
    const { flags } = await this.parse(Events);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(0));
    const { chassis, since } = flags;
    for await (const event of await (await this.client()).events({ chassis, since }))
      process.stdout.write(`${this.jsonEnabled() ? JSON.stringify(event) : happenedText(event)}\n`);
  }
}
