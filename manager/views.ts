/** The model as the API shows it. */
import type { FunctionCounters, FunctionDriver, Mount, MountState } from './control/api.js';
import type { ChassisModel, ChildRecord, MountRecord } from './chassis/chassis.js';
import type { ChildStatus } from './device-process/protocol.js';
import { bindCommand, mountCommand, TREE_MOUNT_COMMAND } from './mount-command.js';
import type { PortUse } from './vmm/port-choice.js';

export interface MountFacts {
  readonly chassis: string;
  /** A VMM has the function open. */
  readonly connected: boolean;
  readonly use: PortUse | undefined;
  readonly reason: string | undefined;
  readonly counters: FunctionCounters | undefined;
  readonly driver: FunctionDriver | undefined;
}

export function describeMount(model: ChassisModel, mount: MountRecord, facts: MountFacts): Mount {
  const { tag, source, readOnly, permanent, slot, function: fn } = mount;
  const state = mountState(model, mount, facts.connected);
  const { reason, counters, use } = facts;
  return {
    chassis: facts.chassis,
    tag,
    ...(!mount.kept && { source }),
    ...{ readOnly, permanent, via: 'function' as const, slot, function: fn, state },
    ...(use && { port: use.port, portReason: use.reason }),
    ...(use && state !== 'parked' && { interrupts: use.msix ? ('msix' as const) : ('intx' as const) }),
    ...(reason !== undefined && (state === 'parked' || state === 'lost') && { reason }),
    mountCommand: mount.tree ? TREE_MOUNT_COMMAND : mountCommand(tag, readOnly),
    ...(counters && { counters }),
    ...(facts.driver && { driver: facts.driver }),
  };
}

/** A mount of the tree: it is where the tree is, whose view is given. `status` is what the guest does with it, where that is known. */
export function describeChild(tree: Mount, child: ChildRecord, status: ChildStatus | undefined): Mount {
  const { chassis, slot, function: fn, state, port } = tree;
  const { tag, source, readOnly, target } = child;
  return {
    ...{ chassis, tag, source, readOnly, permanent: false, via: 'tree' as const, slot, function: fn, state },
    ...(port && { port }),
    ...(target !== undefined && { target }),
    ...(status && { inGuest: status.state, held: { fids: status.fids, openFiles: status.openFiles } }),
    ...(status && status.detail !== '' && { reason: status.detail }),
    mountCommand: bindCommand(tag, target),
  };
}

function mountState(model: ChassisModel, mount: MountRecord, connected: boolean): MountState {
  const { state } = model.slot(mount.slot);
  const inVm = state === 'plugging' || model.isPresent(mount);
  // A VMM without QMP that was given the socket on its command line has it all the same.
  if (!inVm || state === 'empty') return connected ? 'plugged' : 'parked';
  return mount.kept && state === 'plugged' ? 'kept' : state;
}
