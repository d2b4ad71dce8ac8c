/** A chassis's mounts as the API shows them, of whichever kind. */
import type { ChassisModel, ChildRecord, MountRecord, SeatRecord } from './chassis/chassis.js';
import type { Mount } from './control/api.js';
import type { DeviceFunctions } from './device-functions.js';
import { functionFacts } from './function-facts.js';
import type { VmSlots } from './vm-slots.js';
import { describeChild, describeMount, describeSeat } from './views.js';

export interface MountViewsOptions {
  readonly chassis: string;
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
}

export class MountViews {
  private readonly options: MountViewsOptions;

  constructor(options: MountViewsOptions) {
    this.options = options;
  }

  /** All of them, as they are now. */
  async all(): Promise<Mount[]> {
    const { model, devices } = this.options;
    await devices.refresh();
    const mounts = [...this.onFunctions(model.mounts()), ...this.onQueues(model.seats.values())];
    const { tree } = model;
    if (!tree) return mounts;
    const known = await devices.carried.childrenOf(tree);
    const view = this.view(tree);
    const children = Array.from(model.children.values(), (child) =>
      describeChild(view, child, known.get(child.tag)),
    );
    return [...mounts, ...children];
  }

  onFunctions(mounts: readonly MountRecord[]): Mount[] {
    return mounts.map((mount) => this.view(mount));
  }

  onQueues(seats: Iterable<SeatRecord>): Mount[] {
    const { model, devices } = this.options;
    const { mux } = model;
    if (!mux) return [];
    const view = this.view(mux);
    return Array.from(seats, (seat) => describeSeat(view, seat, devices.seatCounters(mux, seat.queue)));
  }

  /** New ones. What a listing would ask the device process for is left out: with thousands of mounts, that is no way to answer for one. */
  inTree(tree: MountRecord, children: readonly ChildRecord[], areMounted: boolean): Mount[] {
    const view = this.view(tree);
    return children.map((child) => ({
      ...describeChild(view, child, undefined),
      ...(areMounted && {
        inGuest: child.target === undefined ? ('shown' as const) : ('mounted' as const),
      }),
    }));
  }

  private view(mount: MountRecord): Mount {
    const { chassis, model, devices, slots } = this.options;
    return describeMount(model, mount, functionFacts(chassis, mount, devices, slots));
  }
}
