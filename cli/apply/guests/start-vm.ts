/** Starts a chassis's VM as its manifest says, and lets it go on by itself. */
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { ChassisError } from '../../../manager/control/api.js';
import type { GuestAddress } from '../../guest/guest-run.js';
import { bootLine } from '../../support/qemu-line.js';
import { requireQemu } from '../../support/qemu-version.js';
import type { DesiredVm } from '../plan/desired.js';

const LOOK_MS = 250;

/** Resolves once the daemon has it. @throws ChassisError VMM_UNSUITABLE, VMM_REFUSED with what QEMU said, VMM_GONE */
export async function startVm(address: GuestAddress, vm: DesiredVm, timeoutMs: number): Promise<void> {
  const { client, chassis } = address;
  const qemu = await requireQemu(vm.qemu);
  const { args, vmm: expected } = await client.qemuArgs(chassis, { memoryMiB: vm.memoryMiB, qemu });
  if (expected !== 'qemu')
    throw new ChassisError(
      'VMM_UNSUITABLE',
      `${chassis} is for ${expected}, which a manifest does not start`,
      'leave vm out, and start it by hand: chassis args',
    );
  const serial = vm.console === undefined ? 'none' : `file:${vm.console.replaceAll(',', ',,')}`;
  const own = ['-display', 'none', '-monitor', 'none', '-serial', serial, '-daemonize'];
  const { exitCode, stderr } = await execa(vm.qemu, [...args, ...bootLine(vm.boot), ...own, ...vm.args], {
    reject: false,
    stdio: ['ignore', 'ignore', 'pipe'],
    maxBuffer: 1 << 20,
  });
  if (exitCode !== 0)
    throw new ChassisError(
      'VMM_REFUSED',
      `${vm.qemu} does not start: ${stderr.trim() === '' ? `exit code ${exitCode}` : stderr.trim()}`,
      'see the keys of vm in the manifest',
    );
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const { vmm, vmmProblem } = await client.get(chassis);
    if (vmm) return;
    if (vmmProblem !== undefined) throw new ChassisError('VMM_UNSUITABLE', vmmProblem);
    if (performance.now() > deadline)
      throw new ChassisError(
        'VMM_GONE',
        `the VM of ${chassis} was started, and is not there`,
        'look at its console',
      );
    await sleep(LOOK_MS);
  }
}
