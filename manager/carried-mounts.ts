/** The mounts that a device process serves on functions that carry many: the children of the tree, and the seats on queues. */
import type { Lost } from './control/api.js';
import {
  termsOf,
  type ChildRecord,
  type MountRecord,
  type Placement,
  type SeatRecord,
} from './chassis/chassis.js';
import type { ChildStatus } from './device-process/protocol.js';
import type { DeviceHost } from './device-process/supervisor.js';
import { functionName } from './function-name.js';
import type { Log } from './logging/log.js';

export interface CarriedMountsOptions {
  /** The device process, unless it is lost. */
  readonly host: () => DeviceHost | undefined;
  /** @throws ChassisError DEVICE_PROCESS_LOST */
  readonly requireRunning: () => DeviceHost;
  /** What a tree is to show that is made anew. */
  readonly children: () => Iterable<ChildRecord>;
  /** What the queues of a multiplexing function are to show that is made anew. */
  readonly seats: () => Iterable<SeatRecord>;
  readonly log: Log;
}

export class CarriedMounts {
  private readonly options: CarriedMountsOptions;

  constructor(options: CarriedMountsOptions) {
    this.options = options;
  }

  /** Puts a mount into the tree. @throws ChassisError TAG_INVALID, TAG_IN_USE, or as the source cannot be opened */
  async addChild(tree: Placement, mount: ChildRecord): Promise<void> {
    const { tag, source, target, watch } = mount;
    const child = {
      function: functionName(tree),
      name: tag,
      source,
      ...termsOf(mount),
      ...(watch && { watch }),
    };
    await this.options.requireRunning().addChild({ ...child, ...(target !== undefined && { target }) });
  }

  /** Resolves once the guest has mounted it at its target. @throws ChassisError GUEST_REFUSED or GUEST_TIMEOUT */
  childMounted(tree: Placement, tag: string, timeoutMs: number): Promise<void> {
    return this.options.requireRunning().childMounted(functionName(tree), tag, timeoutMs);
  }

  /** Resolves once the guest has let it go. @throws ChassisError MOUNT_BUSY, naming who holds it, or GUEST_TIMEOUT */
  releaseChild(tree: Placement, tag: string, timeoutMs: number): Promise<void> {
    return this.options.requireRunning().releaseChild(functionName(tree), tag, timeoutMs);
  }

  /** Takes it out of the tree, in use or not; answers what the guest had of it. Where the process is lost, it is gone already. */
  async removeChild(tree: Placement, tag: string): Promise<Lost> {
    return (await this.options.host()?.removeChild(functionName(tree), tag)) ?? { fids: 0, openFiles: 0 };
  }

  /** What the guest does with the tree's mounts, by tag. Where the process is lost, nothing. */
  async childrenOf(tree: Placement): Promise<ReadonlyMap<string, ChildStatus>> {
    try {
      const children = (await this.options.host()?.children(functionName(tree))) ?? [];
      return new Map(children.map((child) => [child.name, child]));
    } catch (error) {
      this.options.log.warn('the tree cannot be looked at', error);
      return new Map();
    }
  }

  /**
   * Puts a mount on the first of these queues that is free, and answers which.
   * @throws ChassisError NO_SLOT_FREE, or as the source cannot be opened
   */
  addSeat(mux: Placement, mount: Omit<SeatRecord, 'queue'>, queues: readonly number[]): Promise<number> {
    const { tag, source } = mount;
    const seat = { function: functionName(mux), queues: [...queues], tag, source, ...termsOf(mount) };
    return this.options.requireRunning().addSeat(seat);
  }

  /**
   * Takes a queue's mount away; answers what the guest had of it. Where the process is lost, it is gone already.
   * @throws ChassisError MOUNT_BUSY while the guest has it mounted, unless forced
   */
  async removeSeat(mux: Placement, queue: number, force: boolean): Promise<Lost> {
    const lost = await this.options.host()?.removeSeat({ function: functionName(mux), queue, force });
    return lost ?? { fids: 0, openFiles: 0 };
  }

  /** Each on the queue that it had. */
  async fillQueues(mux: MountRecord): Promise<void> {
    for (const seat of this.options.seats()) {
      await this.addSeat(mux, seat, [seat.queue]).catch((error: unknown) =>
        this.options.log.with({ tag: seat.tag }).warn(`not on queue ${seat.queue}`, error),
      );
    }
  }

  /** One whose source has gone is left out, so that it does not keep the others from coming back. */
  async fillTree(tree: MountRecord): Promise<void> {
    for (const child of this.options.children()) {
      await this.addChild(tree, child).catch((error: unknown) =>
        this.options.log.with({ tag: child.tag }).warn('not in the tree', error),
      );
    }
  }
}
