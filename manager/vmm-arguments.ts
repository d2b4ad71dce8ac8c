/** The arguments of the VMM that a chassis is for, with which it starts as the chassis is now. */
import type { ChassisModel } from './chassis/chassis.js';
import type { QemuArgs, QemuArgsRequest } from './control/api.js';
import type { DeviceFunctions } from './device-functions.js';
import type { VmSlots } from './vm-slots.js';
import type { VmmEndpoint } from './vmm/driver.js';
import { VMM_KINDS } from './vmm/kinds.js';

export interface VmmArgumentsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  readonly vmm: VmmEndpoint;
}

/** Makes the functions ready for that VMM, and answers what to start it with. @throws ChassisError as `DeviceFunctions.provide` */
export async function vmmArguments(
  { model, devices, slots, vmm: { type, socketPath } }: VmmArgumentsOptions,
  request: QemuArgsRequest,
): Promise<QemuArgs> {
  const kind = VMM_KINDS[type];
  const abilities = kind.expected(request);
  const { slotCount } = model;
  const used = model.slotNumbers.filter((slot) => (model.slot(slot).functions & 1) !== 0);
  for (const device of used.flatMap((slot) => model.devicesIn(slot))) {
    // What a VM has open stays as it is: these arguments are for the next one.
    if (model.isPresent(device) || devices.isConnected(device)) continue;
    await devices.provide(device, slots.choose(device, abilities));
  }
  const occupied = new Map(used.map((slot) => [slot, slots.pluggable(slot)]));
  return { vmm: type, args: kind.args({ request, slotCount, socketPath, occupied }) };
}
