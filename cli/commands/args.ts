import { Args as CliArgs, Flags } from '@oclif/core';
import { BaseCommand } from '../support/base-command.js';
import { requireQemu } from '../support/qemu-version.js';

export default class Args extends BaseCommand {
  static override summary = 'Print the QEMU flags that wire a VM started by hand to a chassis.';
  static override examples = [
    '<%= config.bin %> args',
    'eval "qemu-system-x86_64 $(<%= config.bin %> args --memory 2048) -drive file=disk.qcow2,if=virtio"',
    "<%= config.bin %> args --json | jq -r '.args[]'",
  ];
  static override args = {
    name: CliArgs.string({ description: 'The chassis; needless where there is only one' }),
  };
  static override flags = {
    qemu: Flags.string({
      description: 'The QEMU that will get them, for mounts to be attached in the way that suits it best',
      env: 'CHASSIS_QEMU',
    }),
    memory: Flags.integer({ char: 'm', description: "The guest's memory in MiB", default: 1024, min: 64 }),
  };

  async run(): Promise<{ args: string[] }> {
    const { args, flags } = await this.parse(Args);
    const name = await this.chassisName(args.name);
    const qemu = flags.qemu === undefined ? undefined : await requireQemu(flags.qemu);
    const answer = await (await this.client()).qemuArgs(name, { memoryMiB: flags.memory, qemu });
    this.log(answer.args.map(shellQuote).join(' '));
    return answer;
  }
}

function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
