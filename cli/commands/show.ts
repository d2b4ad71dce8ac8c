import { Args, Flags } from '@oclif/core';
import type { Card, Chassis, Disk, FunctionDriver, Mount, Watching } from '../../manager/control/api.js';
import { printManifest } from '../apply/manifest/print.js';
import { BaseCommand } from '../support/base-command.js';
import { keptText, upperText } from '../support/changes-text.js';
import { disksTable, troubleLines } from '../support/disks-text.js';
import { mountsTable } from '../support/mounts-text.js';
import { cardsTable } from '../support/networks-text.js';
import { ownerText } from '../support/owner.js';
import { policyText } from '../support/policy-text.js';
import { sandboxText } from '../support/sandbox-text.js';

export default class Show extends BaseCommand {
  static override summary = 'Show a chassis: its VM, its device process, and what is plugged in where.';
  static override examples = [
    '<%= config.bin %> show',
    '<%= config.bin %> show dev --json',
    '<%= config.bin %> show dev --manifest > chassis.yaml',
  ];
  static override args = {
    name: Args.string({ description: 'The chassis; needless where there is only one' }),
  };
  static override flags = {
    manifest: Flags.boolean({
      description: 'Print it as a manifest, which applied does nothing: chassis apply --help',
    }),
  };

  async run(): Promise<Chassis | { text: string }> {
    const { args, flags } = await this.parse(Show);
    const chassis = await (await this.client()).get(await this.chassisName(args.name));
    if (flags.manifest) {
      const text = printManifest([chassis]);
      this.log(text.trimEnd());
      return { text };
    }
    const { deviceProcess, vmm } = chassis;
    const devices = {
      running: `running (pid ${deviceProcess.pid})`,
      recovering: `recovering: ${deviceProcess.reason}`,
      lost: `lost: ${deviceProcess.reason}; start over with: chassis restart ${chassis.name}`,
    }[deviceProcess.state];
    this.log(`chassis   ${chassis.name}, ${chassis.slotsFree} of ${chassis.slots} slots free`);
    this.log(`vm        ${vmm ? `${vmm.type} ${vmm.version}` : 'none connected'}`);
    for (const note of vmm?.notes ?? []) this.log(`          ${note}`);
    this.log(`devices   ${devices}`);
    if (deviceProcess.sandbox) this.log(`sandbox   ${sandboxText(deviceProcess.sandbox)}`);
    this.log(
      chassis.apiSocket === undefined ? `qmp       ${chassis.qmpSocket}` : `api       ${chassis.apiSocket}`,
    );
    if (chassis.vmmProblem !== undefined) this.log(`problem   ${chassis.vmmProblem}`);
    if (chassis.mounts.length > 0) this.log(`\n${mountsTable(chassis.mounts)}`);
    if (chassis.disks.length > 0) this.log(`\n${disksTable(chassis.disks)}`);
    if (chassis.cards.length > 0) this.log(`\n${cardsTable(chassis.cards)}`);
    if (chassis.kept.length > 0) this.log(`\n${chassis.kept.map(keptText).join('\n')}`);
    const lines = [
      ...chassis.mounts.flatMap((mount) => remarks(mount.tag, mount)),
      ...[...chassis.disks, ...chassis.cards].flatMap((device) => remarks(device.name, device)),
    ];
    if (lines.length > 0) this.log(`\n${lines.join('\n')}`);
    return chassis;
  }
}

function remarks(name: string, shown: Mount | Disk | Card): string[] {
  const { port, portReason, driver, reason } = shown;
  const lines = 'via' in shown ? termsLines(name, shown) : [];
  if (portReason !== undefined) lines.push(`${name} over ${port}: ${portReason}`);
  if ('trouble' in shown) lines.push(...troubleLines(shown));
  if (driver !== undefined) lines.push(`${name} is driven by ${driverText(driver)}`);
  if ('switchSandbox' in shown && shown.switchSandbox)
    lines.push(`the sandbox of ${name}'s switch: ${sandboxText(shown.switchSandbox)}`);
  if ('watching' in shown && shown.watching) lines.push(watchingText(name, shown.watching));
  if (reason === undefined) return lines;
  const ofTree = 'via' in shown && shown.via === 'tree';
  return [...lines, ofTree ? `of ${name} the guest said: ${reason}` : `${name} is not plugged in: ${reason}`];
}

function watchingText(name: string, { directories, problem }: Watching): string {
  const warning = problem === undefined ? '' : `; ${problem}`;
  return `${name} is watched in ${directories} ${directories === 1 ? 'directory' : 'directories'}${warning}`;
}

function termsLines(tag: string, { readOnly, policy, revoked, owner, overlay }: Mount): string[] {
  return [
    ...(overlay ? [`${tag} leaves its source as it is: changes are in ${upperText(overlay)}`] : []),
    ...(owner ? [`${tag} has the owners ${ownerText(owner)}`] : []),
    ...(policy ? [policyText(tag, { readOnly, revoked: revoked ?? false, policy })] : []),
  ];
}

/** The registers, the doorbell, and whether it is rung at all. */
function driverText({ registers, doorbell, polled }: FunctionDriver): string {
  const rings = doorbell === 'eventfd' ? 'kicks by eventfd' : `a doorbell a ${doorbell}`;
  return `${registers} registers, ${rings}${polled ? ', polled without kicks' : ''}`;
}
