/**
 * One VM's hardware as a model: slots 1 to N of functions 0 to 7, and the mounts, disks and network cards in them by name. It does no I/O and
 * knows no VMM: the manager asks the planner, changes the model, and makes the world follow.
 */
import type { DiskSource, MountTerms, Network, PortChoice, Shown, Source } from '../control/api.js';
import { EMPTY_SLOT, functionBit, step, type SlotEvent, type SlotStatus } from './hotplug.js';
import { NotingMap } from './noting-map.js';
import { maxSlots, QEMU_RULES, type PlacementRules } from './placement-rules.js';

/** Where a function sits. */
export interface Placement {
  /** 1-based. */
  readonly slot: number;
  /** 0–7. */
  readonly function: number;
}

/** What every function has, whatever device it holds. */
interface FunctionRecord extends Placement {
  /** What the chassis knows it by: a mount's tag, or a disk's or card's name. */
  readonly tag: string;
  /** The operator promised that it stays until the VM stops. */
  readonly permanent: boolean;
  readonly port: PortChoice;
}

/** A function that holds a 9p device. */
export interface MountRecord<S = Shown> extends FunctionRecord, MountTerms {
  readonly disk?: undefined;
  readonly card?: undefined;
  readonly source: S;
  /** The mount is gone, but its function stays where it is, under its tag, for another mount. */
  readonly kept?: boolean;
  /** It shows the model's children: a chassis has one such mount at most. */
  readonly tree?: boolean;
  /** Each of its queues can carry one of the model's seats: a chassis has one such function at most. */
  readonly mux?: boolean;
}

/** A function that holds a disk. It is function 0, and alone in its slot. */
export interface DiskRecord extends FunctionRecord {
  readonly card?: undefined;
  readonly managedBy?: string;
  readonly readOnly: boolean;
  readonly disk: {
    readonly source: DiskSource;
    /** Writes go elsewhere, and the source stays as it is. */
    readonly overlay: boolean;
    /** The folder of the file that they go to; without one, to memory. */
    readonly overlayDirectory?: string;
    readonly serial: string;
    readonly queues: number;
    /** The overlay's, once it is not the source's. */
    readonly overlayBytes?: number;
  };
}

/** A function that holds a network card. It is function 0, and alone in its slot. */
export interface CardRecord extends FunctionRecord {
  readonly disk?: undefined;
  readonly managedBy?: string;
  readonly card: {
    readonly network: Network;
    readonly mac: string;
    readonly mtu?: number;
    readonly queuePairs: number;
    /** The cable is in. */
    readonly up: boolean;
  };
}

export type DeviceRecord<S = Shown> = MountRecord<S> | DiskRecord | CardRecord;

/** A mount that has no function of its own: a directory of the tree. */
export interface ChildRecord extends MountTerms {
  readonly tag: string;
  readonly source: Source;
  /** Where the guest's helper is to mount it. */
  readonly target: string | undefined;
  /** The guest's helper hears of changes on the host. */
  readonly watch?: boolean;
}

/** A mount that has no function of its own: a queue of the multiplexing function. */
export interface SeatRecord extends MountTerms {
  readonly tag: string;
  readonly source: Source;
  /** 0-based. */
  readonly queue: number;
}

/** The terms of a mount, without what else there is to it. */
export function termsOf(mount: MountTerms): MountTerms {
  const { readOnly, policy, owner, overlay, revoked, managedBy } = mount;
  return { readOnly, policy, owner, overlay, revoked, managedBy };
}

/** `S` is what a mount shows: the daemon's sources are data, an embedding program's are file systems. */
export class ChassisModel<S = Shown> {
  readonly slotCount: number;
  readonly rules: PlacementRules;
  /** What the tree carries, by tag. They go with it. */
  readonly children = new NotingMap<string, ChildRecord>((tag) => this.onChange?.(tag));
  /** What the queues of the multiplexing function carry, by tag. They go with it. */
  readonly seats = new NotingMap<string, SeatRecord>((tag) => this.onChange?.(tag));
  /** Mounts whose terms are being changed, by tag: what holds of them is not known for sure. */
  readonly changing = new Set<string>();
  /** Told, in the middle of it, of which mount, disk or card something changes. */
  onChange: ((tag: string) => void) | undefined;
  private readonly slots: SlotStatus[];
  private readonly byTag = new Map<string, DeviceRecord<S>>();
  private treeTag: string | undefined;
  private muxTag: string | undefined;

  constructor(slotCount: number, rules = QEMU_RULES) {
    const most = maxSlots(rules);
    if (!Number.isInteger(slotCount) || slotCount < 1 || slotCount > most) {
      throw new RangeError(`a chassis has 1 to ${most} slots, not ${slotCount}`);
    }
    this.slotCount = slotCount;
    this.rules = rules;
    this.slots = Array.from({ length: slotCount }, () => EMPTY_SLOT);
  }

  /** All slot numbers, ascending. */
  get slotNumbers(): number[] {
    return this.slots.map((_, i) => i + 1);
  }

  slot(number: number): SlotStatus {
    return this.slots[number - 1];
  }

  /** Whatever has that name. */
  device(tag: string): DeviceRecord<S> | undefined {
    return this.byTag.get(tag);
  }

