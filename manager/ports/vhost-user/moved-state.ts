/**
 * What VHOST_USER_SET_DEVICE_STATE_FD moves from one back-end to another: the device's own state, and what tells whether the other one can go on
 * from it.
 *
 *     magic[4]="ChVs" version[4]=1 length[4] checksum[4]
 *     deviceId[4] featuresLow[4] featuresHigh[4] config[b] device[b]
 *
 * Little-endian, as `devices/virtio/state/` has it; `[b]` is a length of 4 bytes and the bytes. The features are those that the driver
 * agreed to, without the protocol's own, and 0 where there is none. Of the config space, bytes that may differ are 0. Rings are not in here: their bases
 * are the front-end's to move, and what they hold is in the guest's memory.
 */
import { sameBytes } from '../../../devices/same-bytes.js';
import { StateReader } from '../../../devices/state-reader.js';
import { StateWriter } from '../../../devices/state-writer.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import {
  beginState,
  problemOfHeader,
  sealState,
  StateHeader,
  type StateKind,
} from '../../../devices/virtio/state/header.js';

const KIND: StateKind = { name: 'vhost-user back-end', magic: 0x7356_6843, version: 1 };
const LOW_BITS = 0xffff_ffffn;

export interface MovedState {
  /** As agreed on with the driver. */
  readonly features: bigint;
  /** `VirtioDevice.saveState` */
  readonly device: Uint8Array;
}

export function encodeMovedState(device: VirtioDevice, state: MovedState): Uint8Array {
  const writer = new StateWriter();
  beginState(writer, KIND);
  writer.write(4, device.deviceId);
  writer.write(4, Number(state.features & LOW_BITS));
  writer.write(4, Number(state.features >> 32n));
  writer.blob(lastingConfig(device));
  writer.blob(state.device);
  return sealState(writer.bytes);
}

/** Answers why the bytes are no state for `device`, whose back-end offers these features. The device's part is still to be checked. */
export function decodeMovedState(
  bytes: Uint8Array,
  device: VirtioDevice,
  offered: bigint,
): MovedState | string {
  const problem = problemOfHeader(bytes, KIND);
  if (problem !== undefined) return problem;
  const reader = new StateReader(bytes.subarray(StateHeader.BYTES));
  const deviceId = reader.read(4);
  const features = BigInt(reader.read(4)) | (BigInt(reader.read(4)) << 32n);
  const config = reader.blob();
  const state = reader.blob();
  if (reader.overrun || reader.leftBytes > 0) return 'the state has another length than its parts';
  if (deviceId !== device.deviceId)
    return `it is the state of a device of type ${deviceId}, and this one is of type ${device.deviceId}`;
  if ((features & ~offered) !== 0n) return 'its driver uses features that are not on offer here';
  if (!sameBytes(config, lastingConfig(device))) return 'its config space says other things than this one';
  return { features, device: state };
}

/** The config space with zeros where two devices may differ of which one takes over from the other. */
function lastingConfig({ config, changingConfig = [] }: VirtioDevice): Uint8Array {
  const lasting = config.slice();
  for (const { offset, lengthBytes } of changingConfig) lasting.fill(0, offset, offset + lengthBytes);
  return lasting;
}
