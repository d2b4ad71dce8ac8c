/**
 * A virtio-9p function of bytes, written from the spec and not from either side's code. Its register file is plain memory with a
 * few rules; tests bend the rules to be hostile, and work its ring by hand.
 */
import { FakeFunction, memoryBar, type FakeBar, type FakeMachine } from './fake-machine.js';

const COMMON = 0x000;
const ISR = 0x100;
const DEVICE = 0x200;
const NOTIFY = 0x300;
const BAR_BYTES = 0x1000;
const MSIX_TABLE_BYTES = 0x100;

/** Offsets in the common configuration (virtio 1.3, section 4.1.4.3). */
const REGISTER = {
  deviceFeatureSelect: 0,
  deviceFeature: 4,
  driverFeatureSelect: 8,
  driverFeature: 12,
  configVector: 16,
  queueCount: 18,
  status: 20,
  generation: 21,
  queueSize: 24,
  queueVector: 26,
  queueEnable: 28,
  queueDesc: 32,
  queueDriver: 40,
  queueDevice: 48,
} as const;

export interface FakeVirtioOptions {
  readonly tag?: string;
  readonly features?: bigint;
  readonly queueSize?: number;
  /** Entries in the MSI-X table; 0 for none. */
  readonly vectors?: number;
  readonly deviceId?: number;
  /** Length of the common configuration; 56 without the fields that came later. */
  readonly commonBytes?: number;
}

export class FakeVirtio9p {
  readonly fn: FakeFunction;
  readonly registers: FakeBar & { readonly bytes: DataView };
  readonly msixTable = memoryBar(MSIX_TABLE_BYTES);
  /** What the driver accepted. */
  driverFeatures = 0n;
  readonly statusWrites: number[] = [];
  notifications = 0;
  /** The values written to doorbells, and how wide the writes were. */
  readonly doorbellWrites: { readonly value: number; readonly width: number }[] = [];
  /** Hooks that tests replace. */
  onStatus: (status: number) => number = (status) => status;
  onNotify: () => void = () => {};
  onRead: (offset: number, value: number) => number = (_offset, value) => value;
  #lastAvail = 0;
  #used = 0;
  readonly #machine: FakeMachine;
  readonly #queueSize: number;

