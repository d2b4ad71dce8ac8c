/** The model as the API shows it. */
import type { FunctionCounters, Mount, MountState } from './control/api.js';
import type { ChassisModel, MountRecord } from './chassis/chassis.js';
import { mountCommand } from './mount-command.js';
import type { PortUse } from './vmm/port-choice.js';

export interface MountFacts {
  readonly chassis: string;
  /** A VMM has the function open. */
  readonly connected: boolean;
  readonly use: PortUse | undefined;
  readonly reason: string | undefined;
  readonly counters: FunctionCounters | undefined;
}

export function describeMount(model: ChassisModel, mount: MountRecord, facts: MountFacts): Mount {
  const { tag, source, readOnly, permanent, slot, function: fn } = mount;
  const state = mountState(model, mount, facts.connected);
  const { reason, counters, use } = facts;
  return {
    chassis: facts.chassis,
    tag,
    ...(!mount.kept && { source }),
    ...{ readOnly, permanent, slot, function: fn, state },
    ...(use && { port: use.port, portReason: use.reason }),
    ...(use && state !== 'parked' && { interrupts: use.msix ? ('msix' as const) : ('intx' as const) }),
    ...(reason !== undefined && (state === 'parked' || state === 'lost') && { reason }),
    mountCommand: mountCommand(tag, readOnly),
    ...(counters && { counters }),
  };
}

function mountState(model: ChassisModel, mount: MountRecord, connected: boolean): MountState {
  const { state } = model.slot(mount.slot);
  const inVm = state === 'plugging' || model.isPresent(mount);
  // A VMM without QMP that was given the socket on its command line has it all the same.
  if (!inVm || state === 'empty') return connected ? 'plugged' : 'parked';
  return mount.kept && state === 'plugged' ? 'kept' : state;
}
