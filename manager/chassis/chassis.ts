/**
 * One VM's hardware as a model: slots 1 to N of functions 0 to 7, and the mounts in them by tag. It does no I/O and knows no
 * VMM: the manager asks the planner, changes the model, and makes the world follow.
 */
import type { PortChoice, Shown, Source } from '../control/api.js';
import { EMPTY_SLOT, functionBit, step, type SlotEvent, type SlotStatus } from './hotplug.js';
import { maxSlots, QEMU_RULES, type PlacementRules } from './placement-rules.js';

/** Where a mount's function sits. */
export interface Placement {
  /** 1-based. */
  readonly slot: number;
  /** 0–7. */
  readonly function: number;
}

export interface MountRecord<S = Shown> extends Placement {
  readonly tag: string;
  readonly source: S;
  readonly readOnly: boolean;
  /** The operator promised that it stays until the VM stops. */
  readonly permanent: boolean;
  readonly port: PortChoice;
  /** The mount is gone, but its function stays where it is, under its tag, for another mount. */
  readonly kept?: boolean;
  /** It shows the model's children: a chassis has one such mount at most. */
  readonly tree?: boolean;
}

/** A mount that has no function of its own: a directory of the tree. */
export interface ChildRecord {
  readonly tag: string;
  readonly source: Source;
  readonly readOnly: boolean;
  /** Where the guest's helper is to mount it. */
  readonly target: string | undefined;
}

/** `S` is what a mount shows: the daemon's sources are data, an embedding program's are file systems. */
export class ChassisModel<S = Shown> {
  readonly slotCount: number;
  readonly rules: PlacementRules;
  /** What the tree carries, by tag. They go with it. */
  readonly children = new Map<string, ChildRecord>();
  private readonly slots: SlotStatus[];
  private readonly byTag = new Map<string, MountRecord<S>>();
  private treeTag: string | undefined;

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

  mount(tag: string): MountRecord<S> | undefined {
    return this.byTag.get(tag);
  }

  /** The mount that carries the children, if there is one. */
  get tree(): MountRecord<S> | undefined {
    return this.treeTag === undefined ? undefined : this.byTag.get(this.treeTag);
  }

  /** All mounts, by slot and function. */
  mounts(): MountRecord<S>[] {
    return [...this.byTag.values()].sort((a, b) => a.slot - b.slot || a.function - b.function);
  }

  mountsIn(slot: number): MountRecord<S>[] {
    return this.mounts().filter((mount) => mount.slot === slot);
  }

  mountAt(slot: number, fn: number): MountRecord<S> | undefined {
    return this.mountsIn(slot).find((mount) => mount.function === fn);
  }

  get slotsFree(): number {
    return this.slots.filter((slot) => slot.state === 'empty').length;
  }

  /** True where the VM has the mount's function. */
  isPresent(mount: Placement): boolean {
    return (this.slot(mount.slot).present & functionBit(mount.function)) !== 0;
  }

  /** Adds mounts that the planner placed; they share one slot. */
  attach(mounts: readonly MountRecord<S>[]): void {
    const functions = mounts.reduce((mask, mount) => mask | functionBit(mount.function), 0);
    this.apply(mounts[0].slot, { type: 'attached', functions });
    for (const mount of mounts) {
      this.byTag.set(mount.tag, mount);
      if (mount.tree) this.treeTag = mount.tag;
    }
  }

  /** What a function carries changes; its tag, slot and function do not. */
  change(mount: MountRecord<S>): void {
    const before = this.byTag.get(mount.tag);
    if (before?.slot !== mount.slot || before.function !== mount.function)
      throw new Error(`${mount.tag} is not in slot ${mount.slot}, function ${mount.function}`);
    this.byTag.set(mount.tag, mount);
  }

  /** Takes away a mount that no VM has. */
  remove(tag: string): void {
    const mount = this.byTag.get(tag);
    if (!mount) return;
    this.apply(mount.slot, { type: 'removed', functions: functionBit(mount.function) });
  }

  /**
   * Feeds an event to a slot; answers the mounts that left the chassis with it. An event that is illegal in the slot's
   * state is a bug: it throws and changes nothing.
   */
  apply(slot: number, event: SlotEvent): MountRecord<S>[] {
    const before = this.slot(slot);
    const after = step(before, event);
    if (!after) throw new Error(`slot ${slot} is ${before.state}: ${event.type} is illegal`);
    this.slots[slot - 1] = after;
    const left = this.mountsIn(slot).filter(
      (mount) => (before.functions & ~after.functions & functionBit(mount.function)) !== 0,
    );
    for (const mount of left) this.forget(mount);
    return left;
  }

  private forget(mount: MountRecord<S>): void {
    this.byTag.delete(mount.tag);
    if (!mount.tree) return;
    this.treeTag = undefined;
    this.children.clear();
  }
}
