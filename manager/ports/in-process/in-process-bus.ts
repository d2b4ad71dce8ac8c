/**
 * The machine of a guest in this process: config space, BARs, interrupts and RAM, with slots that functions are plugged into.
 * It is the in-process port, beside vfio-user's and vhost-user's, and its other side is the guest's `GuestBus`.
 */
import type { AccessWidth, PciFunction } from '../../../devices/pci/function.js';
import { ArrayRegion } from '../../../devices/virtio/memory/array-region.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import type { GuestBus, HotplugNotification, PortIo } from '../../../guest/bus.js';
import { ChassisError } from '../../control/api.js';
import { BarMap, type MappedBar } from './bar-map.js';
import { MessageQueue } from './message-queue.js';
import { PluggedFunction, type FunctionHost } from './plugged-function.js';
import { Slot } from './slot.js';
import { Turns } from './turns.js';

/** The only bus there is, and what fits on it. */
const BUS = 0;
const DEVICES = 32;
const FUNCTIONS = 8;

const HEADER_TYPE = 0x0e;
const HEADER_TYPE_MULTI_FUNCTION = 0x80;

/** BARs go here: above any RAM, below the interrupt controllers' addresses. */
const MMIO_START = 0xc000_0000;
const MMIO_END = 0xfec0_0000;
/** I/O BARs go here: behind the ports that a PC's own devices have. */
const IO_START = 0x1000;
const IO_END = 0x1_0000;
/** A message to an address outside is no interrupt. */
const MESSAGE_START = 0xfee0_0000;
const MESSAGE_END = 0xfef0_0000;

const DEFAULT_RAM_BYTES = 64 * 2 ** 20;
const DEFAULT_UNPLUG_TIMEOUT_MS = 30_000;

export interface InProcessBusOptions {
  /** Size of the guest's RAM in bytes, 3 GiB at most; default 64 MiB. */
  readonly ramSizeBytes?: number | undefined;
  /** The guest's RAM, instead: bytes that never move, and their native address if the caller knows it (else 0). */
  readonly ram?: { readonly bytes: Uint8Array; readonly address: number };
}

/** A function for a slot, and its number there, 0–7. */
export interface FunctionInSlot {
  readonly number: number;
  readonly function: PciFunction;
}

export interface UnplugOptions {
  /** How long the guest may take, in milliseconds; default 30,000. */
  readonly timeoutMs?: number;
}

type HotplugHandler = (bus: number, device: number, notification: HotplugNotification) => void;

export class InProcessBus implements GuestBus {
  readonly mmioWindow = { start: MMIO_START, sizeBytes: MMIO_END - MMIO_START } as const;
  readonly io: PortIo = {
    window: { start: IO_START, sizeBytes: IO_END - IO_START },
    read: (port, width) => readBar(this.#decode(this.#ioBars, port, width), port, width),
    write: (port, width, value) =>
      this.#writeBar(this.#decode(this.#ioBars, port, width), port, width, value),
  };
  readonly ram: Uint8Array;
  readonly ramAddress: number;
  /** RAM as devices see it. BARs are not in it: a ring in a BAR is not memory. */
  readonly memory: GuestMemory;

  readonly #slots: (Slot | undefined)[] = new Array<Slot | undefined>(DEVICES).fill(undefined);
  readonly #bars = new BarMap<PluggedFunction>();
  readonly #ioBars = new BarMap<PluggedFunction>();
  #barsChanged = false;
  readonly #turns = new Turns(() => this.#turn());
  #work: PluggedFunction[] = [];
  readonly #messages = new MessageQueue();
  readonly #notifications: { readonly device: number; readonly notification: HotplugNotification }[] = [];
  /** The shared line as it is, and as the guest last heard. */
  #line = false;
  #lineHeard = false;
  #messageHandler: ((address: number, data: number) => void) | undefined;
  #intxHandler: ((asserted: boolean) => void) | undefined;
  #hotplugHandler: HotplugHandler | undefined;

  readonly #host: FunctionHost = {
    message: (address, data) => {
      if (address < MESSAGE_START || address >= MESSAGE_END) return;
      this.#messages.push(address, data);
      this.#turns.schedule();
    },
    pinChanged: () => this.#updateLine(),
    decodingChanged: () => {
      this.#barsChanged = true;
    },
  };

  constructor(options: InProcessBusOptions = {}) {
    this.ram = options.ram?.bytes ?? new Uint8Array(options.ramSizeBytes ?? DEFAULT_RAM_BYTES);
    this.ramAddress = options.ram?.address ?? 0;
    if (this.ram.byteLength > MMIO_START) throw new RangeError(`RAM is larger than ${MMIO_START} bytes`);
    const memory = new RegionMemory();
    memory.addRegion(new ArrayRegion(0, this.ram, { address: this.ramAddress }));
    this.memory = memory;
  }

