/**
 * A device's state on its way to a file, and from one: what VHOST_USER_SET_DEVICE_STATE_FD moves, and where the rings stood. A file says nothing of when it is
 * read: so the state waits for the driver whose rings go on there, and any other one finds the device as at power-on.
 */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import type { DeviceRun } from './device-run.js';
import { deviceStateOf } from './device-state.js';
import { decodeMovedState, encodeMovedState } from './moved-state.js';
import { VhostUserLimit } from './protocol.js';

/** What a file has of a function. */
export interface FileState {
  /** Of each ring, in the encoding of VHOST_USER_SET_VRING_BASE. */
  readonly bases: readonly number[];
  /** As `moved-state.ts` has it. */
  readonly moved: Uint8Array;
}

/**
 * What another back-end has to know of a device whose rings are stopped. It is a copy: the device keeps what it has.
 * @throws Error where the device cannot tell it, or where it is too large
 */
export function stateNow(run: DeviceRun, device: VirtioDevice): Uint8Array {
  try {
    // A driver may have said what it wants before its first ring starts.
    const features = run.session?.features ?? run.features ?? 0n;
    const state = encodeMovedState(device, { features, device: deviceStateOf(device) });
    if (state.length <= VhostUserLimit.STATE_BYTES) return state;
    throw new Error(`its state has ${state.length} bytes, and ${VhostUserLimit.STATE_BYTES} are allowed`);
  } finally {
    // It is this device's still, with all that is kept of it.
    device.unhold?.();
  }
}

/** Undefined where no driver has been at work since the device was reset. @throws Error where it cannot be told now */
export function saveToFile(run: DeviceRun, device: VirtioDevice): FileState | undefined {
  if (run.running) throw new Error('its guest is at work: pause the VM first (QMP: stop)');
  if (run.faulted) throw new Error('its driver broke the rules: reset it in the guest first');
  if (run.settled !== undefined) throw new Error('it is being reset: try again');
  if (run.rest.awaitsDriver) throw new Error('what was restored last is not in use by a VM yet');
  // One that has agreed on features may have said what it wants, before its first ring starts.
  if (run.session === undefined && run.features === undefined) return undefined;
  return { bases: run.vrings.map((vring) => run.baseOf(vring)), moved: stateNow(run, device) };
}

/** Answers why it is no state for this device, which is as at power-on then. */
export async function loadFromFile(
  run: DeviceRun,
  device: VirtioDevice,
  offered: bigint,
  { bases, moved }: FileState,
): Promise<string | undefined> {
  if (run.session !== undefined || run.settled !== undefined) return 'a driver is at work on it';
  if (bases.length !== run.vrings.length)
    return `it is the state of a device of ${bases.length} queues, and this one has ${run.vrings.length}`;
  const state = decodeMovedState(moved, device, offered);
  return typeof state === 'string' ? state : run.restore({ features: state.features, bases }, state.device);
}
