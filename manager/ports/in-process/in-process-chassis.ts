/** A chassis in this process: what is attached goes into the slots of an in-process machine, which a guest boots on. */
import { MUX_QUEUES_MAX } from '../../../devices/9p/virtio-9p-mux.js';
import { MUX_TAG_MAX_BYTES } from '../../../devices/9p/mux-config.js';
import type { FileSystem } from '../../../devices/9p/fs/file-system.js';
import type { GuestBus } from '../../../guest/bus.js';
import { InProcessNineP, InProcessNinePMux, openFileSystem, type FileSystemLike } from '../../composition.js';
import { ChassisError, type FunctionCounters } from '../../control/api.js';
import type { LogMethod } from '../../logging/log.js';
import { SerialQueue } from '../../serial-queue.js';
import type {
  AttachOptions,
  CardMount,
  CardOptions,
  ChassisOptions,
  DetachOptions,
  Extension,
  ExtensionOptions,
  MountInfo,
  RetractOptions,
  SlotInfo,
} from './chassis-api.js';
import { InProcessMachine } from './in-process-machine.js';
import { assertSlot, assertTagsFree, findQueue, firstEmptySlot, placeFunctions } from './placement.js';
import { SlotContents, type CardContents, type Mounted } from './slot-contents.js';

const DEFAULT_QUEUES = 64;

interface Opened extends CardMount {
  readonly fs: FileSystem;
}

export class Chassis {
  private readonly machine: InProcessMachine;
  private readonly contents = new SlotContents();
  private readonly queue = new SerialQueue();
  private readonly log: (message: string) => void;
  private readonly queuesPerDevice: number;
  private closed = false;

  /** @throws RangeError where an option is out of range */
  constructor(options: ChassisOptions = {}) {
    const { slots, ramSizeBytes, queuesPerDevice = DEFAULT_QUEUES, log = () => undefined } = options;
    if (!Number.isInteger(queuesPerDevice) || queuesPerDevice < 1 || queuesPerDevice > MUX_QUEUES_MAX)
      throw new RangeError(`a device has 1 to ${MUX_QUEUES_MAX} queues, not ${queuesPerDevice}`);
    this.machine = new InProcessMachine({ slots, ramSizeBytes });
    this.queuesPerDevice = queuesPerDevice;
    this.log = log;
  }

  /** The machine that a guest boots on: `Guest.boot(chassis)`. Another guest, after a power-off, gets another one. */
  get bus(): GuestBus {
    return this.machine.bus;
  }

  /**
   * Plugs in a directory (by its path), an object with the functions of `node:fs` (a memfs volume), or a FileSystem, which
   * is closed when it is detached. Resolves once it is plugged, whether a guest runs or not, or parked.
   * @throws ChassisError TAG_IN_USE, TAG_INVALID, SLOT_TAKEN, SLOT_UNKNOWN, NO_SLOT_FREE, SOURCE_MISSING…
   */
  attach(given: FileSystemLike, options: AttachOptions): Promise<MountInfo> {
    return this.exclusively(async () => {
      const mount = { ...options, source: given };
      if (options.via === 'queue') return this.attachToQueue(mount, options);
      const [info] = await this.attachFunctions([mount], options);
      return info;
    });
  }

  /**
   * Plugs several in as the functions of one card: the guest hears of them once, and lets go of them together. Up to 256 with function
   * numbers from 0 on; where one has a number above 7, a guest has to know ARI to find it. All of them are attached or none.
   * @throws as `attach`
   */
  attachCard(mounts: readonly CardMount[], options: CardOptions = {}): Promise<MountInfo[]> {
    return this.exclusively(() => this.attachFunctions(mounts, { slot: options.slot, function: 0 }));
  }

  /**
   * Takes a mount out once the guest has let it go.
   * @throws ChassisError NO_MOUNT, SLOT_SHARED, MOUNT_BUSY, or GUEST_TIMEOUT, after which it stays
   */
  detach(tag: string, options: DetachOptions = {}): Promise<void> {
    return this.exclusively(async () => {
      const mounted = this.contents.mount(tag);
      const card = mounted && this.contents.card(mounted.slot);
      if (mounted === undefined || card === undefined)
        throw new ChassisError('NO_MOUNT', `no mount has the tag ${JSON.stringify(tag)}`);
      const leaving = options.slot || mounted.queue === undefined ? [...card.mounts] : [mounted];
      if (card.state === 'parked') return this.removeParked(mounted);
      if (!options.slot) refuseIfShared(mounted, leaving);
      if (!options.force) refuseIfBusy(leaving);
      if (mounted.queue !== undefined && !options.slot) return this.vacate(mounted);
      await this.unplug(card, options);
    });
  }

