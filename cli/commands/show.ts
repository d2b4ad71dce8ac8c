import { Args } from '@oclif/core';
import type { Chassis, FunctionDriver } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { mountsTable } from '../support/mounts-text.js';

export default class Show extends BaseCommand {
  static override summary = 'Show a chassis: its VM, its device process, and what is plugged in where.';
  static override examples = ['<%= config.bin %> show', '<%= config.bin %> show dev --json'];
  static override args = {
    name: Args.string({ description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<Chassis> {
    const { args } = await this.parse(Show);
    const chassis = await (await this.client()).get(await this.chassisName(args.name));
    const { deviceProcess, vmm } = chassis;
    const devices =
      deviceProcess.state === 'running'
        ? `running (pid ${deviceProcess.pid})`
        : `lost: ${deviceProcess.reason}; start over with: chassis restart ${chassis.name}`;
    this.log(`chassis   ${chassis.name}, ${chassis.slotsFree} of ${chassis.slots} slots free`);
    this.log(`vm        ${vmm ? `${vmm.type} ${vmm.version}` : 'none connected'}`);
    for (const note of vmm?.notes ?? []) this.log(`          ${note}`);
    this.log(`devices   ${devices}`);
    this.log(`qmp       ${chassis.qmpSocket}`);
    if (chassis.vmmProblem !== undefined) this.log(`problem   ${chassis.vmmProblem}`);
    if (chassis.mounts.length === 0) return chassis;
    this.log(`\n${mountsTable(chassis.mounts)}\n`);
    for (const { tag, via, port, portReason, reason, driver } of chassis.mounts) {
      if (portReason !== undefined) this.log(`${tag} over ${port}: ${portReason}`);
      if (driver !== undefined) this.log(`${tag} is driven by ${driverText(driver)}`);
      if (reason !== undefined) {
        this.log(
          via === 'tree' ? `of ${tag} the guest said: ${reason}` : `${tag} is not plugged in: ${reason}`,
        );
      }
    }
    return chassis;
  }
}

/** The registers, the doorbell, and whether it is rung at all. */
function driverText({ registers, doorbell, polled }: FunctionDriver): string {
  const rings = doorbell === 'eventfd' ? 'kicks by eventfd' : `a doorbell a ${doorbell}`;
  return `${registers} registers, ${rings}${polled ? ', polled without kicks' : ''}`;
}
