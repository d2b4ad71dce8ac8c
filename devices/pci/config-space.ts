/**
 * PCI configuration space as data: 32-bit registers, which of their bits the guest may write, and which bits it clears by
 * writing 1 (PCI 3.0, chapter 6). Built once; every guest write goes through the masks.
 */
import { PciBaseAddress, PciCommand, PciConfig, PciConfigSize, PciStatus } from './defs.js';
import type { AccessWidth, BarSpec } from './function.js';

/** What sets one function's type 0 header apart. */
export interface HeaderIdentity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId: number;
  /** 24 bits: class, subclass, interface. */
  readonly classCode: number;
  readonly subsystemVendorId: number;
  readonly subsystemId: number;
  /** True where the function has pin INTA. */
  readonly hasIntx: boolean;
}

/** Called around accesses to a 32-bit register that has effects. `offset` is the access's own, `width` in bytes. */
export interface ConfigHook {
  /** Before a read: the place to refresh the register with `set`. */
  beforeRead?(offset: number, width: AccessWidth): void;
  /** After a write went through the masks. */
  afterWrite?(offset: number, width: AccessWidth): void;
}

const COMMAND_WRITABLE =
  PciCommand.PCI_COMMAND_IO |
  PciCommand.PCI_COMMAND_MEMORY |
  PciCommand.PCI_COMMAND_MASTER |
  PciCommand.PCI_COMMAND_PARITY |
  PciCommand.PCI_COMMAND_SERR |
  PciCommand.PCI_COMMAND_INTX_DISABLE;
const INTERRUPT_PIN_A = 1;
const BAR_BYTES = 4;
const LAST_BAR = 5;
const MIN_MEMORY_BAR_BYTES = 16;
const MIN_IO_BAR_BYTES = 4;
const TWO_POW_32 = 0x1_0000_0000;

export class ConfigSpace {
  readonly sizeBytes: number;
  readonly #registers: Uint32Array;
  readonly #writable: Uint32Array;
  readonly #writeOneToClear: Uint32Array;
  readonly #hooks = new Map<number, ConfigHook>();
  readonly #atPowerOn: Uint32Array;

  constructor(sizeBytes: number = PciConfigSize.PCI_CFG_SPACE_EXP_SIZE) {
    this.sizeBytes = sizeBytes;
    this.#registers = new Uint32Array(sizeBytes / 4);
    this.#writable = new Uint32Array(sizeBytes / 4);
    this.#writeOneToClear = new Uint32Array(sizeBytes / 4);
    this.#atPowerOn = new Uint32Array(sizeBytes / 4);
  }

