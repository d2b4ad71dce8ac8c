/** A machine of bytes: config spaces with write masks, BARs with handlers, and handlers to fire by hand. */
import type { GuestBus } from '../../guest/bus.js';

type Width = 1 | 2 | 4;

export interface FakeBar {
  readonly sizeBytes: number;
  readonly is64Bit?: boolean;
  read(offset: number, width: Width): number;
  write(offset: number, width: Width, value: number): void;
}

export class FakeFunction {
  readonly config = new Uint8Array(256);
  readonly writable = new Uint8Array(256);
  readonly bars = new Map<number, FakeBar>();
  readonly view = new DataView(this.config.buffer);

  constructor(vendorId: number, deviceId: number) {
    this.view.setUint16(0x00, vendorId, true);
    this.view.setUint16(0x02, deviceId, true);
    this.writable.fill(0xff, 0x04, 0x06);
  }

  /** A memory BAR; its register's writable bits say its size. */
  addBar(index: number, bar: FakeBar): this {
    const register = 0x10 + 4 * index;
    const masks = new DataView(this.writable.buffer);
    masks.setUint32(register, (2 ** 32 - bar.sizeBytes) >>> 0, true);
    if (bar.is64Bit === true) {
      this.config[register] = 0x4;
      masks.setUint32(
        register + 4,
        bar.sizeBytes > 2 ** 31 ? 2 ** 32 - bar.sizeBytes / 2 ** 32 : 0xffff_ffff,
        true,
      );
      if (bar.sizeBytes >= 2 ** 32) masks.setUint32(register, 0, true);
    }
    this.bars.set(index, bar);
    return this;
  }

  /** A capability at `offset`; `next` is the next one's. */
  addCapability(offset: number, id: number, next: number, body: readonly number[] = []): this {
    this.config.set([id, next, ...body], offset);
    this.config[0x06] |= 0x10;
    if (this.config[0x34] === 0) this.config[0x34] = offset;
    return this;
  }

  get command(): number {
    return this.view.getUint16(0x04, true);
  }

  barAddress(index: number): number {
    const register = 0x10 + 4 * index;
    const low = (this.view.getUint32(register, true) & ~0xf) >>> 0;
    const high = this.bars.get(index)?.is64Bit === true ? this.view.getUint32(register + 4, true) : 0;
    return high * 2 ** 32 + low;
  }
}

export class FakeMachine implements GuestBus {
  readonly mmioWindow = { start: 0xc000_0000, sizeBytes: 0x100_0000 };
  readonly ram: Uint8Array;
  readonly ramAddress = 0;
  readonly functions = new Map<string, FakeFunction>();
  poweredOff = false;
  message: (address: number, data: number) => void = () => {};
  intx: (asserted: boolean) => void = () => {};

  constructor(ramBytes = 1 << 20) {
    this.ram = new Uint8Array(ramBytes);
  }

  plug(device: number, fn: number, what: FakeFunction): void {
    this.functions.set(`${device}.${fn}`, what);
  }

  unplug(device: number, fn: number): void {
    this.functions.delete(`${device}.${fn}`);
  }

  readConfig(bus: number, device: number, fn: number, offset: number, width: Width): number {
    const found = bus === 0 ? this.functions.get(`${device}.${fn}`) : undefined;
    if (found === undefined) return 2 ** (8 * width) - 1;
    if (width === 1) return found.view.getUint8(offset);
    return width === 2 ? found.view.getUint16(offset, true) : found.view.getUint32(offset, true);
  }

  writeConfig(bus: number, device: number, fn: number, offset: number, width: Width, value: number): void {
    const found = bus === 0 ? this.functions.get(`${device}.${fn}`) : undefined;
    if (found === undefined) return;
    for (let i = 0; i < width; i++) {
      const mask = found.writable[offset + i];
      const byte = (value >>> (8 * i)) & 0xff;
      found.config[offset + i] = (found.config[offset + i] & ~mask) | (byte & mask);
    }
  }

  readMemory(address: number, width: Width): number {
    const hit = this.#decode(address);
    return hit === undefined ? 2 ** (8 * width) - 1 : hit.bar.read(hit.offset, width);
  }

  writeMemory(address: number, width: Width, value: number): void {
    const hit = this.#decode(address);
    hit?.bar.write(hit.offset, width, value);
  }

  onMessage(handler: (address: number, data: number) => void): void {
    this.message = handler;
  }

  onIntx(handler: (asserted: boolean) => void): void {
    this.intx = handler;
  }

  powerOff(): void {
    this.poweredOff = true;
  }

  #decode(address: number): { bar: FakeBar; offset: number } | undefined {
    for (const fn of this.functions.values()) {
      if ((fn.command & 0x2) === 0) continue;
      for (const [index, bar] of fn.bars) {
        const start = fn.barAddress(index);
        if (address >= start && address < start + bar.sizeBytes) return { bar, offset: address - start };
      }
    }
    return undefined;
  }
}

/** A BAR that is plain memory. */
export function memoryBar(sizeBytes: number): FakeBar & { readonly bytes: DataView } {
  const bytes = new DataView(new ArrayBuffer(sizeBytes));
  return {
    bytes,
    sizeBytes,
    read: (offset, width) =>
      width === 1
        ? bytes.getUint8(offset)
        : width === 2
          ? bytes.getUint16(offset, true)
          : bytes.getUint32(offset, true),
    write: (offset, width, value) => {
      if (width === 1) bytes.setUint8(offset, value);
      else if (width === 2) bytes.setUint16(offset, value, true);
      else bytes.setUint32(offset, value, true);
    },
  };
}
