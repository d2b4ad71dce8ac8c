/**
 * The machine of a guest in this process: a PCI Express hierarchy whose root ports have a slot each, interrupts and RAM. It is the
 * in-process port, beside vfio-user's and vhost-user's. Slots are hot-plugged by their ports' own registers and interrupts, and an
 * extension chassis, which is a switch, brings more of them while the guest runs.
 */
import { Card, type CardFunction } from '../../../devices/pci/topology/card.js';
import type { SlotPort } from '../../../devices/pci/topology/ports.js';
import { RootComplex } from '../../../devices/pci/topology/root-complex.js';
import type { Slot } from '../../../devices/pci/topology/slot.js';
import { Switch } from '../../../devices/pci/topology/switch.js';
import { ArrayRegion } from '../../../devices/virtio/memory/array-region.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import type { GuestBus } from '../../../guest/bus.js';
import { ChassisError } from '../../control/api.js';
import { Ejections } from './ejections.js';
import { MessageQueue } from './message-queue.js';
import { MMIO_WINDOW, Processor } from './processor.js';
import { Turns } from './turns.js';

/** Root ports of one chassis: a device number each, of which the first is the host bridge's. */
export const MAX_ROOT_SLOTS = 31;
/** Slots of one extension chassis: a switch has 32 device numbers inside. */
export const MAX_EXTENSION_SLOTS = 32;
/** Slot registers hold 13 bits. */
const MAX_SLOT_NUMBER = 8191;
/** A message to an address outside is no interrupt. */
const MESSAGE_START = 0xfee0_0000;
const MESSAGE_END = 0xfef0_0000;
/** Of a bus that no guest has numbered. */
const NO_BUS = 0;
const LAST_BUS = 255;

const DEFAULT_RAM_BYTES = 64 * 2 ** 20;
const DEFAULT_UNPLUG_TIMEOUT_MS = 30_000;

export interface InProcessMachineOptions {
  /** Root ports, with slots 1 to so many: 31 at most, and by default. */
  readonly slots?: number | undefined;
  /** Size of the guest's RAM in bytes, 3 GiB at most; default 64 MiB. */
  readonly ramSizeBytes?: number | undefined;
  /** The guest's RAM, instead: bytes that never move, and their native address if the caller knows it (else 0). */
  readonly ram?: { readonly bytes: Uint8Array; readonly address: number };
}

export interface UnplugOptions {
  /** How long the guest may take, in milliseconds; default 30,000. */
  readonly timeoutMs?: number | undefined;
}

export class InProcessMachine {
  /** RAM as devices see it. BARs are not in it: a ring in a BAR is not memory. */
  readonly memory: GuestMemory;
  readonly #ram: { readonly bytes: Uint8Array; readonly address: number };
  readonly #complex: RootComplex;
  readonly #ports = new Map<number, SlotPort>();
  readonly #ejections = new Ejections();
  readonly #turns = new Turns(() => this.#turn());
  readonly #messages = new MessageQueue();
  #processor: Processor;
  #workPending = false;
  /** The shared line as it is, and as the guest last heard. */
  #line = false;
  #lineHeard = false;

