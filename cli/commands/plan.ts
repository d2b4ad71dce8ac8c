import { Flags } from '@oclif/core';
import type { Plan as PlanAnswer } from '../../manager/control/api.js';
import { BaseCommand } from '../support/base-command.js';
import { planText } from '../support/plan-text.js';

export default class Plan extends BaseCommand {
  static override summary = 'Say what layout a number of mounts needs, before a VM boots.';
  static override description =
    'Slots, switches, and how much is left; or why they cannot fit, and the way out. With --chassis: whether they fit ' +
    'beside what that chassis has. Nothing is changed.';
  static override examples = [
    '<%= config.bin %> plan --mounts 100',
    '<%= config.bin %> plan --mounts 5000 --via tree',
    '<%= config.bin %> plan --mounts 12 --chassis dev --json',
  ];
  static override flags = {
    mounts: Flags.integer({ char: 'n', description: 'How many mounts', required: true, min: 1 }),
    via: Flags.option({
      description: 'What carries a mount; auto: functions where they fit, else the tree',
      options: ['auto', 'function', 'queue', 'tree'] as const,
      default: 'auto',
    })(),
    vmm: Flags.option({
      description: 'By whose rules',
      options: ['qemu', 'cloud-hypervisor', 'in-process'] as const,
      default: 'qemu',
      exclusive: ['chassis'],
    })(),
    chassis: Flags.string({ char: 'c', description: 'The chassis that is to take them' }),
  };

  async run(): Promise<PlanAnswer> {
    const { flags } = await this.parse(Plan);
    const { mounts, via, vmm, chassis } = flags;
    const plan = await (await this.client()).plan({ mounts, via, vmm, chassis });
    const attach = `chassis attach --via ${plan.via} DIR…`;
    this.log(planText(plan, chassis === undefined ? makes(plan, attach) : attach));
    return plan;
  }
}

/** What makes a chassis for the plan. Only QEMU's are the daemon's. */
function makes({ vmm, slots, via, extensions }: PlanAnswer, attach: string): string {
  if (vmm === 'cloud-hypervisor') return `cloud-hypervisor --platform num_pci_segments=${extensions + 1} …`;
  if (vmm === 'in-process') {
    return extensions === 0
      ? 'new Chassis(), in your program'
      : `new Chassis(), extended ${extensions} times`;
  }
  return via === 'tree'
    ? `chassis create NAME; ${attach}`
    : `chassis create NAME --slots ${slots}; ${attach}`;
}
