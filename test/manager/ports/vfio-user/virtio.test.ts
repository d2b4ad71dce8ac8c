/** A whole device: a virtio-pci function with an echo device, driven by a raw client as a VMM with a guest would. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { GuestMemory } from '../../../../devices/virtio/memory/guest-memory.js';
import type { Chain, DeviceContext, VirtioDevice, Virtqueue } from '../../../../devices/virtio/device.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { eventfdDrain, SharedMapping } from '../../../../host/index.js';
import { dataAs } from '../../../../manager/device-process/hand-over/movable.js';
import { OutgoingParcel } from '../../../../manager/device-process/hand-over/parcel.js';
import {
  pauseFunction,
  quiesceFunction,
  restoreFunction,
  resumeFunction,
  saveFunction,
  VfioUserFunctionState,
} from '../../../../manager/device-process/hand-over/pci-function.js';
import { VfioUserServer } from '../../../../manager/ports/vfio-user/server.js';
import { carried } from '../../hand-over/carried.js';
import { eventfd, Harness, mappingsOf, memoryFile } from './harness.js';
import { Command, CONFIG_REGION, Irq, IrqFlag, Payload, type RawClient } from './raw-client.js';

const EAGAIN = -11;
const NO_VECTOR = 0xffff;
const MiB = 1024 * 1024;

/** Writes what it reads back, upside down. */
class EchoDevice implements VirtioDevice {
  readonly deviceId = 42;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly queueSizes = [16];
  readonly config = Uint8Array.of(1, 2, 3, 4);
  context: DeviceContext | undefined;
  /** Keeps chains until it is told to answer them. */
  keep = false;
  #onAnswered: () => void = () => undefined;
  readonly #kept: [queue: Virtqueue, chain: Chain][] = [];

  writeConfig(): void {}

