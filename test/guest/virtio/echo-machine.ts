/** A machine with one virtio function that gives back what it reads, and a guest of nothing but a driver for it. */
import type { PciFunction } from '../../../devices/pci/function.js';
import type { Chain, VirtioDevice, Virtqueue } from '../../../devices/virtio/device.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../devices/virtio/transport/virtio-pci.js';
import type { GuestBus } from '../../../guest/bus.js';
import type { GuestRam, RamRange } from '../../../guest/memory/ram.js';
import type { PciDriver } from '../../../guest/pci/driver.js';
import type { GuestPciFunction } from '../../../guest/pci/function.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { virtioDeviceId } from '../../../guest/virtio/device-id.js';
import { GuestVirtioDevice, type VirtioOptions } from '../../../guest/virtio/device.js';
import type { QueueRequest } from '../../../guest/virtio/queue.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';

/** One that there are transitional functions of. */
const DEVICE_ID = 9;
const SLOT = 1;
/** Half of it to read, half of it to write. */
const PAGE_BYTES = 4096;
const HALF = PAGE_BYTES / 2;

/** Even queues echo at once; odd ones gather chains and answer them backwards, from the event loop. */
export class EchoDevice implements VirtioDevice {
  readonly deviceId = DEVICE_ID;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly config = Uint8Array.of(3, 0, 0x61, 0x62, 0x63);
  readonly queueSizes: readonly number[];
  readonly #held: Chain[][];

  constructor(queueCount: number, queueSize: number) {
    this.queueSizes = new Array<number>(queueCount).fill(queueSize);
    this.#held = this.queueSizes.map(() => []);
  }

  writeConfig(): void {}
  activate(): void {}
  close(): void {}

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (queue.index % 2 === 0) {
      echo(queue, chain);
      return;
    }
    const held = this.#held[queue.index];
    if (held.push(chain) > 1) return;
    setImmediate(() => {
      for (const each of held.splice(0).reverse()) echo(queue, each);
      queue.flush();
    });
  }

  reset(): void {
    for (const held of this.#held) held.length = 0;
  }

  resetQueue(index: number): void {
    this.#held[index].length = 0;
  }
}

export function echo(queue: Virtqueue, chain: Chain): void {
  const bytes = new Uint8Array(chain.readable.byteLength);
  chain.readable.gather(0, bytes, 0, bytes.byteLength);
  queue.push(chain, chain.writable.scatter(0, bytes, 0, bytes.byteLength));
}

export interface EchoMachineOptions {
  readonly fn?: Partial<VirtioPciOptions>;
  readonly guest?: VirtioOptions;
  readonly queueCount?: number;
  readonly queueSize?: number;
  /** In place of an `EchoDevice`. */
  readonly device?: VirtioDevice;
  /** What is plugged in, in place of the function. */
  readonly seat?: (fn: VirtioPciFunction) => PciFunction;
}

export class EchoMachine {
  readonly bus: GuestBus;
  /** The guest's RAM as devices see it. */
  readonly memory: GuestMemory;
  readonly fn: VirtioPciFunction;
  readonly ram: GuestRam;
  /** What the function logged. */
  readonly faults: string[] = [];
  readonly queueCount: number;
  found!: GuestPciFunction;
  device!: GuestVirtioDevice;
  readonly #pci: GuestPci;

  /** `probeError` of a function that no driver took is thrown. */
  static async boot(options: EchoMachineOptions = {}): Promise<EchoMachine> {
    const machine = new EchoMachine(options);
    await machine.#pci.start();
    const [{ error }] = machine.#pci.functions();
    if (error !== undefined) throw error;
    return machine;
  }

