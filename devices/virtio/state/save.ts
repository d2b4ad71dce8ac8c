/**
 * Saving a function, at any moment between two of its steps or from within one.
 *
 * It is one synchronous look, so nothing is taken from a ring meanwhile. What the device has completed is published first, and what it
 * has under way is saved as such: the device that takes the state over is given those chains again, before any other. So every request is
 * answered once, by one of the two, as long as this one answers none after the look: reset it (in the same turn of the event loop,
 * and wait until that is over before the other one runs) or save guest memory at the same moment and let only one of the two go on. A request may be
 * carried out twice, as after a reconnect: a device for which that is not the same as once has to say in its own state what it has
 * done, or not to be saved while it does it (`VirtioDevice.saveState`).
 */
import type { StateDestination } from '../../state-descriptors.js';
import { PciConfigSize } from '../../pci/defs.js';
import { QueueConfig, powerOfTwoAtMost } from '../ring/queue-config.js';
import { VirtioFeature } from '../device.js';
import { describeError } from '../device-session.js';
import type { RingState } from '../ring/chain-state.js';
import type { DeviceState } from '../transport/device-state.js';
import { encodeState } from './codec.js';
import { DriverInterfaceCode, type FunctionState, type QueueState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';

/** The blob, or why there is none. */
export type SavedState =
  | { readonly blob: Uint8Array; readonly problem?: undefined }
  | { readonly blob?: undefined; readonly problem: string };

/** Of a ring that does not run, or whose place is known elsewhere. */
export const NOWHERE: RingState = { nextAvail: 0, nextUsed: 0, chains: [] };

export function saveFunction(parts: FunctionParts, to: StateDestination): SavedState {
  const { state } = parts;
  const { started, faulted } = state.progress;
  if (started && !faulted && state.session === undefined) {
    return { problem: 'the device is finishing a reset, for which its driver has not waited' };
  }
  const device = saveDevice(parts, to);
  if (typeof device === 'string') return { problem: device };
  for (const queue of state.queues) state.session?.ring(queue.index)?.flush();
  const queues: QueueState[] = [];
  for (const queue of state.queues) {
    const saved = saveQueue(state, queue);
    if (typeof saved === 'string') return { problem: `queue ${queue.index}: ${saved}` };
    queues.push(saved);
  }
  return { blob: encodeState(captureFunction(parts, queues, device)) };
}

export function captureFunction(
  { config, msix, state, common, legacy, interrupts }: FunctionParts,
  queues: readonly QueueState[],
  device: Uint8Array,
): FunctionState {
  const { driverFeatures, progress } = state;
  const { MODERN, LEGACY, NONE } = DriverInterfaceCode;
  const used = progress.interface;
  return {
    interface: used === undefined ? NONE : used === 'modern' ? MODERN : LEGACY,
    status: progress.status,
    started: progress.started ? 1 : 0,
    faulted: progress.faulted ? 1 : 0,
    isrStatus: interrupts.isr,
    configGeneration: state.config.generation,
    configVector: state.configVector,
    driverFeatures0: driverFeatures[0],
    driverFeatures1: driverFeatures[1],
    driverFeatures2: driverFeatures[2],
    driverFeatures3: driverFeatures[3],
    deviceFeatureSelect: common.deviceFeatureSelect,
    driverFeatureSelect: common.driverFeatureSelect,
    queueSelect: common.queueSelect,
    legacyQueueSelect: legacy.queueSelect,
    configSpace: bytesFrom(PciConfigSize.PCI_CFG_SPACE_SIZE, (at) => config.get(at, 1)),
    msixTable: bytesFrom(msix?.tableBytes ?? 0, (at) => msix?.readTable(at, 1) ?? 0),
    msixPending: bytesFrom(msix?.pbaBytes ?? 0, (at) => msix?.readPba(at, 1) ?? 0),
    deviceConfig: state.config.bytes,
    queues,
    device,
  };
}

/**
 * A reset under way is over for the device that takes the state over: it has nothing to finish. A fault has ended all rings: what was under
 * way in them is the driver's to take back, by a reset.
 */
function saveQueue(state: DeviceState, queue: QueueConfig): QueueState | string {
  if (state.isQueueResetting(queue)) return registersAfterReset(state, queue);
  const ring = state.progress.faulted ? undefined : state.session?.ring(queue.index);
  const saved = ring?.save() ?? NOWHERE;
  return typeof saved === 'string' ? saved : registersOf(queue, saved);
}

/** The registers of a queue that was reset by itself. */
export function registersAfterReset(state: DeviceState, { index, maxSize }: QueueConfig): QueueState {
  const queue = new QueueConfig(index, maxSize);
  if (!state.accepted(VirtioFeature.VIRTIO_F_RING_PACKED)) queue.size = powerOfTwoAtMost(maxSize);
  return registersOf(queue, NOWHERE);
}

export function registersOf(queue: QueueConfig, ring: RingState): QueueState {
  const { size, vector, enabled, descriptorArea, driverArea, deviceArea } = queue;
  return {
    size,
    vector,
    enabled: enabled ? 1 : 0,
    descriptorAreaLow: descriptorArea.low,
    descriptorAreaHigh: descriptorArea.high,
    driverAreaLow: driverArea.low,
    driverAreaHigh: driverArea.high,
    deviceAreaLow: deviceArea.low,
    deviceAreaHigh: deviceArea.high,
    ...ring,
  };
}

function saveDevice({ device }: FunctionParts, to: StateDestination): Uint8Array | string {
  try {
    return device.saveState?.(to) ?? new Uint8Array(0);
  } catch (error) {
    return `the device could not save its state: ${describeError(error)}`;
  }
}

function bytesFrom(lengthBytes: number, byteAt: (offset: number) => number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, (_, offset) => byteAt(offset));
}