  /** @throws RangeError where there are to be too many slots, or too much RAM */
  constructor(options: InProcessMachineOptions = {}) {
    const { slots = MAX_ROOT_SLOTS, ramSizeBytes = DEFAULT_RAM_BYTES } = options;
    assertCount(slots, MAX_ROOT_SLOTS);
    this.#ram = options.ram ?? { bytes: new Uint8Array(ramSizeBytes), address: 0 };
    if (this.#ram.bytes.byteLength > MMIO_WINDOW.start)
      throw new RangeError(`RAM is larger than ${MMIO_WINDOW.start} bytes`);
    const memory = new RegionMemory();
    memory.addRegion(new ArrayRegion(0, this.#ram.bytes, { address: this.#ram.address }));
    this.memory = memory;
    const rootPorts = Array.from({ length: slots }, (_, i) => ({
      device: i + 1,
      function: 0,
      physicalSlotNumber: i + 1,
    }));
    this.#complex = new RootComplex(
      {
        message: (address, data) => this.#message(address, data),
        intx: (asserted) => this.#lineChanged(asserted),
        workPending: () => {
          this.#workPending = true;
          this.#turns.schedule();
        },
      },
      { rootPorts },
    );
    for (const port of this.#complex.rootPorts) this.#addPort(port);
    this.#processor = this.#newProcessor();
  }

  /** What the next guest boots on, or the guest that runs now is on. */
  get bus(): GuestBus {
    return this.#processor;
  }

  // ——— The chassis's side ———

  /** Numbers of all slots there are, ascending. */
  slots(): number[] {
    return [...this.#ports.keys()].sort((a, b) => a - b);
  }

  /** Numbers of the slots that nothing is plugged into, ascending. */
  freeSlots(): number[] {
    return this.slots().filter((number) => this.#ports.get(number)?.slot.occupant === undefined);
  }

  /**
   * Plugs functions into an empty slot as one card, function 0 among them. Numbers above 7 are found by guests that know ARI. The
   * functions are reset; closing their devices after they left is the caller's.
   * @throws ChassisError SLOT_UNKNOWN or SLOT_TAKEN; RangeError where the numbers do not make a card
   */
  plug(slot: number, functions: readonly CardFunction[]): void {
    this.#emptySlot(slot).insert(new Card(functions));
  }

  /**
   * Plugs an extension chassis with so many slots into an empty one, and answers their numbers, which no other slot has.
   * @throws ChassisError SLOT_UNKNOWN, SLOT_TAKEN, or NO_SLOT_FREE where the guest has no bus numbers for so many
   */
  extend(slot: number, count: number): number[] {
    assertCount(count, MAX_EXTENSION_SLOTS);
    const room = this.roomForExtension(slot);
    if (count > room) throw noBusNumbers(slot, count, room);
    const parent = this.#emptySlot(slot);
    const extension = new Switch(this.#unusedNumbers(count));
    for (const port of extension.downstreamPorts) this.#addPort(port);
    parent.insert(extension);
    return extension.slots.map(({ physicalSlotNumber }) => physicalSlotNumber);
  }

  /**
   * Slots that an extension chassis may have in this slot: each takes a bus number, as does the inside of the switch, and a running
   * guest has dealt its 256 out to the ports when it booted. Without a guest, those that are left in all.
   */
  roomForExtension(slot: number): number {
    const { secondaryBus, subordinateBus } = this.#port(slot);
    const isNumbered = this.#complex.rootPorts.some((port) => port.secondaryBus !== NO_BUS);
    const numbers = isNumbered ? subordinateBus - secondaryBus : LAST_BUS - this.#busesInUse();
    return Math.min(MAX_EXTENSION_SLOTS, Math.max(0, numbers - 1));
  }

  /**
   * Asks the guest to let a slot go, and takes out what is in it once it has: a card or an extension chassis, with everything in
   * that. At once where no guest drives the slot. Rejects with GUEST_TIMEOUT where the guest does not let go in time: everything
   * stays as it was. Throws SLOT_UNKNOWN where nothing is plugged in.
   */
  async requestUnplug(number: number, options: UnplugOptions = {}): Promise<void> {
    const slot = this.#occupied(number);
    if (this.#ejections.isWaiting(number)) return this.#ejections.wait(number, 0, () => {});
    const { timeoutMs = DEFAULT_UNPLUG_TIMEOUT_MS } = options;
    const done = this.#ejections.wait(number, timeoutMs, () => slot.withdrawEjection());
    slot.requestEjection();
    return done;
  }

  /** Pulls out what is in a slot, in use or not. Throws SLOT_UNKNOWN where nothing is plugged in. */
  remove(number: number): void {
    const slot = this.#occupied(number);
    const { occupant } = slot;
    slot.remove();
    if (occupant instanceof Switch) this.#forgetPorts(occupant);
    this.#ejections.ejected(number);
  }

  // ——— Slots ———

  #addPort(port: SlotPort): void {
    const { slot } = port;
    const number = slot.physicalSlotNumber;
    this.#ports.set(number, port);
    slot.listen({
      ejected: (_, occupant) => {
        if (occupant instanceof Switch) this.#forgetPorts(occupant);
        this.#ejections.ejected(number);
      },
    });
  }

  /** The slots of an extension chassis that is out are no longer the machine's; what is in them stays with it. */
  #forgetPorts(extension: Switch): void {
    for (const { slot } of extension.downstreamPorts) {
      if (slot.occupant instanceof Switch) this.#forgetPorts(slot.occupant);
      this.#ports.delete(slot.physicalSlotNumber);
      this.#ejections.ejected(slot.physicalSlotNumber);
    }
  }

  #busesInUse(): number {
    const switches = [...this.#ports.values()].filter(({ slot }) => slot.occupant instanceof Switch);
    return this.#ports.size + switches.length;
  }

  /** The lowest numbers that no slot has, root ports' or other. */
  #unusedNumbers(count: number): number[] {
    const numbers: number[] = [];
    for (let number = 1; numbers.length < count && number <= MAX_SLOT_NUMBER; number++) {
      if (!this.#ports.has(number)) numbers.push(number);
    }
    return numbers;
  }

  #port(number: number): SlotPort {
    const port = this.#ports.get(number);
    if (port === undefined) throw slotUnknown(number, this.slots());
    return port;
  }

  #emptySlot(number: number): Slot {
    const { slot } = this.#port(number);
    if (slot.occupant === undefined) return slot;
    throw new ChassisError('SLOT_TAKEN', `slot ${number} is taken`, 'choose one that is free');
  }

  #occupied(number: number): Slot {
    const { slot } = this.#port(number);
    if (slot.occupant !== undefined) return slot;
    throw new ChassisError('SLOT_UNKNOWN', `nothing is plugged into slot ${number}`);
  }

  // ——— The guest ———

  #newProcessor(): Processor {
    return new Processor(this.#complex, this.#ram, {
      // What was plugged in meanwhile has power when the guest first looks, so that it counts in what is dealt out.
      booted: () => this.#complex.reset(),
      intxListened: () => {
        if (this.#line) this.#turns.schedule();
      },
      poweredOff: () => this.#poweredOff(),
    });
  }

  #poweredOff(): void {
    this.#processor = this.#newProcessor();
    this.#complex.reset();
    this.#messages.clear();
    this.#lineHeard = this.#line;
  }

