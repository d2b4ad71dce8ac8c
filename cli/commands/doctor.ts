import { Flags } from '@oclif/core';
import { ExitCode } from '../support/exit-codes.js';
import { BaseCommand } from '../support/base-command.js';
import { checksText, type Check } from '../doctor/check.js';
import { checkDaemon, checkDirectory } from '../doctor/daemon.js';
import { checkKvm, checkLimits, checkNative, checkNode } from '../doctor/machine.js';
import { checkPasst, checkQemu } from '../doctor/programs.js';

export default class Doctor extends BaseCommand {
  static override summary = 'Check this machine, and say how to mend what is missing.';
  static override description =
    'Looks at Node, native calls, kernel limits, QEMU and what it can do, passt, the state directory and the daemon. Warnings are about what ' +
    'only some things need. The exit code is 1 where something failed. Nothing is changed.';
  static override examples = [
    '<%= config.bin %> doctor',
    '<%= config.bin %> doctor --json | jq -r \'.checks[] | select(.status != "ok") | .cure\'',
  ];
  static override flags = {
    qemu: Flags.string({
      description: 'The QEMU to look at',
      env: 'CHASSIS_QEMU',
      default: 'qemu-system-x86_64',
    }),
  };

  async run(): Promise<{ ok: boolean; checks: Check[] }> {
    const { flags } = await this.parse(Doctor);
    const { version, pjson } = this.config;
    const checks = [
      checkNode((pjson.engines as { node: string }).node),
      ...(await checkNative()),
      ...checkLimits(),
      checkKvm(),
      await checkQemu(flags.qemu),
      await checkPasst(),
      checkDirectory(await this.stateDirectory()),
      await checkDaemon(await this.client(), version),
    ];
    const isFine = checks.every(({ status }) => status !== 'failed');
    this.log(checksText(checks));
    if (!isFine) process.exitCode = ExitCode.UNEXPECTED;
    return { ok: isFine, checks };
  }
}
