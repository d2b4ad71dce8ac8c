/** A function in the hierarchy: what its registers decode, what it may send upstream, and what only its card knows of it. */
import { PciCapabilityId, PciCommand, PciConfig, PciExpress, PciStatus } from '../defs.js';
import type { AccessWidth, FunctionPort, PciFunction } from '../function.js';
import type { AddressSpace, Bus, BusFunction } from './bus.js';
import type { ClaimMap } from './claims.js';
import { PCI_EXT_CAP_BASE, PciAri, PciHeaderType } from './defs.js';

const TWO_POW_32 = 0x1_0000_0000;
const BAR_BYTES = 4;
const MEMORY_FLAGS_MASK = 0xf;
const IO_FLAGS_MASK = 0x3;
/** Capabilities lie in 0x40–0xff, 4 bytes at least each: a list with more of them has a loop. */
const MAX_CAPABILITIES = 48;
const ARI_END = PCI_EXT_CAP_BASE + PciAri.PCI_EXT_CAP_ARI_SIZEOF;
const ARI_HEADER = 0x0001_0000 | PciAri.PCI_EXT_CAP_ID_ARI;

/** What a card says in a function's config space. */
export interface EndpointPlace {
  /** 0–7, or 0–255 on a card whose functions have ARI. */
  readonly number: number;
  /** True for function 0 of a card with several. */
  readonly multiFunction: boolean;
  /** The function that comes next, 0 where there is none; undefined where the card needs no ARI. */
  readonly nextFunction: number | undefined;
}

export class Endpoint implements BusFunction, FunctionPort {
  readonly pci: PciFunction;
  readonly devfn: number;
  readonly bridge = undefined;
  /** True while it waits for `afterWrite`. */
  workPending = false;
  readonly #place: EndpointPlace;
  readonly #send: (address: number, data: number) => void;
  /** Where device control is, if a write there can reset the function. */
  readonly #deviceControl: number | undefined;
  /** Where BARs start, in the order of `pci.bars`. */
  readonly #starts: Float64Array;
  #bus: Bus | undefined;
  /** The command register as the function has it. */
  #command = 0;
  /** The guest's bus master bit: the function has it only while every bridge above is a bus master too. */
  #master = false;
  #pin = false;

  constructor(pci: PciFunction, place: EndpointPlace) {
    this.pci = pci;
    this.devfn = place.number;
    this.#place = place;
    this.#send = (address, data) => this.#bus?.fabric?.message(address, data);
    this.#starts = new Float64Array(pci.bars.length);
    this.#deviceControl = findResettingDeviceControl(pci);
    if (place.nextFunction !== undefined) assertRoomForAri(pci);
  }

  // ——— The bus's side ———

