/** A device's own state, on its way to another process and from one. */
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import type { GivenDescriptors, SavedDescriptors } from '../../../devices/state-descriptors.js';

/** For another process, with `descriptors` where some can go along. @throws what `saveState` of the device throws */
export function deviceStateOf(device: VirtioDevice, descriptors?: SavedDescriptors): Uint8Array {
  const to = { leavesProcess: true, ...(descriptors !== undefined && { descriptors }) };
  return device.saveState?.(to) ?? new Uint8Array(0);
}

/** Answers why the device refuses it. What it does not take of `descriptors` stays the caller's. */
export async function giveDeviceState(
  device: VirtioDevice,
  bytes: Uint8Array,
  descriptors?: GivenDescriptors,
): Promise<string | undefined> {
  const problem = await device.prepareState?.(bytes, descriptors);
  if (problem !== undefined) return problem;
  if (device.restoreState !== undefined) return device.restoreState(bytes);
  return bytes.length > 0 ? 'the device takes over no state of its own' : undefined;
}
