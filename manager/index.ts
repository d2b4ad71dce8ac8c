/**
 * The library: a chassis in this process, for a guest in this process.
 *
 * ```ts
 * const chassis = new Chassis();
 * await chassis.attach(Volume.fromJSON({ '/hello': 'world' }), { tag: 'mem' });
 * const guest = await Guest.boot(chassis);
 * const mount = await guest.mount('mem');
 * await mount.readFile('/hello', 'utf8');
 * ```
 */
import type { GuestBus } from '../guest/bus.js';
import { ChassisModel, type MountRecord } from './chassis/chassis.js';
import { functionBit } from './chassis/hotplug.js';
import { plan } from './chassis/planner.js';
import { InProcessNineP, openFileSystem, type FileSystemLike } from './composition.js';
import { ChassisError, type FunctionCounters, type MountState } from './control/api.js';
import { InProcessBus } from './ports/in-process/in-process-bus.js';
import { SerialQueue } from './serial-queue.js';

export { Errno, isFailure, type Failure } from '../devices/errno.js';
export * from '../devices/9p/fs/file-system.js';
export { HostDirectory, type HostDirectoryOptions } from '../devices/9p/fs/host-directory/host-directory.js';
export { NodeFs, type NodeFsLike, type NodeFsOptions } from '../devices/9p/fs/node-fs/node-fs.js';
export { IoVector } from '../devices/io-vector.js';
export { ChassisError, type ErrorCode, type FunctionCounters, type MountState } from './control/api.js';
export type { FileSystemLike } from './composition.js';

/** Device numbers 1 to 31 of the one bus; 0 stays free, as host bridges have it. */
const MAX_SLOTS = 31;

export interface ChassisOptions {
  /** Slots of 8 functions each, 1 to 31; default 31. */
  readonly slots?: number;
  /** The guest's RAM; default 64 MiB. */
  readonly ramSizeBytes?: number;
  /** Takes a line on each fault of a guest's driver or of a file system; silent by default. */
  readonly log?: (message: string) => void;
}

export interface AttachOptions {
  /** What the guest mounts by: 1 to 254 bytes of UTF-8. */
  readonly tag: string;
  readonly readOnly?: boolean;
  /** 1-based; the first empty one by default. */
  readonly slot?: number;
  /** 0 to 7; default the first free one. One other than 0 waits, parked, until function 0 of the slot is attached. */
  readonly function?: number;
}

export interface DetachOptions {
  /** Pulls it out as it is, in use or not, without asking the guest. */
  readonly force?: boolean;
  /** Lets the other mounts of the slot go as well: a guest lets go of whole slots. */
  readonly slot?: boolean;
  /** How long the guest may take; default 30 seconds. */
  readonly timeoutMs?: number;
}

export interface MountInfo {
  readonly tag: string;
  readonly readOnly: boolean;
  readonly slot: number;
  readonly function: number;
  readonly state: MountState;
  readonly counters: FunctionCounters;
}

type Mounted = MountRecord<InProcessNineP>;

export class Chassis {
  /** The machine that a guest boots on: `Guest.boot(chassis)`. */
  readonly bus: GuestBus;
  private readonly machine: InProcessBus;
  private readonly model: ChassisModel<InProcessNineP>;
  private readonly queue = new SerialQueue();
  private readonly log: (message: string) => void;
  private closed = false;

  constructor(options: ChassisOptions = {}) {
    const { slots = MAX_SLOTS, ramSizeBytes, log = () => undefined } = options;
    if (slots > MAX_SLOTS) throw new RangeError(`a chassis in this process has at most ${MAX_SLOTS} slots`);
    this.model = new ChassisModel(slots);
    this.machine = new InProcessBus({ ramSizeBytes });
    this.bus = this.machine;
    this.log = log;
  }

  /**
   * Plugs in a directory (by its path), an object with the functions of `node:fs` (a memfs volume), or a FileSystem, which
   * is closed when it is detached. Resolves once it is plugged, whether a guest runs or not, or parked.
   * @throws ChassisError TAG_IN_USE, TAG_INVALID, SLOT_TAKEN, SLOT_UNKNOWN, NO_SLOT_FREE, SOURCE_MISSING…
   */
  attach(given: FileSystemLike, options: AttachOptions): Promise<MountInfo> {
    return this.exclusively(async () => {
      const { tag, readOnly = false } = options;
      const [place] = plan(this.model, { tags: [tag], slot: options.slot, function: options.function });
      const fs = await openFileSystem(given);
      const source = new InProcessNineP(fs, this.machine.memory, { tag, readOnly, log: this.log });
      const mount: Mounted = { tag, readOnly, source, permanent: false, port: 'auto', ...place };
      this.model.attach([mount]);
      this.plugIfComplete(mount.slot);
      return this.info(mount);
    });
  }

