/** The mounts that have a function of their own: several of one attach share a slot. Only inside the chassis's queue of jobs. */
import { termsOf, type ChassisModel, type MountRecord } from './chassis/chassis.js';
import { keptFunctions, plan } from './chassis/planner.js';
import type { Attachment } from './attachment.js';
import type { DeviceFunctions } from './device-functions.js';
import type { Log } from './logging/log.js';
import type { VmSlots } from './vm-slots.js';

export interface FunctionMountsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Plugs mounts of one slot in, or parks them: all of them or none. */
  readonly plugIn: (mounts: readonly MountRecord[], timeoutMs: number) => Promise<void>;
  /** Notes how the chassis is now. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
  readonly log: Log;
}

export class FunctionMounts {
  private readonly options: FunctionMountsOptions;

  constructor(options: FunctionMountsOptions) {
    this.options = options;
  }

  /** Plugs them in, or shows them in functions that the guest has kept: all of them or none. */
  async add(attachment: Attachment): Promise<MountRecord[]> {
    const kept = keptFunctions(this.options.model, attachment);
    if (kept) return this.reuse(kept, attachment);
    const mounts = this.place(attachment);
    await this.options.plugIn(mounts, attachment.timeoutMs);
    return mounts;
  }

  /** No PCI event. Noted before the guest can see them: one that it has mounted is never unknown to the next daemon. */
  private async reuse(kept: readonly MountRecord[], { mounts: wanted }: Attachment): Promise<MountRecord[]> {
    const { model, devices, record } = this.options;
    const mounts = wanted.map((mount, i) => ({
      ...kept[i],
      ...{ source: mount.source, ...termsOf(mount), kept: false },
    }));
    for (const mount of mounts) model.change(mount);
    const shown = new Set<MountRecord>();
    try {
      record();
      for (const mount of mounts) {
        await devices.setSource(mount);
        shown.add(mount);
      }
    } catch (error) {
      for (const [i, mount] of mounts.entries()) await this.keepAgain(kept[i], mount, shown.has(mount));
      throw error;
    }
    return mounts;
  }

  private async keepAgain(kept: MountRecord, mount: MountRecord, isShown: boolean): Promise<void> {
    const { model, devices, log } = this.options;
    try {
      if (isShown) await devices.setSource({ ...mount, kept: true });
      model.change(kept);
    } catch (error) {
      // The guest was quicker, and has it mounted: then it is attached.
      log.with({ tag: mount.tag }).warn('stays attached', error);
    }
  }

  private place(attachment: Attachment): MountRecord[] {
    const { mounts, permanent, port, slot, function: fn } = attachment;
    const tags = mounts.map((mount) => mount.tag);
    const places = plan(this.options.model, { tags, slot, function: fn }, this.options.slots.unusable);
    return mounts.map((mount, i) => ({
      ...{ tag: mount.tag, source: mount.source, permanent, port },
      ...termsOf(mount),
      ...places[i],
    }));
  }
}