  activate(context: DeviceContext): void {
    this.context = context;
  }

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (this.keep) this.#kept.push([queue, chain]);
    else this.#echo(queue, chain);
  }

  get hasKept(): boolean {
    return this.#kept.length > 0;
  }

  answer(): void {
    for (const [queue, chain] of this.#kept.splice(0)) {
      this.#echo(queue, chain);
      queue.flush();
    }
    this.#onAnswered();
  }

  #echo(queue: Virtqueue, chain: Chain): void {
    const bytes = Buffer.alloc(chain.readable.byteLength);
    chain.readable.gather(0, bytes, 0, bytes.length);
    queue.push(chain, chain.writable.scatter(0, bytes.reverse(), 0, bytes.length));
  }

  reset(): void | Promise<void> {
    this.context = undefined;
    if (this.hasKept) return new Promise((resolve) => (this.#onAnswered = resolve));
  }

  close(): void {}
}

/** Where the guest puts things: RAM in two maps with a hole between them, as on a PC. */
const LOW_RAM = { address: 0, offset: 0, size: 0xa0000 };
const HIGH_RAM = { address: 0xc0000, offset: 0xa0000, size: MiB };
const Ring = { size: 8, descriptors: 0x10000, avail: 0x11000, used: 0x12000 };
/** Across the end of low RAM when it is mapped in two pieces. */
const REQUEST = 0x4ffff;
const ANSWER = 0xd0000;

/** Guest memory as the guest sees it, through the file alone. */
class GuestRam {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(file: number) {
    this.#bytes = new SharedMapping(file).window(0, 2 * MiB);
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }

  write(address: number, text: string): void {
    this.#bytes.set(Buffer.from(text), offsetOf(address));
  }

  read(address: number, length: number): string {
    return Buffer.from(this.#bytes.subarray(offsetOf(address), offsetOf(address) + length)).toString();
  }

  putDescriptor(index: number, address: number, length: number, flags: number, next: number): void {
    const at = Ring.descriptors + index * 16;
    this.#view.setBigUint64(at, BigInt(address), true);
    this.#view.setUint32(at + 8, length, true);
    this.#view.setUint16(at + 12, flags, true);
    this.#view.setUint16(at + 14, next, true);
  }

  makeAvailable(count: number): void {
    const index = this.#view.getUint16(Ring.avail + 2, true);
    for (let i = 0; i < count; i++)
      this.#view.setUint16(Ring.avail + 4 + ((index + i) % Ring.size) * 2, 0, true);
    this.#view.setUint16(Ring.avail + 2, index + count, true);
  }

  get usedIndex(): number {
    return this.#view.getUint16(Ring.used + 2, true);
  }
}

function offsetOf(address: number): number {
  return address < LOW_RAM.size ? address : address - HIGH_RAM.address + HIGH_RAM.offset;
}

class Machine {
  device = new EchoDevice();
  readonly log: string[] = [];
  #server: VfioUserServer;
  #fn: VirtioPciFunction;
  readonly harness: Harness<VirtioPciFunction>;
  readonly file: number;
  readonly ram: GuestRam;

  /** `name` is that of the memory file, for tests that count mappings. */
  constructor(msix: boolean, name = 'guest-ram') {
    this.file = memoryFile(name, 2 * MiB);
    this.ram = new GuestRam(this.file);
    this.harness = new Harness(
      (memory: GuestMemory) => new VirtioPciFunction(this.device, memory, { msix }),
      () =>
        this.#fn.underWay ? quiesceFunction(this.#fn, this.device, (line) => this.log.push(line)) : undefined,
    );
    this.#server = this.harness.server;
    this.#fn = this.harness.fn;
  }

  /** Has another server go on, with a function and a device of its own, by what they say as JSON. */
  async handOver(msix: boolean): Promise<void> {
    const parcel = new OutgoingParcel();
    await this.#server.pause(1000);
    expect(await pauseFunction(this.#fn, this.device, 1000)).toBeUndefined();
    const said = { server: this.#server.save(parcel), function: saveFunction(this.#fn, parcel) };
    const arrived = carried(parcel);
    const state = dataAs(VfioUserFunctionState, JSON.parse(JSON.stringify(said)));
    const { path, reactor } = this.harness;
    const hooks = { onConnect: () => undefined, onDisconnect: () => undefined, log: () => undefined };
    const server = new VfioUserServer({
      ...{ path, reactor, ...hooks },
      createFunction: (memory) =>
        (this.#fn = new VirtioPciFunction((this.device = new EchoDevice()), memory, { msix })),
    });
    onTestFinished(() => server.close());
    expect(server.restore(state.server, arrived)).toBeUndefined();
    expect(await restoreFunction(this.#fn, state.function, arrived)).toBeUndefined();
    server.resume();
    resumeFunction(this.#fn, this.device);
    this.#server = server;
  }

  async mapRam(client: RawClient): Promise<void> {
    const half = 0x50000;
    for (const { address, offset, size } of [
      { address: 0, offset: 0, size: half },
      { address: half, offset: half, size: LOW_RAM.size - half },
      HIGH_RAM,
    ]) {
      expect(
        await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(address, size, offset), { fds: [this.file] }),
      ).toBe(0);
    }
  }
}

/** The virtio structures, found through the capability list as a guest finds them: type → where. */
async function findStructures(client: RawClient): Promise<Map<number, { bar: number; offset: number }>> {
  const config = await client.readRegion(CONFIG_REGION, 0, 256);
  expect(config.readUInt16LE(0)).toBe(0x1af4);
  expect(config.readUInt16LE(2)).toBe(0x1040 + 42);
  const structures = new Map<number, { bar: number; offset: number }>();
  for (let at = config[0x34]; at !== 0; at = config[at + 1]) {
    if (config[at] !== 9) continue;
    structures.set(config[at + 3], { bar: config[at + 4], offset: config.readUInt32LE(at + 8) });
  }
  return structures;
}

class Driver {
  readonly #client: RawClient;
  readonly #common: { bar: number; offset: number };
  readonly #notify: { bar: number; offset: number };
  readonly #isr: { bar: number; offset: number };

  private constructor(client: RawClient, structures: Map<number, { bar: number; offset: number }>) {
    const find = (type: number): { bar: number; offset: number } => {
      const found = structures.get(type);
      if (found === undefined) throw new Error(`no virtio structure ${type}`);
      return found;
    };
    this.#client = client;
    this.#common = find(1);
    this.#notify = find(2);
    this.#isr = find(3);
  }

  static async start(client: RawClient, vector: number): Promise<Driver> {
    const driver = new Driver(client, await findStructures(client));
    const [busMaster, memorySpace] = [4, 2];
    await client.writeNumber(CONFIG_REGION, 4, 2, busMaster | memorySpace);
    await driver.#negotiate();
    await driver.#enableQueue(vector);
    // Config changes by the first vector, where there are vectors.
    await driver.#set(16, 2, vector === NO_VECTOR ? NO_VECTOR : 0);
    const driverOk = 4;
    await driver.#set(20, 1, 1 | 2 | 8 | driverOk);
    return driver;
  }

  async #negotiate(): Promise<void> {
    await this.#set(20, 1, 0);
    await this.#set(20, 1, 1 | 2);
    // VIRTIO_F_VERSION_1 alone.
    await this.#set(8, 4, 1);
    await this.#set(12, 4, 1);
    await this.#set(20, 1, 1 | 2 | 8);
    expect(await this.#client.readNumber(this.#common.bar, this.#common.offset + 20, 1)).toBe(1 | 2 | 8);
  }

  async #enableQueue(vector: number): Promise<void> {
    await this.#set(22, 2, 0);
    await this.#set(24, 2, Ring.size);
    await this.#set(26, 2, vector);
    // 64-bit registers, in one access of 8 bytes each.
    await this.#set(32, 8, Ring.descriptors);
    await this.#set(40, 8, Ring.avail);
    await this.#set(48, 8, Ring.used);
    await this.#set(28, 2, 1);
  }

  async #set(register: number, width: 1 | 2 | 4 | 8, value: number): Promise<void> {
    await this.#client.writeNumber(this.#common.bar, this.#common.offset + register, width, value);
  }

  async ring(): Promise<void> {
    await this.#client.writeNumber(this.#notify.bar, this.#notify.offset, 2, 0);
  }

  async readIsr(): Promise<number> {
    return this.#client.readNumber(this.#isr.bar, this.#isr.offset, 1);
  }
}

describe('a virtio function over vfio-user', () => {
  it('serves a doorbell and interrupts by MSI-X', async () => {
    const machine = new Machine(true);
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const vectors = [eventfd(), eventfd()];
    const set = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.MSIX, 0, 2);
    expect(await client.errnoOf(Command.SET_IRQS, set, { fds: vectors })).toBe(0);
    await enableMsix(client);
    const driver = await Driver.start(client, 1);

    machine.ram.write(REQUEST, 'olleh');
    machine.ram.putDescriptor(0, REQUEST, 5, 1, 1);
    machine.ram.putDescriptor(1, ANSWER, 16, 2, 0);
    machine.ram.makeAvailable(1);
    await driver.ring();
    // The doorbell is answered first, so its work may be a step behind; any reply after that has seen it done.
    expect(await driver.readIsr()).toBe(0);
    expect(machine.ram.usedIndex).toBe(1);
    expect(machine.ram.read(ANSWER, 5)).toBe('hello');
    expect(vectors.map(eventfdDrain)).toEqual([EAGAIN, 1]);

    machine.device.context?.configChanged();
    expect(vectors.map(eventfdDrain)).toEqual([1, EAGAIN]);
    await machine.harness.disconnect(client);
    expect(machine.device.context).toBeUndefined();
  });

  it('serves a doorbell and interrupts by INTx, which the guest acknowledges and the VMM unmasks', async () => {
    const machine = new Machine(false);
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const pin = eventfd();
    const set = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, Irq.INTX, 0, 1);
    expect(await client.errnoOf(Command.SET_IRQS, set, { fds: [pin] })).toBe(0);
    const driver = await Driver.start(client, NO_VECTOR);
    machine.ram.write(REQUEST, 'olleh');
    machine.ram.putDescriptor(0, REQUEST, 5, 1, 1);
    machine.ram.putDescriptor(1, ANSWER, 16, 2, 0);
    for (let round = 1; round <= 3; round++) {
      machine.ram.makeAvailable(2);
      await driver.ring();
      expect(await driver.readIsr()).toBe(1);
      expect(eventfdDrain(pin)).toBe(1);
      expect(machine.ram.usedIndex).toBe(round * 2);
      const unmask = Payload.setIrqs(IrqFlag.NONE | IrqFlag.UNMASK, Irq.INTX, 0, 1);
      expect(await client.errnoOf(Command.SET_IRQS, unmask)).toBe(0);
      expect(eventfdDrain(pin)).toBe(EAGAIN);
    }
  });

  it.each<[string, (client: RawClient) => Promise<unknown>]>([
    [
      'unmaps a buffer',
      (client) => client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(HIGH_RAM.address, HIGH_RAM.size)),
    ],
    ['takes the bus from it', (client) => client.writeNumber(CONFIG_REGION, 4, 2, 2)],
    ['resets it', (client) => client.errnoOf(Command.RESET, Buffer.alloc(0))],
  ])('answers a client that %s once no request under way writes to it', async (_, take) => {
    const machine = new Machine(false);
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const driver = await Driver.start(client, NO_VECTOR);
    machine.ram.write(REQUEST, 'olleh');
    machine.ram.putDescriptor(0, REQUEST, 5, 1, 1);
    machine.ram.putDescriptor(1, ANSWER, 16, 2, 0);
    machine.ram.makeAvailable(1);
    machine.device.keep = true;
    await driver.ring();
    while (!machine.device.hasKept) await new Promise(setImmediate);
    let isTaken = false;
    const taken = take(client).then(() => (isTaken = true));
    for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
    expect(isTaken).toBe(false);
    machine.device.answer();
    await taken;
    expect(machine.ram.read(ANSWER, 5)).toBe('hello');
    await client.readRegion(CONFIG_REGION, 0, 4);
  });

  it('lets a client go that leaves while it waits', async () => {
    const machine = new Machine(false);
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const driver = await Driver.start(client, NO_VECTOR);
    machine.ram.putDescriptor(0, REQUEST, 5, 0, 0);
    machine.ram.makeAvailable(1);
    machine.device.keep = true;
    await driver.ring();
    while (!machine.device.hasKept) await new Promise(setImmediate);
    void client.writeNumber(CONFIG_REGION, 4, 2, 2).catch(() => undefined);
    for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
    await machine.harness.disconnect(client);
    machine.device.answer();
    machine.device.keep = false;
    const next = await machine.harness.negotiated();
    await machine.mapRam(next);
    await (await Driver.start(next, NO_VECTOR)).ring();
    expect(machine.device.context).toBeDefined();
    // It was not waited for until there was no more time.
    expect(machine.log).toEqual([]);
  });

  it('begins what waited for something again once it may master the bus again, and not before', async () => {
    const machine = new Machine(false);
    const calls: string[] = [];
    const holding = { hold: () => void calls.push('hold'), unhold: () => void calls.push('unhold') };
    Object.assign(machine.device, holding, { keep: true });
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const driver = await Driver.start(client, NO_VECTOR);
    machine.ram.putDescriptor(0, REQUEST, 5, 0, 0);
    machine.ram.makeAvailable(1);
    await driver.ring();
    while (!machine.device.hasKept) await new Promise(setImmediate);
    await client.writeNumber(CONFIG_REGION, 4, 2, 2);
    expect(calls).toEqual(['hold']);
    expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(HIGH_RAM.address, HIGH_RAM.size))).toBe(
      0,
    );
    expect(calls).toEqual(['hold', 'hold']);
    await client.writeNumber(CONFIG_REGION, 4, 2, 4 | 2);
    expect(calls).toEqual(['hold', 'hold', 'unhold']);
  });

  it.each([true, false])('goes on in another process, again and again (MSI-X: %s)', async (msix) => {
    const machine = new Machine(msix);
    const client = await machine.harness.negotiated();
    await machine.mapRam(client);
    const fd = eventfd();
    const irq = msix ? Irq.MSIX : Irq.INTX;
    const set = Payload.setIrqs(IrqFlag.EVENTFD | IrqFlag.TRIGGER, irq, 0, 1);
    expect(await client.errnoOf(Command.SET_IRQS, set, { fds: [fd] })).toBe(0);
    if (msix) await enableMsix(client);
    const driver = await Driver.start(client, msix ? 0 : NO_VECTOR);
    machine.ram.write(REQUEST, 'olleh');
    machine.ram.putDescriptor(0, REQUEST, 5, 1, 1);
    machine.ram.putDescriptor(1, ANSWER, 16, 2, 0);
    for (let round = 1; round <= 5; round++) {
      machine.ram.makeAvailable(1);
      await machine.handOver(msix);
      // What nobody rang for is found, as the ring is looked at anew.
      expect(machine.ram.usedIndex).toBe(2 * round - 1);
      expect(await driver.readIsr()).toBe(msix ? 0 : 1);
      expect(eventfdDrain(fd)).toBe(1);
      // An INTx that fired has masked itself, and stays so until the VMM says so.
      await machine.handOver(msix);
      if (!msix) {
        const unmask = Payload.setIrqs(IrqFlag.NONE | IrqFlag.UNMASK, Irq.INTX, 0, 1);
        expect(await client.errnoOf(Command.SET_IRQS, unmask)).toBe(0);
      }
      expect(eventfdDrain(fd)).toBe(EAGAIN);
      machine.ram.makeAvailable(1);
      await driver.ring();
      expect(await driver.readIsr()).toBe(msix ? 0 : 1);
      expect(eventfdDrain(fd)).toBe(1);
      if (!msix) {
        const unmask = Payload.setIrqs(IrqFlag.NONE | IrqFlag.UNMASK, Irq.INTX, 0, 1);
        expect(await client.errnoOf(Command.SET_IRQS, unmask)).toBe(0);
      }
    }
    expect(machine.ram.usedIndex).toBe(10);
    expect(machine.ram.read(ANSWER, 5)).toBe('hello');
  });

  it.each([
    ['the ring', Ring.used],
    ['a buffer', ANSWER],
  ])(
    'bears that the VMM moves the memory of %s while it is looked at, and serves it then',
    async (_, lost) => {
      const machine = new Machine(false);
      const client = await machine.harness.negotiated();
      await machine.mapRam(client);
      const driver = await Driver.start(client, NO_VECTOR);
      const map = lost === ANSWER ? HIGH_RAM : { address: 0, offset: 0, size: 0x50000 };
      machine.ram.write(REQUEST, 'olleh');
      machine.ram.putDescriptor(0, REQUEST, 5, 1, 1);
      machine.ram.putDescriptor(1, ANSWER, 16, 2, 0);
      machine.ram.makeAvailable(1);
      expect(await client.errnoOf(Command.DMA_UNMAP, Payload.dmaUnmap(map.address, map.size))).toBe(0);
      await driver.ring();
      expect(await driver.readIsr()).toBe(0);
      expect(machine.ram.usedIndex).toBe(0);
      const mapAgain = Payload.dmaMap(map.address, map.size, map.offset);
      expect(await client.errnoOf(Command.DMA_MAP, mapAgain, { fds: [machine.file] })).toBe(0);
      // No doorbell: the one from before counts.
      expect(await driver.readIsr()).toBe(1);
      expect(machine.ram.usedIndex).toBe(1);
      expect(machine.ram.read(ANSWER, 5)).toBe('hello');
    },
  );

  it('starts anew for the next client after one has left in the middle', async () => {
    const machine = new Machine(true, 'guest-ram-anew');
    for (let round = 0; round < 3; round++) {
      const client = await machine.harness.negotiated();
      await machine.mapRam(client);
      await Driver.start(client, 0);
      expect(machine.device.context).toBeDefined();
      await machine.harness.disconnect(client);
      expect(machine.device.context).toBeUndefined();
      // The guest's own mapping, in this process too, is what remains.
      expect(mappingsOf('guest-ram-anew')).toBe(1);
    }
  });

  it('breaks the device, and nothing else, when a ring lies in what is no memory', async () => {
    const machine = new Machine(false);
    const client = await machine.harness.negotiated();
    expect(await client.errnoOf(Command.DMA_MAP, Payload.dmaMap(0, LOW_RAM.size))).toBe(0);
    const driver = await Driver.start(client, NO_VECTOR);
    await driver.ring();
    const structures = await findStructures(client);
    const common = structures.get(1) ?? { bar: -1, offset: 0 };
    const [failed, needsReset] = [128, 64];
    expect((await client.readNumber(common.bar, common.offset + 20, 1)) & (failed | needsReset)).toBe(
      needsReset,
    );
  });
});

/** Sets the enable bit of the MSI-X capability. */
async function enableMsix(client: RawClient): Promise<void> {
  const config = await client.readRegion(CONFIG_REGION, 0, 256);
  let at = config[0x34];
  while (at !== 0 && config[at] !== 0x11) at = config[at + 1];
  expect(at).not.toBe(0);
  await client.writeNumber(CONFIG_REGION, at + 2, 2, 0x8000);
}
