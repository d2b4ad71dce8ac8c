import { setTimeout as sleep } from 'node:timers/promises';
import { Flags } from '@oclif/core';
import { ChassisError } from '../../manager/control/api.js';
import { CONDITIONS, isMet, type Condition } from '../guest/conditions.js';
import type { GuestAddress } from '../guest/guest-run.js';
import { isProvisioned } from '../guest/provision/record.js';
import { BaseCommand } from '../support/base-command.js';

const LOOK_MS = 500;
/** Of what the guest has to be asked: a program is started there each time. */
const ASK_MS = 2000;

export default class Wait extends BaseCommand {
  static override summary = 'Wait until a guest has booted, mounted, or been provisioned, or is gone.';
  static override description =
    'mounted: all mounts with a target are at it, or the one of --mount is in use. booted: the helper in the guest is at work; without a mount of ' +
    'the tree, that a driver has a mount will do. provisioned: all steps of a manifest are done in this guest. gone: no VM is connected, or the mount ' +
    'of --mount was taken away. Ends with 0 once it is so, and with 7 where it is not in time.';
  static override examples = [
    '<%= config.bin %> wait --for booted --timeout 60',
    '<%= config.bin %> wait --for mounted --mount src',
    '<%= config.bin %> wait --for gone && echo "the VM has ended"',
  ];
  static override flags = {
    for: Flags.option({ description: 'What to wait for', options: CONDITIONS, required: true })(),
    mount: Flags.string({
      description: 'The tag of the mount that is meant (mounted, gone)',
      helpValue: 'TAG',
    }),
    timeout: Flags.integer({ description: 'Seconds to wait', default: 300, min: 1 }),
    chassis: Flags.string({ char: 'c', description: 'The chassis; needless where there is only one' }),
  };

  async run(): Promise<{ chassis: string; for: Condition; durationMs: number }> {
    const { flags } = await this.parse(Wait);
    if (flags.mount !== undefined && flags.for !== 'mounted' && flags.for !== 'gone')
      throw new ChassisError('BAD_REQUEST', `--mount is not for ${flags.for}`, 'leave it out');
    const address = { client: await this.client(), chassis: await this.chassisName(flags.chassis) };
    const started = performance.now();
    const deadline = started + flags.timeout * 1000;
    while (!(await this.isSo(address, flags.for, flags.mount))) {
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw tooLate(address.chassis, flags.for, flags.mount, flags.timeout);
      await sleep(Math.min(leftMs, flags.for === 'provisioned' ? ASK_MS : LOOK_MS));
    }
    return { chassis: address.chassis, for: flags.for, durationMs: performance.now() - started };
  }

  private async isSo(address: GuestAddress, condition: Condition, tag: string | undefined): Promise<boolean> {
    if (condition === 'provisioned') return isProvisioned(address);
    try {
      return isMet(condition, await address.client.get(address.chassis), tag);
    } catch (error) {
      // What was deleted is gone.
      if (condition === 'gone' && error instanceof ChassisError && error.code === 'NO_CHASSIS') return true;
      throw error;
    }
  }
}

function tooLate(
  chassis: string,
  condition: Condition,
  tag: string | undefined,
  seconds: number,
): ChassisError {
  const what = tag === undefined ? chassis : `${tag} of ${chassis}`;
  return new ChassisError(
    'GUEST_TIMEOUT',
    `${what} is not ${condition} after ${seconds} s`,
    `see how it is: chassis show ${chassis}`,
  );
}