  /**
   * Takes a mount out once the guest has let it go.
   * @throws ChassisError NO_MOUNT, SLOT_SHARED, MOUNT_BUSY, or GUEST_TIMEOUT, after which it stays
   */
  detach(tag: string, options: DetachOptions = {}): Promise<void> {
    return this.exclusively(async () => {
      const mount = this.model.mount(tag);
      if (!mount) throw new ChassisError('NO_MOUNT', `no mount has the tag ${JSON.stringify(tag)}`);
      if (!this.model.isPresent(mount)) {
        this.model.remove(tag);
        return mount.source.close();
      }
      const leaving = this.model.mountsIn(mount.slot);
      if (!options.slot) refuseIfShared(mount, leaving);
      if (!options.force) refuseIfBusy(leaving);
      await this.unplug(mount.slot, leaving, options);
    });
  }

  /** All mounts, by slot and function. */
  mounts(): MountInfo[] {
    return this.model.mounts().map((mount) => this.info(mount));
  }

  /** Pulls everything out, guest or not, and closes it. A detach under way ends with it. */
  async close(): Promise<void> {
    this.closed = true;
    for (const slot of this.slotsIn('unplugging')) this.machine.remove(slot);
    await this.queue.run(async () => {
      for (const slot of this.slotsIn('plugged')) {
        this.machine.remove(slot);
        this.model.apply(slot, { type: 'vmLost' });
      }
      this.machine.powerOff();
      const mounts = this.model.mounts();
      for (const mount of mounts) this.model.remove(mount.tag);
      await Promise.all(mounts.map((mount) => mount.source.close()));
    });
  }

  private slotsIn(state: MountState): number[] {
    return this.model.slotNumbers.filter((slot) => this.model.slot(slot).state === state);
  }

  private plugIfComplete(slot: number): void {
    if ((this.model.slot(slot).functions & functionBit(0)) === 0) return;
    this.model.apply(slot, { type: 'plug' });
    const functions = this.model.mountsIn(slot);
    this.machine.plug(
      slot,
      functions.map((mount) => ({ number: mount.function, function: mount.source.pci })),
    );
    this.model.apply(slot, { type: 'plugged' });
  }

  private async unplug(slot: number, leaving: readonly Mounted[], options: DetachOptions): Promise<void> {
    this.model.apply(slot, { type: 'unplug' });
    try {
      if (options.force) this.machine.remove(slot);
      else await this.machine.requestUnplug(slot, { timeoutMs: options.timeoutMs });
    } catch (error) {
      this.model.apply(slot, { type: 'unplugRejected' });
      throw error;
    }
    this.model.apply(slot, { type: 'deleted', functions: this.model.slot(slot).present });
    await Promise.all(leaving.map((mount) => mount.source.close()));
  }

  private info(mount: Mounted): MountInfo {
    const { tag, readOnly, slot, function: fn, source } = mount;
    const { state } = this.model.slot(slot);
    return {
      tag,
      readOnly,
      slot,
      function: fn,
      state: state === 'empty' ? 'parked' : state,
      counters: source.counters(),
    };
  }

  private exclusively<T>(job: () => Promise<T>): Promise<T> {
    return this.queue.run(() => {
      if (this.closed) throw new ChassisError('NO_CHASSIS', 'this chassis is closed');
      return job();
    });
  }
}

function refuseIfShared(mount: Mounted, leaving: readonly Mounted[]): void {
  if (leaving.length < 2) return;
  const others = leaving.filter((other) => other !== mount).map((other) => JSON.stringify(other.tag));
  throw new ChassisError(
    'SLOT_SHARED',
    `${JSON.stringify(mount.tag)} shares slot ${mount.slot} with ${others.join(', ')}`,
    'detach them together: { slot: true }',
  );
}

function refuseIfBusy(leaving: readonly Mounted[]): void {
  const busy = leaving.filter((mount) => mount.source.counters().fids > 0);
  if (busy.length === 0) return;
  throw new ChassisError(
    'MOUNT_BUSY',
    `the guest has ${busy.map((mount) => JSON.stringify(mount.tag)).join(', ')} mounted`,
    'unmount it in the guest first, or pull it out: { force: true }',
  );
}
