/**
 * The mounts that have no function of their own: directories of the chassis's one multiplexing mount. The tree's own function is
 * plugged when the first of them comes. Waiting for a guest happens outside the chassis's queue, so that a guest which never
 * answers keeps nobody else waiting; what was meant is looked up again afterwards.
 */
import type { Attachment, MountToAttach } from './attachment.js';
import { ChassisError, type Detached, type DetachQuery } from './control/api.js';
import { termsOf, type ChassisModel, type ChildRecord, type MountRecord } from './chassis/chassis.js';
import { TREE_MOUNTS_MAX } from './chassis/capacity.js';
import { checkTags, plan } from './chassis/planner.js';
import type { DeviceFunctions } from './device-functions.js';
import { TREE_TAG } from './mount-command.js';
import type { VmSlots } from './vm-slots.js';

export interface TreeMountsOptions {
  readonly model: ChassisModel;
  readonly devices: DeviceFunctions;
  readonly slots: VmSlots;
  /** Runs a job once those before it have ended. */
  readonly exclusively: <T>(job: () => Promise<T>) => Promise<T>;
  /** Plugs mounts of one slot in, or parks them: all of them or none. */
  readonly plugIn: (mounts: readonly MountRecord[], timeoutMs: number) => Promise<void>;
  /** Notes how the chassis is now. @throws ChassisError STATE_UNWRITABLE */
  readonly record: () => void;
}

export class TreeMounts {
  private readonly options: TreeMountsOptions;
  /** Of those that wait for the guest: what lets them go. */
  private readonly waiting = new Set<() => void>();

  constructor(options: TreeMountsOptions) {
    this.options = options;
  }

  /**
   * Shows mounts in the tree. Only inside the queue.
   * @throws ChassisError TAG_INVALID, TAG_IN_USE, NO_SLOT_FREE, or why the tree's function cannot be plugged; none is there then
   */
  async add(request: Attachment): Promise<ChildRecord[]> {
    const { model, devices, record } = this.options;
    const tags = request.mounts.map(({ tag }) => tag);
    checkTags(model, tags);
    if (tags.includes(TREE_TAG)) throw reserved();
    if (request.mounts.some(({ source, watch }) => watch && source.type === 'memory')) throw unwatchable();
    if (model.children.size + tags.length > TREE_MOUNTS_MAX) throw full();
    const tree = model.tree ?? (await this.plugTree(request.timeoutMs));
    this.requireUsable(tree);
    const children = request.mounts.map(childOf);
    for (const child of children) model.children.set(child.tag, child);
    try {
      // Noted before a guest can see them: one that it has mounted is never unknown to the next daemon.
      record();
      for (const child of children) await devices.carried.addChild(tree, child);
    } catch (error) {
      for (const child of children) await this.drop(child);
      throw error;
    }
    return children;
  }

  /**
   * Waits until the guest's helper has mounted them where they are wanted. Outside the queue. False without a VM that has the tree:
   * then nobody can say.
   * @throws ChassisError GUEST_REFUSED or GUEST_TIMEOUT; none of them is there then
   */
  async mounted(children: readonly ChildRecord[], timeoutMs: number): Promise<boolean> {
    const { model, devices, exclusively } = this.options;
    const { tree } = model;
    const wanted = children.filter((child) => child.target !== undefined && this.isCurrent(child));
    if (!tree || !model.isPresent(tree)) return false;
    try {
      const mounting = Promise.all(
        wanted.map(({ tag }) => devices.carried.childMounted(tree, tag, timeoutMs)),
      );
      if (await this.beforeVmGoes(mounting)) return true;
      throw new ChassisError('VMM_GONE', 'the VM went away meanwhile', 'attach again, for the next one');
    } catch (error) {
      const left = wanted.filter((child) => this.isCurrent(child));
      await Promise.allSettled(
        left.map(({ tag }) => devices.carried.releaseChild(tree, tag, UNDO_TIMEOUT_MS)),
      );
      await exclusively(async () => {
        for (const child of children) await this.drop(child);
      });
      throw error;
    }
  }