  readConfig(offset: number, width: AccessWidth): number {
    if (offset >= PCI_EXT_CAP_BASE && offset < ARI_END && this.#place.nextFunction !== undefined) {
      return field(
        offset < PCI_EXT_CAP_BASE + PciAri.PCI_ARI_CAP ? ARI_HEADER : this.#place.nextFunction << 8,
        offset,
        width,
      );
    }
    const value = this.pci.readConfig(offset, width);
    if (offset === PciConfig.PCI_COMMAND) return this.#withMasterBit(value);
    const holdsHeaderType = offset <= PciConfig.PCI_HEADER_TYPE && offset + width > PciConfig.PCI_HEADER_TYPE;
    if (!holdsHeaderType || !this.#place.multiFunction) return value;
    return (value | (PciHeaderType.PCI_HEADER_TYPE_MFD << (8 * (PciConfig.PCI_HEADER_TYPE - offset)))) >>> 0;
  }

  writeConfig(offset: number, width: AccessWidth, value: number): void {
    if (offset === PciConfig.PCI_COMMAND) this.#writeCommand(width, value);
    else this.pci.writeConfig(offset, width, value);
    if (this.#resetsFunction(offset, width, value)) this.#master = false;
    this.#refresh();
    this.#bus?.fabric?.wrote(this);
  }

  claim(space: AddressSpace, claims: ClaimMap): void {
    const bit = space === 'io' ? PciCommand.PCI_COMMAND_IO : PciCommand.PCI_COMMAND_MEMORY;
    if ((this.#command & bit) === 0) return;
    this.pci.bars.forEach((bar, i) => {
      if ((bar.kind === 'io') === (space === 'io')) {
        claims.add(this.#starts[i], this.#starts[i] + bar.sizeBytes, bar.index, this);
      }
    });
  }

  powerUp(bus: Bus): void {
    this.#bus = bus;
    this.pci.reset();
    this.#master = false;
    this.#refresh();
    this.pci.connect(this);
  }

  /** It asks for no interrupt any more, and the reset takes its hands off the guest's memory. */
  powerDown(): void {
    this.pci.connect(undefined);
    this.pci.reset();
    this.setIntx(false);
    this.workPending = false;
    this.#master = false;
    this.#refresh();
    this.#bus = undefined;
  }

  masteringChanged(): void {
    if (!this.#master) return;
    this.#writeCommand(2, this.pci.readConfig(PciConfig.PCI_COMMAND, 2) | PciCommand.PCI_COMMAND_MASTER);
    this.#refresh();
    this.#bus?.fabric?.wrote(this);
  }

  // ——— The function's side: FunctionPort ———

  triggerMsix(vector: number): void {
    // A message is a write to memory, which takes a bus master.
    if ((this.#command & PciCommand.PCI_COMMAND_MASTER) !== 0) this.pci.msix?.deliver(vector, this.#send);
  }

  setIntx(asserted: boolean): void {
    if (this.#pin === asserted) return;
    this.#pin = asserted;
    this.#signalPin();
  }

  // ——— ———

  #writeCommand(width: AccessWidth, value: number): void {
    this.#master = (value & PciCommand.PCI_COMMAND_MASTER) !== 0;
    const allowed = this.#bus?.mastering === true ? value : value & ~PciCommand.PCI_COMMAND_MASTER;
    this.pci.writeConfig(PciConfig.PCI_COMMAND, width, allowed >>> 0);
  }

  #withMasterBit(value: number): number {
    const { PCI_COMMAND_MASTER } = PciCommand;
    return (this.#master ? value | PCI_COMMAND_MASTER : value & ~PCI_COMMAND_MASTER) >>> 0;
  }

  /** A function-level reset clears the bus master bit, which cannot be seen where a bridge holds it back. */
  #resetsFunction(offset: number, width: AccessWidth, value: number): boolean {
    const control = this.#deviceControl;
    if (control === undefined || offset > control + 1 || offset + width <= control + 1) return false;
    return ((value >>> (8 * (control + 1 - offset))) & (PciExpress.PCI_EXP_DEVCTL_BCR_FLR >> 8)) !== 0;
  }

  /** Reads again what a config write may have changed: any may, since one resets the function. */
  #refresh(): void {
    const command = this.pci.readConfig(PciConfig.PCI_COMMAND, 2);
    let changed =
      ((command ^ this.#command) & (PciCommand.PCI_COMMAND_IO | PciCommand.PCI_COMMAND_MEMORY)) !== 0;
    this.#command = command;
    for (let i = 0; i < this.#starts.length; i++) {
      const start = this.#barStart(i);
      changed ||= start !== this.#starts[i];
      this.#starts[i] = start;
    }
    if (changed) {
      this.#bus?.claimsChanged('memory');
      this.#bus?.claimsChanged('io');
    }
    this.#signalPin();
  }

  #barStart(i: number): number {
    const { index, kind } = this.pci.bars[i];
    const register = PciConfig.PCI_BASE_ADDRESS_0 + BAR_BYTES * index;
    const low = this.pci.readConfig(register, 4);
    if (kind === 'io') return (low & ~IO_FLAGS_MASK) >>> 0;
    const high = kind === 'memory64' ? this.pci.readConfig(register + BAR_BYTES, 4) : 0;
    return high * TWO_POW_32 + ((low & ~MEMORY_FLAGS_MASK) >>> 0);
  }

  #signalPin(): void {
    const enabled = (this.#command & PciCommand.PCI_COMMAND_INTX_DISABLE) === 0;
    this.#bus?.fabric?.setIntx(this, this.#pin && enabled);
  }
}

/** Bytes `offset … offset + width` of a register, `offset` being any address in it. */
function field(register: number, offset: number, width: AccessWidth): number {
  const value = register >>> (8 * (offset & 3));
  return width === 4 ? value >>> 0 : width === 2 ? value & 0xffff : value & 0xff;
}

function findResettingDeviceControl(pci: PciFunction): number | undefined {
  const express = findCapability(pci, PciCapabilityId.PCI_CAP_ID_EXP);
  if (express === undefined) return undefined;
  const capabilities = pci.readConfig(express + PciExpress.PCI_EXP_DEVCAP, 4);
  const resets = (capabilities & PciExpress.PCI_EXP_DEVCAP_FLR) !== 0;
  return resets ? express + PciExpress.PCI_EXP_DEVCTL : undefined;
}

function findCapability(pci: PciFunction, id: number): number | undefined {
  if ((pci.readConfig(PciConfig.PCI_STATUS, 2) & PciStatus.PCI_STATUS_CAP_LIST) === 0) return undefined;
  let offset = pci.readConfig(PciConfig.PCI_CAPABILITY_LIST, 1) & ~3;
  for (let seen = 0; seen < MAX_CAPABILITIES && offset >= PciConfig.PCI_STD_HEADER_SIZEOF; seen++) {
    if (pci.readConfig(offset, 1) === id) return offset;
    offset = pci.readConfig(offset + 1, 1) & ~3;
  }
  return undefined;
}

/** The card's ARI capability stands where extended capabilities start, which the function must not use itself. */
function assertRoomForAri(pci: PciFunction): void {
  const first = pci.readConfig(PCI_EXT_CAP_BASE, 4);
  if (first === 0 || first === 0xffff_ffff) return;
  throw new RangeError('a function with extended capabilities of its own cannot be on a card with ARI');
}
