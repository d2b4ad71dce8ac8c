/** Plugging devices in, and taking back what does not work out. */
import type { ChassisModel, DeviceRecord } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import type { VmSlots } from './vm-slots.js';

export interface PluggingOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Notes how the chassis is now, for the next daemon. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
}

export class Plugging {
  private readonly options: PluggingOptions;

  constructor(options: PluggingOptions) {
    this.options = options;
  }

  /** Plugs devices of one slot in, or parks them for the next VM: all of them or none. */
  async plugIn(added: readonly DeviceRecord[], timeoutMs: number): Promise<void> {
    const { model, devices, slots, record } = this.options;
    try {
      for (const device of added) await devices.provide(device, slots.choose(device));
      model.attach(added);
      // Before a guest can see it: what the journal does not have, the next daemon takes away.
      record();
      await slots.plug(added[0].slot, timeoutMs);
    } catch (error) {
      await this.takeBack(added);
      throw error;
    }
  }

  /** Has a new device process serve what the lost one did. */
  async provideAll(): Promise<void> {
    const { model, devices, slots } = this.options;
    for (const device of model.devices()) {
      try {
        // As it was: a VM may be about to connect to it again.
        await devices.provide(device, devices.lastUse(device) ?? slots.choose(device));
      } catch (error) {
        slots.note(device.slot, error);
      }
    }
    await slots.revive();
  }

  /** Undoes an attach, as far as it went. */
  private async takeBack(added: readonly DeviceRecord[]): Promise<void> {
    const { model, devices, slots } = this.options;
    if (model.device(added[0].tag) === added[0]) await slots.takeOut(added[0].slot);
    for (const device of added) {
      if (model.device(device.tag) === device) {
        if (model.isPresent(device)) continue;
        model.remove(device.tag);
      }
      await devices.cut(device);
    }
  }
}