  constructor(machine: FakeMachine, options: FakeVirtioOptions = {}) {
    const { tag = 'work', features = (1n << 32n) | 1n, queueSize = 8, vectors = 0, deviceId = 9 } = options;
    const { commonBytes = 56 } = options;
    this.#machine = machine;
    this.#queueSize = queueSize;
    this.fn = new FakeFunction(0x1af4, 0x1040 + deviceId);
    const memory = memoryBar(BAR_BYTES);
    const offered = features;
    this.registers = {
      ...memory,
      read: (offset, width) => this.onRead(offset, this.#read(memory, offered, offset, width)),
      write: (offset, width, value) => this.#write(memory, offset, width, value),
    };
    memory.bytes.setUint16(COMMON + REGISTER.queueCount, 1, true);
    memory.bytes.setUint16(COMMON + REGISTER.queueSize, queueSize, true);
    const bytes = new TextEncoder().encode(tag);
    memory.bytes.setUint16(DEVICE, bytes.byteLength, true);
    bytes.forEach((byte, i) => memory.bytes.setUint8(DEVICE + 2 + i, byte));
    this.fn.addBar(4, this.registers);
    this.#addCapabilities(commonBytes, 2 + bytes.byteLength, vectors);
  }

  get status(): number {
    return this.registers.bytes.getUint8(COMMON + REGISTER.status);
  }

  set status(value: number) {
    this.registers.bytes.setUint8(COMMON + REGISTER.status, value);
  }

  get queueSize(): number {
    return this.registers.bytes.getUint16(COMMON + REGISTER.queueSize, true);
  }

  set isr(bits: number) {
    this.registers.bytes.setUint8(ISR, bits);
  }

  /** The chains that became available since the last call: heads of their descriptors. */
  takeAvailable(): number[] {
    const ram = this.#ram();
    const avail = this.#area(REGISTER.queueDriver);
    const heads: number[] = [];
    while (ram.getUint16(avail + 2, true) !== this.#lastAvail) {
      heads.push(ram.getUint16(avail + 4 + 2 * (this.#lastAvail % this.queueSize), true));
      this.#lastAvail = (this.#lastAvail + 1) & 0xffff;
    }
    return heads;
  }

  /** Descriptors of a chain without an indirect table. */
  chain(head: number): { address: number; length: number; write: boolean }[] {
    const ram = this.#ram();
    const table = this.#area(REGISTER.queueDesc);
    const chain = [];
    for (let i = head, flags = 1; (flags & 1) !== 0; i = ram.getUint16(table + 16 * i + 14, true)) {
      const at = table + 16 * i;
      flags = ram.getUint16(at + 12, true);
      chain.push({
        address: Number(ram.getBigUint64(at, true)),
        length: ram.getUint32(at + 8, true),
        write: (flags & 2) !== 0,
      });
    }
    return chain;
  }

  /** Puts a chain, or any number that claims to be one, into the used ring. */
  use(head: number, written: number): void {
    const ram = this.#ram();
    const used = this.#area(REGISTER.queueDevice);
    const slot = used + 4 + 8 * (this.#used % this.queueSize);
    ram.setUint32(slot, head, true);
    ram.setUint32(slot + 4, written, true);
    this.#used = (this.#used + 1) & 0xffff;
    ram.setUint16(used + 2, this.#used, true);
  }

  /** Answers a chain with a 9p message: size[4] type[1] tag[2] body, with the request's tag. */
  reply(head: number, type: number, body: readonly number[] = []): void {
    const [request, room] = this.chain(head);
    const tag = this.#ram().getUint16(request.address + 5, true);
    const size = 7 + body.length;
    const message = [size, 0, 0, 0, type, tag & 0xff, tag >> 8, ...body];
    this.#machine.ram.set(message, room.address);
    this.use(head, size);
  }

  requestType(head: number): number {
    return this.#machine.ram[this.chain(head)[0].address + 4];
  }

  /** The pin: ISR says "queue", the line is asserted. */
  interrupt(): void {
    this.isr = 1;
    this.#machine.intx(true);
  }

  #read(memory: FakeBar, offered: bigint, offset: number, width: 1 | 2 | 4): number {
    if (offset === COMMON + REGISTER.deviceFeature) {
      const half = memory.read(COMMON + REGISTER.deviceFeatureSelect, 4);
      return half > 1 ? 0 : Number((offered >> BigInt(32 * half)) & 0xffff_ffffn);
    }
    const value = memory.read(offset, width);
    if (offset === ISR) memory.write(ISR, 1, 0);
    return value;
  }

  #write(memory: FakeBar, offset: number, width: 1 | 2 | 4, value: number): void {
    if (offset >= NOTIFY) {
      this.notifications++;
      this.doorbellWrites.push({ value, width });
      this.onNotify();
    } else if (offset === COMMON + REGISTER.status) {
      this.statusWrites.push(value);
      memory.write(offset, width, this.onStatus(value));
      if (value === 0) this.#reset(memory);
    } else if (offset === COMMON + REGISTER.driverFeature) {
      const half = BigInt(memory.read(COMMON + REGISTER.driverFeatureSelect, 4));
      this.driverFeatures |= BigInt(value) << (32n * half);
    } else if (offset !== COMMON + REGISTER.queueCount) {
      memory.write(offset, width, value);
    }
  }

  #reset(memory: FakeBar): void {
    memory.write(COMMON + REGISTER.queueSize, 2, this.#queueSize);
    this.driverFeatures = 0n;
    this.#lastAvail = 0;
    this.#used = 0;
  }

  #addCapabilities(commonBytes: number, deviceBytes: number, vectors: number): void {
    const structures = [
      [1, COMMON, commonBytes],
      [2, NOTIFY, 4],
      [3, ISR, 1],
      [4, DEVICE, deviceBytes],
    ] as const;
    structures.forEach(([type, offset, length], i) => {
      const at = 0x40 + 0x14 * i;
      const last = i + 1 === structures.length;
      const next = last ? (vectors > 0 ? 0x90 : 0) : at + 0x14;
      const body = [0x14, type, 4, 0, 0, 0, ...littleEndian(offset), ...littleEndian(length), 0, 0, 0, 0];
      this.fn.addCapability(at, 0x09, next, body);
    });
    if (vectors === 0) return;
    this.fn.addBar(1, this.msixTable);
    this.fn.addCapability(0x90, 0x11, 0, [vectors - 1, 0, 1, 0, 0, 0, 1, 8, 0, 0]);
    this.fn.writable.set([0xc0], 0x93);
  }

  #area(register: number): number {
    return Number(this.registers.bytes.getBigUint64(COMMON + register, true));
  }

  #ram(): DataView {
    return new DataView(this.#machine.ram.buffer);
  }
}

function littleEndian(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
}
