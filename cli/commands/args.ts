import { Args as CliArgs, Flags } from '@oclif/core';
import { ChassisError, type DrivenVmm } from '../../manager/control/api.js';
import { shellQuote } from '../../manager/control/shell-quote.js';
import { afterDashes } from '../support/after-dashes.js';
import { BaseCommand } from '../support/base-command.js';
import { libvirtDomain } from '../support/libvirt-xml.js';
import { requireQemu } from '../support/qemu-version.js';
import { systemdUnit } from '../support/systemd-unit.js';

/** What each format is for; a service may run any VMM. */
const FORMATS = {
  qemu: ['qemu'],
  libvirt: ['qemu'],
  'cloud-hypervisor': ['cloud-hypervisor'],
  systemd: ['qemu', 'cloud-hypervisor'],
} as const satisfies Record<string, readonly DrivenVmm[]>;
type Format = keyof typeof FORMATS;

const PROGRAMS: Readonly<Record<DrivenVmm, string>> = {
  qemu: 'qemu-system-x86_64',
  'cloud-hypervisor': 'cloud-hypervisor',
};

export default class Args extends BaseCommand {
  static override strict = false;
  static override summary =
    'Print what wires a VM that others start to a chassis: flags, a libvirt domain or a service.';
  static override description =
    'What follows -- is for the VMM, too, and comes after the rest. A chassis is for QEMU or for Cloud Hypervisor, as it was created; libvirt ' +
    'is for the former.';
  static override examples = [
    '<%= config.bin %> args',
    'eval "qemu-system-x86_64 $(<%= config.bin %> args --memory 2048) -drive file=disk.qcow2,if=virtio"',
    '<%= config.bin %> args dev --format libvirt > dev.xml',
    '<%= config.bin %> args dev --format systemd -- -accel kvm -display none > chassis-vm-dev.service',
    "<%= config.bin %> args --json | jq -r '.args[]'",
  ];
  static override args = {
    name: CliArgs.string({ description: 'The chassis; needless where there is only one' }),
  };
  static override flags = {
    format: Flags.option({
      char: 'f',
      options: Object.keys(FORMATS) as Format[],
      description: 'What starts the VM [default: a shell, by the VMM that the chassis is for]',
    })(),
    qemu: Flags.string({
      description: 'The QEMU that will get them, for mounts to be attached in the way that suits it best',
      env: 'CHASSIS_QEMU',
    }),
    memory: Flags.integer({ char: 'm', description: "The guest's memory in MiB", default: 1024, min: 64 }),
  };

  async run(): Promise<{ args: string[]; vmm: DrivenVmm; format: Format; text: string }> {
    const { argv, flags } = await this.parse(Args);
    const further = afterDashes(this.argv);
    const names = (argv as string[]).slice(0, argv.length - further.length);
    if (names.length > 1)
      throw new ChassisError('BAD_REQUEST', `one chassis at a time, not ${names.join(', ')}`);
    const name = await this.chassisName(names[0]);
    const qemu = flags.qemu === undefined ? undefined : await requireQemu(flags.qemu);
    const answer = await (await this.client()).qemuArgs(name, { memoryMiB: flags.memory, qemu });
    const format = flags.format ?? answer.vmm;
    checkFormat(format, name, answer.vmm);
    const args = [...answer.args, ...further];
    const program = flags.qemu ?? PROGRAMS[answer.vmm];
    const text = textOf(format, { name, memoryMiB: flags.memory, args, program });
    this.log(text);
    return { args, vmm: answer.vmm, format, text };
  }
}

interface Printed {
  readonly name: string;
  readonly memoryMiB: number;
  readonly args: readonly string[];
  readonly program: string;
}

function textOf(format: Format, { name, memoryMiB, args, program }: Printed): string {
  if (format === 'libvirt') return libvirtDomain({ name, memoryMiB, args });
  if (format === 'systemd') return systemdUnit({ chassis: name, program, args });
  return args.map(shellQuote).join(' ');
}

function checkFormat(format: Format, chassis: string, vmm: DrivenVmm): void {
  const able: readonly DrivenVmm[] = FORMATS[format];
  if (able.includes(vmm)) return;
  throw new ChassisError(
    'VMM_UNSUITABLE',
    `chassis ${chassis} is for ${vmm}, and --format ${format} for ${able.join(', ')}`,
    `make another one: chassis create NAME --vmm ${able[0]}`,
  );
}
