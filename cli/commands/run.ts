import { Flags } from '@oclif/core';
import { execa } from 'execa';
import { ChassisError, type DrivenVmm } from '../../manager/control/api.js';
import { afterDashes } from '../support/after-dashes.js';
import { BaseCommand } from '../support/base-command.js';
import { bootLine } from '../support/qemu-line.js';
import { requireQemu } from '../support/qemu-version.js';

export default class Run extends BaseCommand {
  static override strict = false;
  static override summary = 'Boot a QEMU that is wired to a chassis, in the foreground.';
  static override description =
    "The serial console is this terminal (leave with Ctrl-A X). The exit code is QEMU's. Everything after -- goes to QEMU as it is. With --json the console goes to standard error, and what was run and its exit code to standard output.";
  static override examples = [
    '<%= config.bin %> run --disk debian.qcow2',
    '<%= config.bin %> run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0"',
    '<%= config.bin %> run --disk debian.qcow2 --memory 4096 --cpus 4 -- -nic user,model=virtio-net-pci',
  ];
  static override flags = {
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
    qemu: Flags.string({
      description: 'The QEMU to run, 10.1 or later (7.2 for disks and cards alone)',
      env: 'CHASSIS_QEMU',
      default: 'qemu-system-x86_64',
    }),
    memory: Flags.integer({ char: 'm', description: "The guest's memory in MiB", default: 1024, min: 64 }),
    cpus: Flags.integer({ description: 'Virtual CPUs', default: 1, min: 1 }),
    accel: Flags.string({
      description: 'QEMU accelerator [default: kvm where /dev/kvm can be used, else tcg]',
    }),
    kernel: Flags.file({ description: 'Boot this kernel', exists: true }),
    initrd: Flags.file({ description: 'With this initial RAM disk', exists: true, dependsOn: ['kernel'] }),
    append: Flags.string({ description: 'And this kernel command line', dependsOn: ['kernel'] }),
    disk: Flags.file({
      description: 'A disk image, as a virtio disk; may be repeated',
      exists: true,
      multiple: true,
    }),
  };

  async run(): Promise<{ command: string[]; exitCode: number }> {
    const { argv, flags } = await this.parse(Run);
    const further = afterDashes(this.argv);
    const unexpected = (argv as string[]).slice(0, argv.length - further.length);
    if (unexpected.length > 0) {
      throw new ChassisError(
        'BAD_REQUEST',
        `what is for QEMU comes after --, not ${unexpected.join(' ')}`,
        'see: chassis run --help',
      );
    }
    const qemuFacts = await requireQemu(flags.qemu);
    const name = await this.chassisName(flags.chassis);
    const client = await this.client();
    const { args, vmm } = await client.qemuArgs(name, { memoryMiB: flags.memory, qemu: qemuFacts });
    if (vmm !== 'qemu') throw forAnother(name, vmm);
    const { cpus, accel, kernel, initrd, append, disk: disks } = flags;
    const boot = bootLine({ cpus, accel, kernel, initrd, append, disks });
    const line = [...args, ...boot, '-nographic', ...further];
    const qemu = execa(flags.qemu, line, {
      stdio: ['inherit', this.jsonEnabled() ? process.stderr : 'inherit', 'inherit'],
      reject: false,
    });
    process.on('SIGINT', () => undefined);
    process.on('SIGTERM', () => void qemu.kill('SIGTERM'));
    const { exitCode = 1 } = await qemu;
    process.exitCode = exitCode;
    return { command: [flags.qemu, ...line], exitCode };
  }
}

function forAnother(name: string, vmm: DrivenVmm): ChassisError {
  return new ChassisError(
    'VMM_UNSUITABLE',
    `chassis ${name} is for ${vmm}, which is not started here`,
    `start it with the flags of: chassis args ${name}`,
  );
}
