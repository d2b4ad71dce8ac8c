/** How mounts, disks and cards leave a chassis: what may go, what would go along, and what is kept. The caller runs one operation at a time. */
import { ChassisError, type DetachQuery } from './control/api.js';
import { isMount, type ChassisModel, type DeviceRecord, type MountRecord } from './chassis/chassis.js';
import type { DeviceFunctions } from './device-functions.js';
import { isDead } from './chassis/hotplug.js';
import { CUT_OFF, type VmSlots } from './vm-slots.js';
import type { VmmEndpoint } from './vmm/driver.js';

export interface DeparturesOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  readonly vmm: VmmEndpoint;
}

export class Departures {
  private readonly model: ChassisModel;
  private readonly devices: DeviceFunctions;
  private readonly slots: VmSlots;
  private readonly vmm: VmmEndpoint;

  constructor(options: DeparturesOptions) {
    this.model = options.model;
    this.devices = options.devices;
    this.slots = options.slots;
    this.vmm = options.vmm;
  }

  /**
   * Unplugs a mount, or takes it away where no VM has it; answers the tags that went.
   * @throws ChassisError NO_MOUNT, SLOT_SHARED, MOUNT_BUSY, MOUNT_PERMANENT, GUEST_TIMEOUT…
   */
  async detach(tag: string, query: DetachQuery): Promise<string[]> {
    const mount = this.model.mount(tag);
    if (!mount) {
      throw new ChassisError(
        'NO_MOUNT',
        `no mount has the tag ${JSON.stringify(tag)}`,
        'list them with: chassis mounts',
      );
    }
    const carried = mount.tree ? this.model.children : mount.mux ? this.model.seats : NOTHING;
    if (carried.size > 0 && !query.slot) throw carriesMounts(mount, [...carried.keys()]);
    if (query.keepFunction) return this.keep(mount, query);
    return this.leave(mount, query);
  }

  /**
   * Unplugs a function, or takes it away where no VM has it; answers the tags that went.
   * @throws ChassisError as `detach`
   */
  leave(device: DeviceRecord, query: DetachQuery): Promise<string[]> {
    return this.model.isPresent(device) ? this.unplug(device, query) : this.discard(device, query);
  }

  /** Takes away what a function shows and leaves the function, so that nothing else of its slot is touched. */
  private async keep(mount: MountRecord, query: DetachQuery): Promise<string[]> {
    const { tag } = mount;
    if (query.slot) throw new ChassisError('BAD_REQUEST', '--slot ejects what --keep-function would keep');
    if (!this.model.isPresent(mount)) {
      throw new ChassisError(
        'BAD_REQUEST',
        `no VM has ${JSON.stringify(tag)}, so there is no function to keep`,
        'detach it without --keep-function',
      );
    }
    if (mount.tree || mount.mux)
      throw new ChassisError('BAD_REQUEST', `${JSON.stringify(tag)} has no mount of its own to give up`);
    if (isDead(this.model.slot(mount.slot))) throw cutOff(mount);
    if (!mount.kept) {
      await this.devices.setSource({ ...mount, kept: true });
      this.model.change({ ...mount, kept: true });
    }
    return [tag];
  }

  private async unplug(mount: DeviceRecord, query: DetachQuery): Promise<string[]> {
    const leaving = this.model.devicesIn(mount.slot).filter((other) => this.model.isPresent(other));
    const others = leaving.filter((other) => other !== mount && (!isMount(other) || !other.kept));
    if (others.length > 0 && !query.slot) throw slotShared(mount, others);
    if (this.slots.isStuck(mount.slot)) throw this.permanent(mount);
    if (!query.force) {
      if (isDead(this.model.slot(mount.slot))) throw cutOff(mount);
      await this.refuseIfBusy(leaving);
    }
    await this.slots.unplug(mount.slot, query.timeoutMs);
    return leaving.map(({ tag }) => tag);
  }

  /** Takes away what no VM that we know has. */
  private async discard(mount: DeviceRecord, query: DetachQuery): Promise<string[]> {
    const leaving = query.slot
      ? this.model.devicesIn(mount.slot).filter((other) => !this.model.isPresent(other))
      : [mount];
    for (const other of leaving) {
      if (!query.force && !(await this.devices.isFree(other))) throw this.heldElsewhere(other);
    }
    for (const other of leaving) {
      this.model.remove(other.tag);
      await this.devices.cut(other);
    }
    return leaving.map(({ tag }) => tag);
  }

  /** A guest that has a tag mounted does not let it go, and its hot-plug hangs until it is unmounted. Of a disk, nobody knows. */
  private async refuseIfBusy(leaving: readonly DeviceRecord[]): Promise<void> {
    await this.devices.refresh();
    const busy = leaving.filter((mount) => (this.devices.counters(mount)?.fids ?? 0) > 0);
    if (busy.length === 0) return;
    throw new ChassisError(
      'MOUNT_BUSY',
      `the guest has ${busy.map(({ tag }) => JSON.stringify(tag)).join(', ')} mounted`,
      'unmount it in the guest first (umount), or use --force, which can hang the guest',
    );
  }

  private heldElsewhere(mount: DeviceRecord): ChassisError {
    return new ChassisError(
      'MOUNT_BUSY',
      `a VMM that does not answer at ${this.vmm.socketPath} has ${JSON.stringify(mount.tag)} open`,
      'stop that VM, or use --force, which breaks the function in its guest',
    );
  }

  private permanent(mount: DeviceRecord): ChassisError {
    const vmm = this.slots.driver?.vmm;
    return new ChassisError(
      'MOUNT_PERMANENT',
      `${JSON.stringify(mount.tag)} is permanent: ${vmm?.type} ${vmm?.version} would abort if its slot were unplugged`,
      'stop the VM first',
    );
  }
}

/** What carries no other mounts. */
const NOTHING: ReadonlyMap<string, never> = new Map<string, never>();

function carriesMounts({ tag, tree }: MountRecord, carried: readonly string[]): ChassisError {
  const first = carried.slice(0, 8).map((other) => JSON.stringify(other));
  const more = carried.length - first.length;
  const what = tree ? 'is the tree, which carries' : 'carries on its queues';
  return new ChassisError(
    'SLOT_SHARED',
    `${JSON.stringify(tag)} ${what}: ${first.join(', ')}${more > 0 ? ` and ${more} more` : ''}`,
    'detach those first, or all of them with --slot',
  );
}

function cutOff(mount: DeviceRecord): ChassisError {
  return new ChassisError(
    'DEVICE_PROCESS_LOST',
    `${JSON.stringify(mount.tag)} was ${CUT_OFF}`,
    'stop the VM first; --force asks the guest all the same, which can hang its hot-plug',
  );
}

function slotShared(mount: DeviceRecord, others: readonly DeviceRecord[]): ChassisError {
  const names = others.map(({ tag }) => JSON.stringify(tag)).join(', ');
  return new ChassisError(
    'SLOT_SHARED',
    `${JSON.stringify(mount.tag)} shares slot ${mount.slot} with ${names}: a VM ejects whole slots only`,
    'detach all of them with --slot, or this one alone with --keep-function, which leaves its function in the guest, empty',
  );
}