  // ——— The chassis's side ———

  /** True while a guest listens to hot-plug: only then is anybody asked before a slot is taken back. */
  get guestIsUp(): boolean {
    return this.#hotplugHandler !== undefined;
  }

  /** Device numbers that hold nothing. */
  freeDevices(): number[] {
    return [...this.#slots.keys()].filter((device) => this.#slots[device] === undefined);
  }

  /**
   * Plugs functions into an empty device number (0–31), function 0 among them, and tells the guest. Throws SLOT_UNKNOWN or
   * SLOT_TAKEN. The functions are reset; closing their devices after they left is the caller's.
   */
  plug(device: number, functions: readonly FunctionInSlot[]): void {
    this.#assertDevice(device);
    if (this.#slots[device] !== undefined) {
      throw new ChassisError('SLOT_TAKEN', `Device ${device} is taken.`, 'Choose one that is free.');
    }
    assertNumbers(functions.map(({ number }) => number));
    const plugged = functions.map((each) => new PluggedFunction(each.function, each.number, this.#host));
    this.#slots[device] = new Slot(plugged);
    for (const fn of plugged) fn.insert();
    this.#notify(device, 'check');
  }

  /**
   * Asks the guest to let a device number go, and takes the functions out once it has. Rejects with GUEST_TIMEOUT where it does
   * not in time: everything stays as it was. Without a guest it is immediate. Throws SLOT_UNKNOWN where nothing is plugged in.
   */
  async requestUnplug(device: number, options: UnplugOptions = {}): Promise<void> {
    const slot = this.#occupied(device);
    if (!this.guestIsUp) {
      this.#extract(device, slot);
      return;
    }
    if (!slot.unplugRequested) this.#notify(device, 'eject-request');
    await slot.requestUnplug(device, options.timeoutMs ?? DEFAULT_UNPLUG_TIMEOUT_MS, () =>
      this.#notify(device, 'eject-cancelled'),
    );
  }

  /** Pulls a device number's functions out as they are, in use or not. Throws SLOT_UNKNOWN where nothing is plugged in. */
  remove(device: number): void {
    const slot = this.#occupied(device);
    if (slot.unplugRequested) this.#notify(device, 'eject-cancelled');
    this.#extract(device, slot);
    this.#notify(device, 'check');
  }

  // ——— The guest's side: GuestBus ———

  readConfig(bus: number, device: number, fn: number, offset: number, width: AccessWidth): number {
    const found = this.#find(bus, device, fn);
    if (found === undefined || offset % width !== 0) return allOnes(width);
    const value = found.pci.readConfig(offset, width);
    const isMultiFunction = fn === 0 && (this.#slots[device]?.functions.length ?? 0) > 1;
    if (!isMultiFunction || offset > HEADER_TYPE || offset + width <= HEADER_TYPE) return value;
    // Only the slot knows how many functions it holds.
    return (value | (HEADER_TYPE_MULTI_FUNCTION << (8 * (HEADER_TYPE - offset)))) >>> 0;
  }

  writeConfig(
    bus: number,
    device: number,
    fn: number,
    offset: number,
    width: AccessWidth,
    value: number,
  ): void {
    const found = this.#find(bus, device, fn);
    if (found === undefined || offset % width !== 0) return;
    found.writeConfig(offset, width, value);
    this.#workFor(found);
  }

  readMemory(address: number, width: AccessWidth): number {
    return readBar(this.#decode(this.#bars, address, width), address, width);
  }

  writeMemory(address: number, width: AccessWidth, value: number): void {
    this.#writeBar(this.#decode(this.#bars, address, width), address, width, value);
  }

  onMessage(handler: (address: number, data: number) => void): void {
    this.#messageHandler = handler;
  }

  onIntx(handler: (asserted: boolean) => void): void {
    this.#intxHandler = handler;
    if (this.#line) this.#turns.schedule();
  }

  onHotplug(handler: HotplugHandler): void {
    this.#hotplugHandler = handler;
  }

  /** A slot that nobody asked for stays: the guest is told to look at it again. */
  eject(bus: number, device: number): void {
    const slot = bus === BUS ? this.#slots[device] : undefined;
    if (slot === undefined) return;
    if (slot.unplugRequested) this.#extract(device, slot);
    else this.#notify(device, 'check');
  }

  powerOff(): void {
    this.#messageHandler = undefined;
    this.#intxHandler = undefined;
    this.#hotplugHandler = undefined;
    this.#notifications.length = 0;
    for (const [device, slot] of this.#slots.entries()) {
      for (const fn of slot?.functions ?? []) fn.reset();
      // Nobody is left to ask.
      if (slot?.unplugRequested === true) this.#extract(device, slot);
    }
    this.#messages.clear();
    this.#lineHeard = this.#line;
  }

  // ——— Turns ———

  #workFor(fn: PluggedFunction): void {
    if (fn.workPending) return;
    fn.workPending = true;
    this.#work.push(fn);
    this.#turns.schedule();
  }

  /** Everything that waits, as it was at the turn's start: what it leads to is the next turn's. */
  #turn(): void {
    try {
      this.#doWork();
      this.#deliverNotifications();
      this.#deliverMessages();
      this.#deliverLine();
    } finally {
      // What a failure left undone is not forgotten.
      if (this.#work.length + this.#messages.length + this.#notifications.length > 0) this.#turns.schedule();
    }
  }

  #doWork(): void {
    for (let left = this.#work.length; left > 0; left--) {
      const fn = this.#work.shift();
      // Taken out since: there is nothing left to do.
      if (fn?.workPending !== true) continue;
      fn.workPending = false;
      fn.pci.afterWrite();
    }
  }

  #deliverNotifications(): void {
    for (let left = this.#notifications.length; left > 0; left--) {
      const next = this.#notifications.shift();
      if (next !== undefined) this.#hotplugHandler?.(BUS, next.device, next.notification);
    }
  }

  #deliverMessages(): void {
    const handler = this.#messageHandler;
    if (handler === undefined) this.#messages.clear();
    else for (let left = this.#messages.length; left > 0; left--) this.#messages.deliver(handler);
  }

  #deliverLine(): void {
    if (!this.#line && !this.#lineHeard) return;
    this.#lineHeard = this.#line;
    this.#intxHandler?.(this.#line);
    // Level-triggered: it comes again until the guest has seen to it.
    if (this.#intxHandler !== undefined && (this.#line || this.#lineHeard)) this.#turns.schedule();
  }

  #updateLine(): void {
    this.#line = this.#slots.some((slot) => slot?.functions.some((fn) => fn.assertsIntx) === true);
    if (this.#line !== this.#lineHeard) this.#turns.schedule();
  }

  // ——— Slots ———

  #notify(device: number, notification: HotplugNotification): void {
    if (!this.guestIsUp) return;
    this.#notifications.push({ device, notification });
    this.#turns.schedule();
  }

  #extract(device: number, slot: Slot): void {
    for (const fn of slot.functions) fn.extract();
    this.#slots[device] = undefined;
    this.#barsChanged = true;
    this.#updateLine();
    slot.unplugged();
  }

  #decode(
    bars: BarMap<PluggedFunction>,
    address: number,
    width: AccessWidth,
  ): MappedBar<PluggedFunction> | undefined {
    if (this.#barsChanged) {
      this.#barsChanged = false;
      const functions = this.#slots.flatMap((slot) => slot?.functions ?? []);
      this.#bars.replace(functions.flatMap((fn) => fn.bars('memory')));
      this.#ioBars.replace(functions.flatMap((fn) => fn.bars('io')));
    }
    return address % width === 0 ? bars.find(address, width) : undefined;
  }

  #writeBar(
    bar: MappedBar<PluggedFunction> | undefined,
    address: number,
    width: AccessWidth,
    value: number,
  ): void {
    if (bar === undefined) return;
    bar.owner.pci.writeBar(bar.bar, address - bar.start, width, value);
    this.#workFor(bar.owner);
  }