  private constructor(options: EchoMachineOptions) {
    const { fn = {}, guest = {}, queueCount = 2, queueSize = 16, seat } = options;
    this.queueCount = queueCount;
    const device = options.device ?? new EchoDevice(queueCount, queueSize);
    const log = (line: string) => void this.faults.push(line);
    const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 4 << 20 });
    this.fn = new VirtioPciFunction(device, machine.memory, { msix: true, log, ...fn });
    machine.plug(SLOT, [{ number: 0, function: seat?.(this.fn) ?? this.fn }]);
    const driver: PciDriver = {
      name: 'echo',
      matches: (found) => virtioDeviceId(found) === DEVICE_ID,
      probe: async (found) => {
        this.found = found;
        await this.open(guest);
        return { inUse: false, remove: (gone) => this.device.close('ENODEV', gone) };
      },
    };
    this.bus = machine.bus;
    this.memory = machine.memory;
    this.#pci = new GuestPci(machine.bus, { drivers: [driver] });
    this.ram = this.#pci.services.ram;
  }

  /** Has a driver take the function, again or by other means. */
  async open(options: VirtioOptions): Promise<void> {
    const setup = { deviceFeatures: 0n, queueCount: this.queueCount, options };
    this.device = await GuestVirtioDevice.open(this.found, this.#pci.services, setup);
  }

  /** Resets the function by its PCI Express capability, as a kernel does from outside of the driver. */
  resetFunctionLevel(): void {
    const express = this.found.capabilities().find(({ id }) => id === 0x10);
    if (express === undefined) throw new Error('no PCI Express capability');
    this.found.writeConfig(express.offset + 8, 2, 0x8000);
  }

  page(): RamRange {
    const page = this.ram.allocate(PAGE_BYTES);
    if (page === undefined) throw new Error('no RAM');
    return page;
  }

  /** Sends a text that nobody sent before and checks the answer; answers the errno of a request that failed. */
  async exchange(queue: number, page: RamRange): Promise<number> {
    const text = `${queue}: request ${serial++}`;
    page.bytes.fill(0);
    new TextEncoder().encodeInto(text, page.bytes);
    const result = await this.#send(queue, page, text.length);
    if (result < 0) return result;
    const answer = new TextDecoder().decode(page.bytes.subarray(HALF, HALF + text.length));
    if (result !== text.length || answer !== text) throw new Error(`sent ${text}, received ${answer}`);
    return 0;
  }

  /** Exchanges one after the other until `until` says so, at least once. Answers how many came back, and how many failed. */
  async exchangeUntil(queue: number, until: () => boolean): Promise<{ answered: number; failed: number }> {
    const page = this.page();
    const outcome = { answered: 0, failed: 0 };
    do {
      if ((await this.exchange(queue, page)) === 0) outcome.answered++;
      else outcome.failed++;
      // A request that fails at once must not keep the event loop.
      if (outcome.failed > 0) await new Promise((resolve) => setImmediate(resolve));
    } while (!until());
    this.ram.free(page);
    return outcome;
  }

  /** `count` exchanges on every queue, `depth` of them at a time. */
  async exchangeAll(count: number, depth = 1): Promise<void> {
    const work: Promise<unknown>[] = [];
    for (let queue = 0; queue < this.queueCount; queue++) {
      for (let lane = 0; lane < depth; lane++) {
        let left = count / depth;
        work.push(
          this.exchangeUntil(queue, () => --left <= 0).then(({ failed }) => {
            if (failed > 0) throw new Error(`${failed} requests failed`);
          }),
        );
      }
    }
    await Promise.all(work);
  }

  #send(queue: number, page: RamRange, length: number): Promise<number> {
    return new Promise((resolve) => {
      let completions = 0;
      const request: QueueRequest = {
        addresses: [page.address, page.address + HALF],
        lengths: [length, HALF],
        readableCount: 1,
        count: 2,
        complete: (result) => {
          if (++completions > 1) throw new Error('a request was answered twice');
          resolve(result);
        },
      };
      // A ring that was just reset takes nothing: the caller tries again.
      if (this.device.queues.at(queue)?.add(request) !== true) resolve(-11);
    });
  }
}

let serial = 0;
