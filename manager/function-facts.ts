import type { DeviceRecord } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import type { FunctionFacts } from './views.js';
import type { VmSlots } from './vm-slots.js';

/** What there is to tell of a function of this chassis, as of the last time that the device process was asked. */
export function functionFacts(
  chassis: string,
  device: DeviceRecord,
  devices: DeviceFunctions,
  slots: VmSlots,
): FunctionFacts {
  return {
    chassis,
    connected: devices.isConnected(device),
    use: devices.use(device),
    reason: slots.reasons.get(device.tag),
    counters: devices.counters(device),
    driver: devices.driver(device),
  };
}
