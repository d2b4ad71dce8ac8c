import type { GuestMemory } from '../memory/guest-memory.js';
import { EVENT_SUPPRESS_ALIGN, EVENT_SUPPRESS_BYTES, descriptorAreaBytes } from './defs.js';
import type { RingPlacement } from './ring-base.js';

/**
 * The three areas of a packed ring as arrays over guest memory, of 32 bits an element for the reason that `SplitAreas` gives. A
 * descriptor's flags, which hand it over, are read and written together with its id, and an event suppression structure is one element: its
 * two fields are never seen at odds.
 */
export interface PackedAreas {
  /** The descriptor ring: `DescWord`, `VIRTQ_DESC_WORDS` for each descriptor. */
  readonly descriptors: Int32Array;
  /** `desc_event_off_wrap` in the low half, flags in the high half: the driver's, which the device reads. */
  readonly driverEvent: Int32Array;
  /** The same of the device, which the driver reads. */
  readonly deviceEvent: Int32Array;
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
  if ([descriptorsAt, driverAt, deviceAt].some((at) => at % EVENT_SUPPRESS_ALIGN !== 0)) {
    return 'guest memory is not aligned in this process';
  }
  return {
    descriptors: new Int32Array(descriptors.view.buffer, descriptorsAt, descriptorBytes / 4),
    driverEvent: new Int32Array(driver.view.buffer, driverAt, 1),
    deviceEvent: new Int32Array(device.view.buffer, deviceAt, 1),
  };
}
