/** The mounts that have a function of their own: several of one attach share a slot. Only inside the chassis's queue of jobs. */
import { termsOf, type ChassisModel, type MountRecord } from './chassis/chassis.js';
import { keptFunctions, plan } from './chassis/planner.js';
import type { Attachment } from './attachment.js';
import type { DeviceFunctions } from './device-functions.js';
import type { VmSlots } from './vm-slots.js';

export interface FunctionMountsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Plugs mounts of one slot in, or parks them: all of them or none. */
  readonly plugIn: (mounts: readonly MountRecord[], timeoutMs: number) => Promise<void>;
  readonly log: (message: string) => void;
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

  /** No PCI event. */
  private async reuse(kept: readonly MountRecord[], { mounts: wanted }: Attachment): Promise<MountRecord[]> {
    const { model, devices } = this.options;
    const mounts = wanted.map((mount, i) => ({
      ...kept[i],
      ...{ source: mount.source, ...termsOf(mount), kept: false },
    }));
    const shown: MountRecord[] = [];
    try {
      for (const mount of mounts) {
        await devices.setSource(mount);
        shown.push(mount);
      }
    } catch (error) {
      for (const mount of shown) await this.keepAgain(mount);
      throw error;
    }
    for (const mount of mounts) model.change(mount);
    return mounts;
  }

  private async keepAgain(mount: MountRecord): Promise<void> {
    const { model, devices, log } = this.options;
    try {
      await devices.setSource({ ...mount, kept: true });
    } catch (error) {
      // The guest was quicker, and has it mounted: then it is attached.
      model.change(mount);
      log(`${mount.tag} stays attached: ${String(error)}`);
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