  /**
   * Takes a mount out of the tree once the guest has let it go; by force at once, and answers what was lost. Outside the queue.
   * @throws ChassisError MOUNT_BUSY, naming who holds it, or GUEST_TIMEOUT; all is as before then
   */
  async detach(child: ChildRecord, query: DetachQuery): Promise<Detached> {
    const { model, devices, exclusively } = this.options;
    const { tag } = child;
    if (query.slot || query.keepFunction) {
      throw new ChassisError(
        'BAD_REQUEST',
        `${JSON.stringify(tag)} has no slot and no function of its own: it is a mount of the tree`,
        'detach it without --slot and --keep-function',
      );
    }
    const { tree } = model;
    if (tree && !query.force && model.slot(tree.slot).state === 'plugged') {
      await this.beforeVmGoes(devices.carried.releaseChild(tree, tag, query.timeoutMs));
    }
    return exclusively(async () => {
      const lost = await this.drop(child);
      return { tags: [tag], ...(lost && (lost.fids > 0 || lost.openFiles > 0) && { lost }) };
    });
  }

  /** Nobody is left to answer what is being waited for. */
  vmLost(): void {
    for (const leave of this.waiting) leave();
  }

  /** Settles as the job does, and true; but false as soon as the VM goes. */
  private async beforeVmGoes(job: Promise<unknown>): Promise<boolean> {
    let leave: () => void = () => undefined;
    const gone = new Promise<false>((resolve) => (leave = () => resolve(false)));
    this.waiting.add(leave);
    try {
      return await Promise.race([job.then(() => true), gone]);
    } finally {
      this.waiting.delete(leave);
      job.catch(() => undefined);
    }
  }

  private async plugTree(timeoutMs: number): Promise<MountRecord> {
    const { model, slots, plugIn } = this.options;
    const [place] = plan(model, { tags: [TREE_TAG] }, slots.unusable);
    const tree: MountRecord = {
      ...{ tag: TREE_TAG, source: { type: 'tree' }, readOnly: false, permanent: false, port: 'auto' },
      ...place,
      tree: true,
    };
    await plugIn([tree], timeoutMs);
    return tree;
  }

  private requireUsable(tree: MountRecord): void {
    const { state } = this.options.model.slot(tree.slot);
    if (state !== 'unplugging') return;
    throw new ChassisError('CHASSIS_IN_USE', 'the tree is being unplugged', 'wait for that, then try again');
  }

  /** Takes a mount away, unless it has gone already. */
  private async drop(child: ChildRecord) {
    const { model, devices } = this.options;
    if (!this.isCurrent(child)) return undefined;
    model.children.delete(child.tag);
    return model.tree && devices.carried.removeChild(model.tree, child.tag);
  }

  /** False where it was taken away meanwhile, even if another has its tag now. */
  private isCurrent(child: ChildRecord): boolean {
    return this.options.model.children.get(child.tag) === child;
  }
}

function childOf(mount: MountToAttach): ChildRecord {
  const { tag, source, target, watch } = mount;
  return { tag, source, target, ...termsOf(mount), ...(watch && { watch }) };
}

/** For unmounting what an attach that failed has mounted elsewhere already. */
const UNDO_TIMEOUT_MS = 5000;

function reserved(): ChassisError {
  return new ChassisError('TAG_INVALID', `${TREE_TAG} is the tag of the tree itself`, 'choose another tag');
}

function unwatchable(): ChassisError {
  return new ChassisError('BAD_REQUEST', 'mem: has no changes on the host to watch', 'leave --watch out');
}

function full(): ChassisError {
  return new ChassisError(
    'NO_SLOT_FREE',
    `the tree carries ${TREE_MOUNTS_MAX} mounts at most`,
    'detach some, or use another chassis',
  );
}