  /**
   * Plugs an extension chassis into a slot: a switch, with slots of its own, which a running guest finds as it finds a card.
   * @throws ChassisError SLOT_TAKEN, SLOT_UNKNOWN, NO_SLOT_FREE; RangeError where `ports` is not 1 to 32
   */
  extend({ ports, slot }: ExtensionOptions): Promise<Extension> {
    return this.exclusively(async () => {
      const place = slot ?? this.slotForExtension(ports);
      assertSlot(this.machine.slots(), place);
      const slots = this.machine.extend(place, ports);
      this.contents.addExtension(place, slots);
      return { slot: place, slots };
    });
  }

  /**
   * Takes out of a slot what holds no mount: an extension chassis whose slots are empty, or a multiplexing device whose queues are.
   * @throws ChassisError SLOT_UNKNOWN, CHASSIS_IN_USE, or GUEST_TIMEOUT, after which it stays
   */
  retract(slot: number, options: RetractOptions = {}): Promise<void> {
    return this.exclusively(async () => {
      assertSlot(this.machine.slots(), slot);
      const card = this.contents.card(slot);
      const slots = this.contents.extension(slot);
      if (card === undefined && slots === undefined)
        throw new ChassisError('SLOT_UNKNOWN', `nothing is plugged into slot ${slot}`);
      const inUse = slots?.filter((each) => !this.contents.isEmpty(each)) ?? [...(card?.mounts ?? [])];
      if (inUse.length > 0)
        throw new ChassisError(
          'CHASSIS_IN_USE',
          `what is in slot ${slot} is in use`,
          'detach its mounts first',
        );
      if (card !== undefined) return this.unplug(card, options);
      await this.machine.requestUnplug(slot, options);
      this.contents.removeExtension(slot);
    });
  }

  /** All mounts, by slot, function and queue. */
  mounts(): MountInfo[] {
    return this.contents.mounts().map((mounted) => this.info(mounted));
  }

  /** All slots, ascending. */
  slots(): SlotInfo[] {
    return this.machine.slots().map((slot) => {
      const card = this.contents.card(slot);
      const extension = this.contents.extension(slot);
      if (extension !== undefined) return { slot, holds: 'extension', slots: extension };
      return card === undefined ? { slot, holds: 'nothing' } : { slot, holds: 'card', state: card.state };
    });
  }

  /** Pulls everything out, guest or not, and closes it. A detach under way ends with it. */
  async close(): Promise<void> {
    this.closed = true;
    for (const card of this.contents.cards()) {
      if (card.state === 'unplugging') this.machine.remove(card.slot);
    }
    await this.queue.run(async () => {
      const cards = [...this.contents.cards()];
      for (const card of cards) {
        if (card.state === 'plugged') this.machine.remove(card.slot);
        this.contents.removeCard(card);
      }
      // The guest hears of what was pulled out, so that nothing in it waits for ever, before it is taken off.
      await closeAll(cards).finally(() => this.machine.bus.powerOff());
    });
  }

  private async attachFunctions(
    mounts: readonly CardMount[],
    place: { readonly slot?: number | undefined; readonly function?: number | undefined },
  ): Promise<MountInfo[]> {
    assertTagsFree(
      this.contents,
      mounts.map(({ tag }) => tag),
    );
    const { slot, functions } = placeFunctions(this.contents, this.machine.slots(), mounts.length, place);
    const opened = await openAll(mounts);
    const added = opened.map(({ fs, tag, readOnly = false }, i): Mounted => {
      const { memory } = this.machine;
      const device = new InProcessNineP(fs, memory, { tag, readOnly, log: this.logOf(tag) });
      this.contents.addDevice(slot, functions[i], device);
      return { tag, readOnly, slot, function: functions[i], queue: undefined, device };
    });
    for (const mounted of added) this.contents.addMount(mounted);
    this.plugIfComplete(slot);
    return added.map((mounted) => this.info(mounted));
  }

  /** A program that embeds this has lines, not records. */
  private logOf(tag: string): LogMethod {
    return (message, error) =>
      this.log([tag, message, ...(error === undefined ? [] : [describe(error)])].join(': '));
  }

  /** To a queue of a device that is there, else of a new one: that is plugged once its first queue serves, for guests that know no other. */
  private async attachToQueue(mount: CardMount, options: AttachOptions): Promise<MountInfo> {
    const { tag, readOnly = false } = mount;
    assertTagsFree(this.contents, [tag]);
    assertFitsQueue(tag, options.function);
    const found = findQueue(this.contents, options.slot);
    const place = found
      ? { slot: found.card.slot }
      : placeFunctions(this.contents, this.machine.slots(), 1, { slot: options.slot, function: 0 });
    const [{ fs }] = await openAll([mount]);
    const mux = found?.mux ?? new InProcessNinePMux(this.queuesPerDevice, this.machine.memory, this.log);
    const queue = found?.queue ?? 0;
    mux.attach(queue, fs, { tag, readOnly, log: this.logOf(tag) });
    if (found === undefined) this.contents.addDevice(place.slot, 0, mux);
    const mounted: Mounted = { tag, readOnly, slot: place.slot, function: 0, queue, device: mux };
    this.contents.addMount(mounted);
    if (found === undefined) this.plugIfComplete(place.slot);
    return this.info(mounted);
  }

