/**
 * The mounts that have no function of their own: each on a queue of the chassis's one multiplexing function, which is plugged when the
 * first of them comes. Only inside the chassis's queue of jobs.
 */
import { MUX_TAG_MAX_BYTES } from '../devices/9p/mux-config.js';
import type { Attachment, MountToAttach } from './attachment.js';
import { ChassisError, type Detached, type DetachQuery } from './control/api.js';
import { QUEUES_PER_DEVICE, queuesTaken } from './chassis/capacity.js';
import { termsOf, type ChassisModel, type MountRecord, type SeatRecord } from './chassis/chassis.js';
import { checkTags, plan } from './chassis/planner.js';
import type { DeviceFunctions } from './device-functions.js';
import { MUX_TAG } from './mount-command.js';
import type { VmSlots } from './vm-slots.js';

export interface QueueMountsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Plugs mounts of one slot in, or parks them: all of them or none. */
  readonly plugIn: (mounts: readonly MountRecord[], timeoutMs: number) => Promise<void>;
  /** As an earlier daemon noted it. */
  readonly firstTag: string | undefined;
}

export class QueueMounts {
  private readonly options: QueueMountsOptions;
  /** The tag of the last mount on the first queue. */
  firstTag: string | undefined;

  constructor(options: QueueMountsOptions) {
    this.options = options;
    this.firstTag = options.firstTag;
  }

  /**
   * Puts each mount on a queue: all of them or none.
   * @throws ChassisError TAG_INVALID, TAG_IN_USE, NO_SLOT_FREE, or why the function cannot be plugged
   */
  async add(request: Attachment): Promise<SeatRecord[]> {
    const { model, devices } = this.options;
    const tags = request.mounts.map(({ tag }) => tag);
    checkTags(model, tags);
    tags.forEach(checkMuxTag);
    const total = model.seats.size + tags.length;
    if (total > QUEUES_PER_DEVICE) throw queuesTaken(total, QUEUES_PER_DEVICE);
    this.checkFunction(request);
    const mux = model.mux ?? this.place(request);
    const isNew = model.mux === undefined;
    const added: SeatRecord[] = [];
    try {
      // A guest reads the tag of the first queue when it finds the function: the mounts are there before.
      if (isNew) await devices.provide(mux, this.options.slots.choose(mux));
      for (const mount of request.mounts) added.push(await this.seat(mux, mount));
      if (isNew) await this.options.plugIn([mux], request.timeoutMs);
    } catch (error) {
      for (const seat of added) await this.undo(mux, seat);
      if (isNew && model.mux !== mux) await devices.cut(mux);
      throw error;
    }
    return added;
  }

  /**
   * Takes a mount off its queue; by force also while the guest has it mounted, and then it answers what was lost.
   * @throws ChassisError MOUNT_BUSY
   */
  async detach(seat: SeatRecord, query: DetachQuery): Promise<Detached> {
    const { tag } = seat;
    if (query.slot || query.keepFunction) {
      throw new ChassisError(
        'BAD_REQUEST',
        `${JSON.stringify(tag)} has no slot and no function of its own: it is a mount on a queue`,
        'detach it without --slot and --keep-function',
      );
    }
    const { model, devices } = this.options;
    const { mux } = model;
    if (!mux) throw new ChassisError('NO_MOUNT', `${JSON.stringify(tag)} went with its function`);
    const lost = await devices.carried.removeSeat(mux, seat.queue, query.force);
    if (model.seats.get(tag) === seat) model.seats.delete(tag);
    return { tags: [tag], ...((lost.fids > 0 || lost.openFiles > 0) && { lost }) };
  }

  private async seat(mux: MountRecord, mount: MountToAttach) {
    const { model, devices } = this.options;
    const { tag, source } = mount;
    const queues = this.freeQueues(tag);
    if (queues.length === 0) throw firstQueueKept(this.firstTag);
    const queue = await devices.carried.addSeat(mux, { tag, source, ...termsOf(mount) }, queues);
    const seat: SeatRecord = { tag, source, ...termsOf(mount), queue };
    model.seats.set(tag, seat);
    if (queue === 0) this.firstTag = tag;
    return seat;
  }

  /**
   * In order. The first queue is a plain 9p device's for a guest that knows no others, and such a guest would find another mount under the
   * tag that it has read once: while a VM has the function, the queue is kept for that tag.
   */
  private freeQueues(tag: string): number[] {
    const { model } = this.options;
    const taken = new Set(Array.from(model.seats.values(), ({ queue }) => queue));
    if (model.mux && model.isPresent(model.mux) && tag !== this.firstTag) taken.add(0);
    return Array.from({ length: QUEUES_PER_DEVICE }, (_, queue) => queue).filter(
      (queue) => !taken.has(queue),
    );
  }

  /** For an attach that failed: whatever else fails meanwhile is not what its operator is to hear of. */
  private async undo(mux: MountRecord, seat: SeatRecord): Promise<void> {
    const { model, devices } = this.options;
    model.seats.delete(seat.tag);
    await devices.carried.removeSeat(mux, seat.queue, true).catch(() => undefined);
  }

  private place({ port }: Attachment): MountRecord {
    const [place] = plan(this.options.model, { tags: [MUX_TAG] }, this.options.slots.unusable);
    return {
      ...{ tag: MUX_TAG, source: { type: 'queues' }, readOnly: false, permanent: false, port },
      ...place,
      mux: true,
    };
  }

  /** @throws ChassisError CHASSIS_IN_USE while it is being unplugged, BAD_REQUEST where it is there over another port */
  private checkFunction({ port }: Attachment): void {
    const { model, devices, slots } = this.options;
    const { mux } = model;
    if (!mux) return;
    if (model.slot(mux.slot).state === 'unplugging') {
      throw new ChassisError(
        'CHASSIS_IN_USE',
        'the function whose queues carry mounts is being unplugged',
        'wait for that, then try again',
      );
    }
    const used = devices.use(mux)?.port ?? slots.choose(mux).port;
    if (port === 'auto' || port === used) return;
    throw new ChassisError(
      'BAD_REQUEST',
      `the function whose queues carry mounts is there already, over ${used}`,
      `leave --port out, or detach it first: chassis detach ${MUX_TAG} --slot`,
    );
  }
}

function firstQueueKept(tag: string | undefined): ChassisError {
  return new ChassisError(
    'NO_SLOT_FREE',
    `the only free queue is the first, which a guest may know by the tag ${JSON.stringify(tag)}`,
    'attach with that tag, or use --via tree',
  );
}

/** @throws ChassisError TAG_INVALID */
function checkMuxTag(tag: string): void {
  if (tag === MUX_TAG)
    throw new ChassisError(
      'TAG_INVALID',
      `${MUX_TAG} is the tag of the function itself`,
      'choose another tag',
    );
  const lengthBytes = Buffer.byteLength(tag);
  if (lengthBytes <= MUX_TAG_MAX_BYTES) return;
  throw new ChassisError(
    'TAG_INVALID',
    `the tag has ${lengthBytes} bytes in UTF-8; ${MUX_TAG_MAX_BYTES} are possible on a queue`,
    'choose a shorter tag',
  );
}
