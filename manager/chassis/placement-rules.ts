/** What VMMs allow of a hierarchy, as data: one planner reads these, and no other code asks which VMM it is. */
import type { VmmType } from '../control/api.js';

export interface PlacementRules {
  readonly vmm: VmmType;
  /** Functions that a slot takes: eight, more with ARI, or one where the VMM has no multi-function devices. */
  readonly functionsPerSlot: number;
  /** Slots that need no extension. */
  readonly rootSlots: number;
  /** What holds further slots, how many each, and how many of them there can be. */
  readonly extension: { readonly kind: string; readonly slots: number; readonly most: number };
  /** True where extensions can be added to a VM that runs. */
  readonly growsWhileRunning: boolean;
  /** Functions with a mount on each queue that a chassis can have. Only a driver that knows of them uses more than the first queue. */
  readonly muxFunctions: number;
}

/**
 * q35 has room for 15 device numbers of eight root ports each, of which 64 ports are slots and the rest can be uplinks of switches. A
 * switch of 32 downstream ports takes 34 bus numbers (the uplink's, its own, its slots'), and there are 256:
 * 1 + 64 + 5 × 34 = 235. Ports and switches cannot be hot-plugged (`dc->hotpluggable` is false for them). Linux's 9p driver uses
 * the first queue of a device only.
 */
export const QEMU_RULES: PlacementRules = {
  vmm: 'qemu',
  functionsPerSlot: 8,
  rootSlots: 64,
  extension: { kind: 'switch', slots: 32, most: 5 },
  growsWhileRunning: false,
  muxFunctions: 1,
};

/** A PCI segment has one bus of 32 device numbers without functions, the first of which is the host bridge; 96 segments. */
export const CLOUD_HYPERVISOR_RULES: PlacementRules = {
  vmm: 'cloud-hypervisor',
  functionsPerSlot: 1,
  rootSlots: 31,
  extension: { kind: 'segment', slots: 31, most: 95 },
  growsWhileRunning: false,
  muxFunctions: 0,
};

/**
 * Guests in this process know ARI, with which a slot has 256 functions. Its guest deals out bus numbers evenly when it boots: with all
 * 31 slots, a switch may have six ports, and takes one of them.
 */
export const IN_PROCESS_RULES: PlacementRules = {
  vmm: 'in-process',
  functionsPerSlot: 256,
  rootSlots: 31,
  extension: { kind: 'switch', slots: 5, most: 31 },
  growsWhileRunning: true,
  muxFunctions: Infinity,
};

export const PLACEMENT_RULES: Readonly<Record<VmmType, PlacementRules>> = {
  qemu: QEMU_RULES,
  'cloud-hypervisor': CLOUD_HYPERVISOR_RULES,
  'in-process': IN_PROCESS_RULES,
};

/** The most slots that a chassis can have. */
export function maxSlots({ rootSlots, extension }: PlacementRules): number {
  return rootSlots + extension.slots * extension.most;
}

/** Extensions that this many slots need. */
export function extensionsFor({ rootSlots, extension }: PlacementRules, slots: number): number {
  return Math.max(0, Math.ceil((slots - rootSlots) / extension.slots));
}
