import type { GuestMemory } from '../memory/guest-memory.js';
import { EVENT_SUPPRESS_ALIGN, EVENT_SUPPRESS_BYTES, descriptorAreaBytes } from './defs.js';
import type { RingPlacement } from './ring-base.js';

/**
 * The three areas of a packed ring as arrays over guest memory.
 *
 * A descriptor's flags hand it over, so they are elements of a 16-bit array, for the reason that `SplitAreas` gives; its other fields go
 * through a DataView. An event suppression structure is one element of 32 bits: its two fields are never seen at odds.
 */
export interface PackedAreas {
  readonly descriptors: DataView;
  /** Where the descriptor ring starts in `descriptors`. */
  readonly descriptorsStart: number;
  /** The same bytes as the descriptor ring, in words of 16 bits. */
  readonly descriptorWords: Uint16Array;
  /** `desc_event_off_wrap` in the low half, flags in the high half: the driver's, which the device reads. */
  readonly driverEvent: Uint32Array;
  /** The same of the device, which the driver reads. */
  readonly deviceEvent: Uint32Array;
}

/** The ring's areas, or what is wrong with them. */
export function resolvePackedAreas(placement: RingPlacement, memory: GuestMemory): PackedAreas | string {
  const descriptorBytes = descriptorAreaBytes(placement.size);
  const descriptors = memory.ringWindow(placement.descriptorArea, descriptorBytes);
  if (descriptors === undefined) return 'the descriptor area is not in memory';
  const driver = memory.ringWindow(placement.driverArea, EVENT_SUPPRESS_BYTES);
  if (driver === undefined) return 'the driver area is not in memory';
  const device = memory.ringWindow(placement.deviceArea, EVENT_SUPPRESS_BYTES);
  if (device === undefined) return 'the device area is not in memory';
  const descriptorsAt = descriptors.view.byteOffset + descriptors.offset;
  const driverAt = driver.view.byteOffset + driver.offset;
  const deviceAt = device.view.byteOffset + device.offset;
  if (
    descriptorsAt % 2 !== 0 ||
    driverAt % EVENT_SUPPRESS_ALIGN !== 0 ||
    deviceAt % EVENT_SUPPRESS_ALIGN !== 0
  ) {
    return 'guest memory is not aligned in this process';
  }
  return {
    descriptors: descriptors.view,
    descriptorsStart: descriptors.offset,
    descriptorWords: new Uint16Array(descriptors.view.buffer, descriptorsAt, descriptorBytes / 2),
    driverEvent: new Uint32Array(driver.view.buffer, driverAt, 1),
    deviceEvent: new Uint32Array(device.view.buffer, deviceAt, 1),
  };
}