  #find(bus: number, device: number, fn: number): PluggedFunction | undefined {
    return bus === BUS ? this.#slots[device]?.find(fn) : undefined;
  }

  #occupied(device: number): Slot {
    this.#assertDevice(device);
    const slot = this.#slots[device];
    if (slot === undefined)
      throw new ChassisError('SLOT_UNKNOWN', `Nothing is plugged in at device ${device}.`);
    return slot;
  }

  #assertDevice(device: number): void {
    if (Number.isInteger(device) && device >= 0 && device < DEVICES) return;
    throw new ChassisError('SLOT_UNKNOWN', `There is no device ${device}.`, `Use 0 to ${DEVICES - 1}.`);
  }
}

function assertNumbers(numbers: readonly number[]): void {
  const valid = numbers.every((number) => Number.isInteger(number) && number >= 0 && number < FUNCTIONS);
  if (!valid || new Set(numbers).size !== numbers.length || !numbers.includes(0)) {
    throw new RangeError('functions need numbers of their own from 0 to 7, and one has to be 0');
  }
}

function readBar(bar: MappedBar<PluggedFunction> | undefined, address: number, width: AccessWidth): number {
  return bar === undefined ? allOnes(width) : bar.owner.pci.readBar(bar.bar, address - bar.start, width);
}

function allOnes(width: AccessWidth): number {
  return 2 ** (8 * width) - 1;
}