  // ——— Turns ———

  #message(address: number, data: number): void {
    if (address < MESSAGE_START || address >= MESSAGE_END) return;
    this.#messages.push(address, data);
    this.#turns.schedule();
  }

  #lineChanged(asserted: boolean): void {
    this.#line = asserted;
    if (this.#line !== this.#lineHeard) this.#turns.schedule();
  }

  /** Everything that waits, as it was at the turn's start: what it leads to is the next turn's. */
  #turn(): void {
    try {
      if (this.#workPending) {
        this.#workPending = false;
        this.#complex.runWork();
      }
      this.#deliverMessages();
      this.#deliverLine();
    } finally {
      // What a failure left undone is not forgotten.
      if (this.#messages.length > 0) this.#turns.schedule();
    }
  }

  #deliverMessages(): void {
    const handler = this.#processor.messageHandler;
    if (handler === undefined) this.#messages.clear();
    else for (let left = this.#messages.length; left > 0; left--) this.#messages.deliver(handler);
  }

  #deliverLine(): void {
    if (!this.#line && !this.#lineHeard) return;
    this.#lineHeard = this.#line;
    const handler = this.#processor.intxHandler;
    handler?.(this.#line);
    // Level-triggered: it comes again until the guest has seen to it.
    if (handler !== undefined && (this.#line || this.#lineHeard)) this.#turns.schedule();
  }
}

function assertCount(count: number, most: number): void {
  if (!Number.isInteger(count) || count < 1 || count > most)
    throw new RangeError(`there are 1 to ${most} slots, not ${count}`);
}

function slotUnknown(number: number, slots: readonly number[]): ChassisError {
  return new ChassisError('SLOT_UNKNOWN', `there is no slot ${number}`, `slots: ${inRanges(slots)}`);
}

function noBusNumbers(slot: number, count: number, room: number): ChassisError {
  const most = room < 1 ? 'no extension chassis' : `one of ${room} slots at most`;
  return new ChassisError(
    'NO_SLOT_FREE',
    `the bus numbers behind slot ${slot} do for ${most}, not for ${count}`,
    'a chassis with fewer slots of its own leaves each more numbers; a guest deals them out anew when it boots',
  );
}

/** '1-8, 12' */
function inRanges(sorted: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const number of sorted) {
    const last = ranges.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ');
}
