import { Flags } from '@oclif/core';
import type { Upgraded } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';

export default class Upgrade extends BaseCommand {
  static override summary =
    'Replace the running device process of a chassis by one of the installed version.';
  static override description =
    'The guest goes on: it sees a pause of milliseconds, and no error. Where that cannot be, the running process goes on ' +
    'as it was, and the command says why.';
  static override examples = ['<%= config.bin %> upgrade', '<%= config.bin %> upgrade --chassis dev --json'];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<Upgraded> {
    const { flags } = await this.parse(Upgrade);
    const upgraded = await (await this.client()).upgrade(await this.chassisName(flags.chassis));
    const { chassis, formerPid, pid, pausedMs } = upgraded;
    this.log(
      `chassis ${chassis}: device process ${pid} goes on for ${formerPid}; the guest paused for ${pausedMs.toFixed(1)} ms`,
    );
    return upgraded;
  }
}