  mount(tag: string): MountRecord<S> | undefined {
    const device = this.byTag.get(tag);
    return device && isMount(device) ? device : undefined;
  }

  disk(name: string): DiskRecord | undefined {
    const device = this.byTag.get(name);
    return device && isDisk(device) ? device : undefined;
  }

  card(name: string): CardRecord | undefined {
    const device = this.byTag.get(name);
    return device && isCard(device) ? device : undefined;
  }

  /** The mount that carries the children, if there is one. */
  get tree(): MountRecord<S> | undefined {
    return this.treeTag === undefined ? undefined : this.mount(this.treeTag);
  }

  /** All that is attached, by slot and function. */
  devices(): DeviceRecord<S>[] {
    return [...this.byTag.values()].sort((a, b) => a.slot - b.slot || a.function - b.function);
  }

  /** The function whose queues carry the seats, if there is one. */
  get mux(): MountRecord<S> | undefined {
    return this.muxTag === undefined ? undefined : this.mount(this.muxTag);
  }

  /** All mounts, by slot and function. */
  mounts(): MountRecord<S>[] {
    return this.devices().filter(isMount);
  }

  /** All disks, by slot. */
  disks(): DiskRecord[] {
    return this.devices().filter(isDisk);
  }

  /** All network cards, by slot. */
  cards(): CardRecord[] {
    return this.devices().filter(isCard);
  }

  devicesIn(slot: number): DeviceRecord<S>[] {
    return this.devices().filter((device) => device.slot === slot);
  }

  deviceAt(slot: number, fn: number): DeviceRecord<S> | undefined {
    return this.devicesIn(slot).find((device) => device.function === fn);
  }

  /** True where a slot is a disk's or a card's, and takes nothing beside it. */
  isWhole(slot: number): boolean {
    return !this.devicesIn(slot).every(isMount);
  }

  get slotsFree(): number {
    return this.slots.filter((slot) => slot.state === 'empty').length;
  }

  /** True where the VM has the function. */
  isPresent(mount: Placement): boolean {
    return (this.slot(mount.slot).present & functionBit(mount.function)) !== 0;
  }

  /** Adds what the planner placed; it shares one slot. */
  attach(devices: readonly DeviceRecord<S>[]): void {
    const functions = devices.reduce((mask, device) => mask | functionBit(device.function), 0);
    this.apply(devices[0].slot, { type: 'attached', functions });
    for (const device of devices) {
      this.byTag.set(device.tag, device);
      this.onChange?.(device.tag);
      if (!isMount(device)) continue;
      if (device.tree) this.treeTag = device.tag;
      if (!device.mux) continue;
      this.muxTag = device.tag;
      // They were there before what carries them.
      for (const tag of this.seats.keys()) this.onChange?.(tag);
    }
  }

  /** What a function carries changes; its tag, slot and function do not. */
  change(mount: DeviceRecord<S>): void {
    const before = this.byTag.get(mount.tag);
    if (before?.slot !== mount.slot || before.function !== mount.function)
      throw new Error(`${mount.tag} is not in slot ${mount.slot}, function ${mount.function}`);
    this.byTag.set(mount.tag, mount);
    this.onChange?.(mount.tag);
  }

  /** Who waits for something of a mount knows it by its record, which stays the same one. */
  setTerms(mount: MountRecord<S> | ChildRecord | SeatRecord, changed: Partial<MountTerms>): void {
    Object.assign(mount, changed);
    this.onChange?.(mount.tag);
  }

  /** Takes away what no VM has. */
  remove(tag: string): void {
    const mount = this.byTag.get(tag);
    if (!mount) return;
    this.apply(mount.slot, { type: 'removed', functions: functionBit(mount.function) });
  }

  /**
   * Feeds an event to a slot; answers what left the chassis with it. An event that is illegal in the slot's
   * state is a bug: it throws and changes nothing.
   */
  apply(slot: number, event: SlotEvent): DeviceRecord<S>[] {
    const before = this.slot(slot);
    const after = step(before, event);
    if (!after) throw new Error(`slot ${slot} is ${before.state}: ${event.type} is illegal`);
    this.slots[slot - 1] = after;
    const devices = this.devicesIn(slot);
    for (const { tag } of devices) this.onChange?.(tag);
    const left = devices.filter(
      (device) => (before.functions & ~after.functions & functionBit(device.function)) !== 0,
    );
    for (const device of left) this.forget(device);
    return left;
  }

  private forget(device: DeviceRecord<S>): void {
    this.byTag.delete(device.tag);
    if (!isMount(device)) return;
    if (device.tree) {
      this.treeTag = undefined;
      this.children.clear();
    }
    if (device.mux) {
      this.muxTag = undefined;
      this.seats.clear();
    }
  }
}

export function isMount<S>(device: DeviceRecord<S>): device is MountRecord<S> {
  return device.disk === undefined && device.card === undefined;
}

export function isDisk(device: DeviceRecord<unknown>): device is DiskRecord {
  return device.disk !== undefined;
}

export function isCard(device: DeviceRecord<unknown>): device is CardRecord {
  return device.card !== undefined;
}