  private plugIfComplete(slot: number): void {
    const card = this.contents.card(slot);
    if (card === undefined || !card.devices.has(0)) return;
    const functions = [...card.devices].map(([number, { pci }]) => ({ number, function: pci }));
    this.machine.plug(slot, functions);
    card.become('plugged');
  }

  private async removeParked(mounted: Mounted): Promise<void> {
    this.contents.removeParked(mounted);
    await mounted.device.close();
  }

  private async vacate(mounted: Mounted): Promise<void> {
    const { device, queue } = mounted;
    this.contents.removeMount(mounted);
    if (device instanceof InProcessNinePMux && queue !== undefined) await device.detach(queue);
  }

  private async unplug(card: CardContents, options: { force?: boolean; timeoutMs?: number }): Promise<void> {
    card.become('unplugging');
    try {
      if (options.force) this.machine.remove(card.slot);
      else await this.machine.requestUnplug(card.slot, options);
    } catch (error) {
      card.become('plugged');
      throw error;
    }
    this.contents.removeCard(card);
    await closeAll([card]);
  }

  private slotForExtension(ports: number): number {
    const { machine, contents } = this;
    const empty = machine.slots().filter((slot) => contents.isEmpty(slot));
    const roomy = empty.find((slot) => machine.roomForExtension(slot) >= ports);
    return roomy ?? firstEmptySlot(contents, machine.slots());
  }

  private info(mounted: Mounted): MountInfo {
    const { tag, readOnly, slot, function: fn, queue } = mounted;
    const state = this.contents.card(slot)?.state ?? 'parked';
    const via = queue === undefined ? 'function' : 'queue';
    return { tag, readOnly, via, slot, function: fn, queue, state, counters: countersOf(mounted) };
  }

  private exclusively<T>(job: () => Promise<T>): Promise<T> {
    return this.queue.run(() => {
      if (this.closed) throw new ChassisError('NO_CHASSIS', 'this chassis is closed');
      return job();
    });
  }
}

/** Opens all of them; where one cannot be, those that were opened here are closed again. */
async function openAll(mounts: readonly CardMount[]): Promise<Opened[]> {
  const opened: Opened[] = [];
  try {
    for (const mount of mounts) opened.push({ ...mount, fs: await openFileSystem(mount.source) });
    return opened;
  } catch (error) {
    for (const { fs, source } of opened) if (fs !== source) await fs.close();
    throw error;
  }
}

/** Rejects where one does not close, once all others have. */
async function closeAll(cards: readonly CardContents[]): Promise<void> {
  const devices = cards.flatMap((card) => [...card.devices.values()]);
  const closed = await Promise.allSettled(devices.map((device) => device.close()));
  const failed = closed.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

function countersOf({ device, queue = 0 }: Mounted): FunctionCounters {
  return device instanceof InProcessNinePMux ? device.counters(queue) : device.counters();
}

function assertFitsQueue(tag: string, fn: number | undefined): void {
  if (fn !== undefined)
    throw new ChassisError('BAD_REQUEST', 'a mount on a queue cannot choose its function', 'leave it out');
  if (new TextEncoder().encode(tag).length <= MUX_TAG_MAX_BYTES) return;
  throw new ChassisError(
    'TAG_INVALID',
    `a tag on a queue has at most ${MUX_TAG_MAX_BYTES} bytes in UTF-8`,
    'choose a shorter tag, or attach it as a function of its own',
  );
}

function refuseIfShared(mounted: Mounted, leaving: readonly Mounted[]): void {
  if (leaving.length < 2) return;
  const others = leaving.filter((other) => other !== mounted).map((other) => JSON.stringify(other.tag));
  throw new ChassisError(
    'SLOT_SHARED',
    `${JSON.stringify(mounted.tag)} shares slot ${mounted.slot} with ${others.join(', ')}`,
    'detach them together: { slot: true }',
  );
}

function refuseIfBusy(leaving: readonly Mounted[]): void {
  const busy = leaving.filter((mounted) => countersOf(mounted).fids > 0);
  if (busy.length === 0) return;
  throw new ChassisError(
    'MOUNT_BUSY',
    `the guest has ${busy.map((mount) => JSON.stringify(mount.tag)).join(', ')} mounted`,
    'unmount it in the guest first, or pull it out: { force: true }',
  );
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
