/** What differs between the VMMs that chassis are for, before one runs. */
import type { DrivenVmm, QemuArgsRequest } from '../control/api.js';
import { PLACEMENT_RULES, type PlacementRules } from '../chassis/placement-rules.js';
import { qemuArgs } from './args.js';
import { cloudHypervisorArgs } from './cloud-hypervisor/args.js';
import { CLOUD_HYPERVISOR_ABILITIES } from './cloud-hypervisor/driver.js';
import type { PluggableFunction } from './driver.js';
import type { VmmAbilities } from './port-choice.js';
import { parseVersion, qemuAbilities } from './qemu-check.js';

export interface ArgsOptions {
  readonly request: QemuArgsRequest;
  readonly slotCount: number;
  /** Where the VMM is to be driven. */
  readonly socketPath: string;
  /** Slots that are occupied from the start, function 0 included. */
  readonly occupied: ReadonlyMap<number, readonly PluggableFunction[]>;
}

export interface VmmKind {
  readonly rules: PlacementRules;
  /** What that VMM can do, as far as is known of one that does not run. */
  readonly expected: (request?: QemuArgsRequest) => VmmAbilities | undefined;
  readonly args: (options: ArgsOptions) => string[];
}

export const VMM_KINDS: Readonly<Record<DrivenVmm, VmmKind>> = {
  qemu: {
    rules: PLACEMENT_RULES.qemu,
    expected: (request) => request?.qemu && qemuAbilities(request.qemu),
    args: ({ request: { memoryMiB, qemu }, socketPath: qmpSocketPath, ...options }) =>
      qemuArgs({ ...options, memoryMiB, qmpSocketPath, qemuVersion: qemu && parseVersion(qemu.version) }),
  },
  'cloud-hypervisor': {
    rules: PLACEMENT_RULES['cloud-hypervisor'],
    expected: () => CLOUD_HYPERVISOR_ABILITIES,
    args: ({ request: { memoryMiB }, socketPath: apiSocketPath, ...options }) =>
      cloudHypervisorArgs({ ...options, memoryMiB, apiSocketPath }),
  },
};
