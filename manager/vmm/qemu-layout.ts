/** Where a chassis's slots are in QEMU's q35: on root ports, then behind switches as extension chassis. */
import { extensionsFor, QEMU_RULES } from '../chassis/placement-rules.js';

/** A device number and function on its bus. */
export interface PortPlace {
  readonly device: number;
  readonly function: number;
}

/** A port with one of the chassis's slots behind it. */
export interface SlotPort extends PortPlace {
  readonly slot: number;
}

/** A switch: the root port that it hangs on, and its downstream ports. Counted from 1. */
export interface ExtensionChassis {
  readonly number: number;
  readonly uplink: PortPlace;
  readonly slots: readonly SlotPort[];
}

export interface QemuLayout {
  readonly rootPorts: readonly SlotPort[];
  readonly extensions: readonly ExtensionChassis[];
}

/** q35 puts its own devices, and those given without an address, at the low device numbers of bus 0, and a bridge at 31. */
const FIRST_PORT_DEVICE = 0x10;
/** Eight ports to a device number, or they would not all fit a bus. */
const PORTS_PER_DEVICE = 8;
const FIRST_UPLINK_DEVICE = FIRST_PORT_DEVICE + QEMU_RULES.rootSlots / PORTS_PER_DEVICE;

/** The layout of a chassis of so many slots. One of more slots has the same slots in the same places, and further ones. */
export function qemuLayout(slotCount: number): QemuLayout {
  const { rootSlots, extension } = QEMU_RULES;
  const rootPorts = ports(1, Math.min(slotCount, rootSlots), FIRST_PORT_DEVICE);
  const extensions = Array.from({ length: extensionsFor(QEMU_RULES, slotCount) }, (_, i) => {
    const first = rootSlots + i * extension.slots + 1;
    const slots = ports(first, Math.min(extension.slots, slotCount - first + 1), 0);
    return { number: i + 1, uplink: place(i, FIRST_UPLINK_DEVICE), slots };
  });
  return { rootPorts, extensions };
}

/** As QEMU's `addr=` takes it. */
export function addressText({ device, function: fn }: PortPlace): string {
  return `0x${device.toString(16)}.${fn}`;
}

function ports(firstSlot: number, count: number, firstDevice: number): SlotPort[] {
  return Array.from({ length: count }, (_, i) => ({ slot: firstSlot + i, ...place(i, firstDevice) }));
}

function place(index: number, firstDevice: number): PortPlace {
  return { device: firstDevice + Math.floor(index / PORTS_PER_DEVICE), function: index % PORTS_PER_DEVICE };
}