  /** Sets a field's value and the bits of it that the guest may write or clear. `offset` is aligned to `width`. */
  define(offset: number, width: AccessWidth, value: number, writableMask = 0, writeOneToClearMask = 0): void {
    insert(this.#registers, offset, width, value);
    insert(this.#writable, offset, width, writableMask);
    insert(this.#writeOneToClear, offset, width, writeOneToClearMask);
  }

  /** Puts `hook` on the 32-bit register that holds `offset`. A register has one hook at most. */
  hook(offset: number, hook: ConfigHook): void {
    const register = offset >>> 2;
    if (this.#hooks.has(register)) throw new Error(`two hooks on config register 0x${offset.toString(16)}`);
    this.#hooks.set(register, hook);
  }

  /** The device's own read: no hook runs. */
  get(offset: number, width: AccessWidth): number {
    return extract(this.#registers, offset, width);
  }

  /** The device's own write: no mask applies and no hook runs. */
  set(offset: number, width: AccessWidth, value: number): void {
    insert(this.#registers, offset, width, value);
  }

  /** The bits of the 32-bit register at `offset` that the guest may write. */
  writableBits(offset: number): number {
    return this.#writable[offset >>> 2];
  }

  /** A guest's read. All ones where the access is beyond the space or not aligned. */
  read(offset: number, width: AccessWidth): number {
    if (!this.#holds(offset, width)) return allOnes(width);
    this.#hooks.get(offset >>> 2)?.beforeRead?.(offset, width);
    return extract(this.#registers, offset, width);
  }

  /** A guest's write: changes writable bits, clears write-one-to-clear bits, leaves the rest. */
  write(offset: number, width: AccessWidth, value: number): void {
    if (!this.#holds(offset, width)) return;
    const register = offset >>> 2;
    const shift = (offset & 3) * 8;
    const lanes = (allOnes(width) << shift) >>> 0;
    const written = (value << shift) >>> 0;
    const writable = this.#writable[register] & lanes;
    const cleared = this.#writeOneToClear[register] & lanes & written;
    this.#registers[register] = (this.#registers[register] & ~writable & ~cleared) | (written & writable);
    this.#hooks.get(register)?.afterWrite?.(offset, width);
  }

  /** The space is built: what the registers hold now is what `reset` restores. */
  seal(): void {
    this.#atPowerOn.set(this.#registers);
  }

  reset(): void {
    this.#registers.set(this.#atPowerOn);
  }

  #holds(offset: number, width: AccessWidth): boolean {
    return offset >= 0 && offset + width <= this.sizeBytes && offset % width === 0;
  }
}

/** Lays out a type 0 header. Sizing works by masks alone: a BAR's address bits are writable down to its size. */
export function defineType0Header(
  space: ConfigSpace,
  identity: HeaderIdentity,
  bars: readonly BarSpec[],
): void {
  space.define(PciConfig.PCI_VENDOR_ID, 2, identity.vendorId);
  space.define(PciConfig.PCI_DEVICE_ID, 2, identity.deviceId);
  space.define(PciConfig.PCI_COMMAND, 2, 0, COMMAND_WRITABLE);
  space.define(PciConfig.PCI_STATUS, 2, 0, 0, PciStatus.PCI_STATUS_ERROR_BITS);
  space.define(PciConfig.PCI_REVISION_ID, 4, ((identity.classCode << 8) | identity.revisionId) >>> 0);
  space.define(PciConfig.PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
  space.define(PciConfig.PCI_SUBSYSTEM_VENDOR_ID, 2, identity.subsystemVendorId);
  space.define(PciConfig.PCI_SUBSYSTEM_ID, 2, identity.subsystemId);
  space.define(PciConfig.PCI_INTERRUPT_LINE, 1, 0, 0xff);
  space.define(PciConfig.PCI_INTERRUPT_PIN, 1, identity.hasIntx ? INTERRUPT_PIN_A : 0);
  const taken = new Set<number>();
  for (const bar of bars) defineBar(space, bar, taken);
}

function defineBar(space: ConfigSpace, bar: BarSpec, taken: Set<number>): void {
  checkBar(bar, taken);
  const offset = PciConfig.PCI_BASE_ADDRESS_0 + bar.index * BAR_BYTES;
  // Negating a power of two leaves its address bits; the shift takes the low 32 of them.
  space.define(offset, 4, barTypeBits(bar), -bar.sizeBytes >>> 0);
  if (bar.kind !== 'memory64') return;
  const highUnits = Math.max(1, bar.sizeBytes / TWO_POW_32);
  space.define(offset + BAR_BYTES, 4, 0, -highUnits >>> 0);
}

function checkBar(bar: BarSpec, taken: Set<number>): void {
  const minimum = bar.kind === 'io' ? MIN_IO_BAR_BYTES : MIN_MEMORY_BAR_BYTES;
  const powerOfTwo = Number.isInteger(Math.log2(bar.sizeBytes));
  if (!powerOfTwo || bar.sizeBytes < minimum || (bar.kind !== 'memory64' && bar.sizeBytes >= TWO_POW_32)) {
    throw new RangeError(`BAR ${bar.index} cannot be ${bar.sizeBytes} bytes of ${bar.kind}`);
  }
  const registers = bar.kind === 'memory64' ? [bar.index, bar.index + 1] : [bar.index];
  for (const register of registers) {
    if (register < 0 || register > LAST_BAR || taken.has(register)) {
      throw new RangeError(`BAR ${bar.index} does not fit: register ${register} is taken or does not exist`);
    }
    taken.add(register);
  }
}

function barTypeBits(bar: BarSpec): number {
  if (bar.kind === 'io') return PciBaseAddress.PCI_BASE_ADDRESS_SPACE_IO;
  const prefetch = bar.prefetchable ? PciBaseAddress.PCI_BASE_ADDRESS_MEM_PREFETCH : 0;
  return bar.kind === 'memory64' ? prefetch | PciBaseAddress.PCI_BASE_ADDRESS_MEM_TYPE_64 : prefetch;
}

function allOnes(width: AccessWidth): number {
  return width === 4 ? 0xffff_ffff : width === 2 ? 0xffff : 0xff;
}

function extract(registers: Uint32Array, offset: number, width: AccessWidth): number {
  return ((registers[offset >>> 2] >>> ((offset & 3) * 8)) & allOnes(width)) >>> 0;
}

function insert(registers: Uint32Array, offset: number, width: AccessWidth, value: number): void {
  const shift = (offset & 3) * 8;
  const lanes = allOnes(width) << shift;
  const register = offset >>> 2;
  registers[register] = (registers[register] & ~lanes) | ((value << shift) & lanes);
}
