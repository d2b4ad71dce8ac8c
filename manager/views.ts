/** The model as the API shows it. */
import type {
  Card,
  Disk,
  FunctionCounters,
  InForce,
  FunctionDriver,
  Mount,
  MountState,
  MountTerms,
  SwitchPortCounters,
} from './control/api.js';
import {
  isMount,
  type CardRecord,
  type ChassisModel,
  type ChildRecord,
  type DeviceRecord,
  type DiskRecord,
  type MountRecord,
  type SeatRecord,
} from './chassis/chassis.js';
import type { ChildStatus, FunctionStatus } from './device-process/protocol.js';
import { bindCommand, mountCommand, queueMounting, TREE_MOUNT_COMMAND } from './mount-command.js';
import type { PortUse } from './vmm/port-choice.js';

/** What the model does not know of a function. */
export interface FunctionFacts {
  readonly chassis: string;
  /** A VMM has the function open. */
  readonly connected: boolean;
  readonly use: PortUse | undefined;
  readonly reason: string | undefined;
  readonly counters: FunctionCounters | undefined;
  readonly driver: FunctionDriver | undefined;
}

export function describeMount(model: ChassisModel, mount: MountRecord, facts: FunctionFacts): Mount {
  const { tag, source, permanent } = mount;
  const { counters } = facts;
  return {
    tag,
    ...(!mount.kept && { source }),
    ...termsView(mount),
    ...{ permanent, via: 'function' as const },
    ...describeFunction(model, mount, facts),
    ...mounting(mount),
    ...(counters && { counters }),
  };
}

export function describeDisk(
  model: ChassisModel,
  disk: DiskRecord,
  facts: FunctionFacts & { readonly status: FunctionStatus['disk'] },
): Disk {
  const { tag: name, readOnly, permanent, managedBy } = disk;
  const { source, overlay, overlayDirectory, serial, queues } = disk.disk;
  const { status, counters } = facts;
  return {
    ...{ name, source, readOnly, overlay, overlayDirectory, serial, queues, permanent },
    ...(managedBy !== undefined && { managedBy }),
    ...(status && { sizeBytes: status.sizeBytes }),
    ...(status?.trouble !== undefined && { trouble: status.trouble }),
    ...describeFunction(model, disk, facts),
    ...(counters && { counters: withoutFids(counters) }),
  };
}

export function describeCard(
  model: ChassisModel,
  record: CardRecord,
  facts: FunctionFacts & {
    readonly status: FunctionStatus['card'];
    readonly switchPort: SwitchPortCounters | undefined;
    readonly switchSandbox: InForce | undefined;
  },
): Card {
  const { tag: name, card, permanent, managedBy } = record;
  const { counters, status, switchPort, switchSandbox } = facts;
  return {
    ...{ name, ...card, permanent },
    ...(managedBy !== undefined && { managedBy }),
    ...(status && { carrier: status.carrier, statistics: status.statistics }),
    ...(switchPort && { switchPort }),
    ...(switchSandbox && { switchSandbox }),
    ...describeFunction(model, record, facts),
    ...(counters && { counters: ofQueues(counters) }),
  };
}

function withoutFids(counters: FunctionCounters): Disk['counters'] {
  const { bytesRead, bytesWritten, latencies } = counters;
  return { ...ofQueues(counters), bytesRead, bytesWritten, ...(latencies && { latencies }) };
}

function ofQueues(counters: FunctionCounters): NonNullable<Card['counters']> {
  const { kicks, interrupts, wakes, spuriousWakes, polls, requests, queues } = counters;
  return { kicks, interrupts, wakes, spuriousWakes, polls, requests, queues };
}

/** Where it sits and how it is served. */
function describeFunction(model: ChassisModel, device: DeviceRecord, facts: FunctionFacts) {
  const { chassis, connected, use, reason, driver } = facts;
  const { slot, function: fn } = device;
  const state = functionState(model, device, connected);
  return {
    ...{ chassis, slot, function: fn, state },
    ...(use && { port: use.port, portReason: use.reason }),
    ...(use && state !== 'parked' && { interrupts: use.msix ? ('msix' as const) : ('intx' as const) }),
    ...(reason !== undefined &&
      (state === 'parked' || state === 'recovering' || state === 'lost') && { reason }),
    ...(driver && { driver }),
  };
}

/** A mount of the tree: it is where the tree is, whose view is given. `status` is what the guest does with it, where that is known. */
export function describeChild(tree: Mount, child: ChildRecord, status: ChildStatus | undefined): Mount {
  const { chassis, slot, function: fn, state, port } = tree;
  const { tag, source, target, watch } = child;
  return {
    ...{ chassis, tag, source, ...termsView(child) },
    ...{ permanent: false, via: 'tree' as const, slot, function: fn, state },
    ...(port && { port }),
    ...(target !== undefined && { target }),
    ...(watch && { watch }),
    ...(status && { inGuest: status.state, held: { fids: status.fids, openFiles: status.openFiles } }),
    ...(status?.watching && { watching: status.watching }),
    ...(status && status.detail !== '' && { reason: status.detail }),
    mountCommand: bindCommand(tag, target),
  };
}

/** A mount on a queue: it is where the multiplexing function is, whose view is given. */
export function describeSeat(mux: Mount, seat: SeatRecord, counters: FunctionCounters | undefined): Mount {
  const { chassis, slot, function: fn, state, port } = mux;
  const { tag, source, readOnly, queue } = seat;
  return {
    ...{ chassis, tag, source, ...termsView(seat) },
    ...{ permanent: false, via: 'queue' as const, slot, function: fn, queue, state },
    ...(port && { port }),
    ...queueMounting(tag, readOnly, queue),
    ...(counters && { counters }),
  };
}

/** What is not so is left out. */
function termsView(mount: MountTerms): MountTerms {
  const { readOnly, policy, owner, overlay, revoked, managedBy } = mount;
  return {
    readOnly,
    ...(policy && { policy }),
    ...(owner && { owner }),
    ...(overlay && { overlay }),
    ...(revoked && { revoked }),
    ...(managedBy !== undefined && { managedBy }),
  };
}

function mounting({ tag, readOnly, tree, mux }: MountRecord) {
  if (mux) return { mountNote: 'its queues carry the mounts' };
  return { mountCommand: tree ? TREE_MOUNT_COMMAND : mountCommand(tag, readOnly) };
}

export function functionState(model: ChassisModel, device: DeviceRecord, connected: boolean): MountState {
  const { state } = model.slot(device.slot);
  const inVm = state === 'plugging' || model.isPresent(device);
  // A VMM without QMP that was given the socket on its command line has it all the same.
  if (!inVm || state === 'empty') return connected ? 'plugged' : 'parked';
  return isMount(device) && device.kept && state === 'plugged' ? 'kept' : state;
}
