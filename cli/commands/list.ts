import type { Chassis } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { table } from '../support/mounts-text.js';

export default class List extends BaseCommand {
  static override summary = 'List the chassis.';
  static override aliases = ['ls'];
  static override examples = ['<%= config.bin %> list', '<%= config.bin %> list --json'];

  async run(): Promise<{ chassis: Chassis[] }> {
    await this.parse(List);
    const chassis = await (await this.client()).list();
    const rows = chassis.map((one) => [
      one.name,
      `${one.slotsFree} of ${one.slots}`,
      String(one.mounts.length),
      String(one.disks.length),
      String(one.cards.length),
      one.vmm ? `${one.vmm.type} ${one.vmm.version}` : 'none',
      one.deviceProcess.state,
    ]);
    this.log(
      rows.length > 0
        ? table(['NAME', 'SLOTS FREE', 'MOUNTS', 'DISKS', 'CARDS', 'VM', 'DEVICES'], rows)
        : 'no chassis; make one: chassis create dev',
    );
    return { chassis };
  }
}
