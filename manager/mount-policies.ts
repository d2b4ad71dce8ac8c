/** What the guests of a chassis may do with its mounts, while they have them. */
import { checkCarrier, checkPolicy } from './attachment.js';
import type { AuditPage, AuditQuery, MountTerms, Policy, PolicyChange, PolicyView } from './control/api.js';
import type { ChassisModel } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import { requireMount, type AnyMount } from './mount-lookup.js';

export interface MountPoliciesOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Notes how the chassis is now. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
}

export class MountPolicies {
  private readonly options: MountPoliciesOptions;

  constructor(options: MountPoliciesOptions) {
    this.options = options;
  }

  /** @throws ChassisError NO_MOUNT */
  async show(tag: string): Promise<PolicyView> {
    return viewOf(requireMount(this.options.model, tag).mount);
  }

  /**
   * Puts another policy in the place of the one there is: the guest's next operation passes under the new one. It holds for the next
   * device process too; where there is none at the moment, for that one alone.
   * @throws ChassisError NO_MOUNT, or BAD_REQUEST, and the old one stays
   */
  change(tag: string, change: PolicyChange): Promise<PolicyView> {
    const { model, devices, exclusively } = this.options;
    return exclusively(async () => {
      const { mount, via, ref } = requireMount(model, tag);
      const changed = changedTerms(mount, change);
      checkPolicy(changed.policy);
      checkCarrier(via, changed.policy);
      await this.changing(tag, async () => {
        if (devices.running) await devices.requireRunning().setPolicy({ ...ref, ...changed });
        model.setTerms(mount, changed);
      });
      return viewOf(mount);
    });
  }

  /**
   * Takes a mount from its guest for good, and leaves it plugged in.
   * @throws ChassisError NO_MOUNT
   */
  revoke(tag: string): Promise<PolicyView> {
    const { model, devices, exclusively } = this.options;
    return exclusively(async () => {
      const { mount, ref } = requireMount(model, tag);
      // Written down first: whatever becomes of the device process, the next one gives it to nobody.
      model.setTerms(mount, { revoked: true });
      await this.changing(tag, async () => {
        if (devices.running) await devices.requireRunning().revoke(ref);
      });
      return viewOf(mount);
    });
  }

  /**
   * What was refused of late, or what comes. May wait, and keeps nobody else waiting.
   * @throws ChassisError NO_MOUNT, DEVICE_PROCESS_LOST
   */
  async audit(tag: string, query: AuditQuery): Promise<AuditPage> {
    const { ref } = requireMount(this.options.model, tag);
    return this.options.devices.requireRunning().audit({ ...ref, ...query });
  }

  /** Where this daemon ends in the middle, the next one tells the device process again what holds. */
  private async changing(tag: string, change: () => Promise<void>): Promise<void> {
    const { model, record } = this.options;
    model.changing.add(tag);
    try {
      record();
      await change();
    } finally {
      model.changing.delete(tag);
    }
  }
}

function viewOf({ readOnly, policy = {}, revoked }: AnyMount): PolicyView {
  return { readOnly, revoked: revoked ?? false, policy };
}

function changedTerms({ readOnly, policy }: MountTerms, { set, unset }: PolicyChange) {
  const merged: Policy & { readOnly?: boolean } = { readOnly, ...policy };
  for (const name of unset) delete merged[name];
  const { readOnly: isReadOnly = false, ...rest } = { ...merged, ...set };
  return { readOnly: isReadOnly, policy: Object.keys(rest).length > 0 ? rest : undefined };
}
