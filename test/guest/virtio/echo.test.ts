/** The driver's rings against the real device side, with a device that gives back what it reads. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Chain, VirtioDevice, Virtqueue } from '../../../devices/virtio/device.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import type { RamRange } from '../../../guest/memory/ram.js';
import type { PciDriver } from '../../../guest/pci/driver.js';
import { GuestPci } from '../../../guest/pci/guest-pci.js';
import { GuestVirtioDevice, type VirtioOptions } from '../../../guest/virtio/device.js';
import type { QueueRequest } from '../../../guest/virtio/queue.js';
import { InProcessMachine } from '../../../manager/ports/in-process/in-process-machine.js';

/** Two queues. The first echoes at once; the second gathers chains and answers them backwards, from the event loop. */
class EchoDevice implements VirtioDevice {
  readonly deviceId = 42;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(4);
  #later: Chain[] = [];

  constructor(queueSize: number) {
    this.queueSizes = [queueSize, queueSize];
  }

  writeConfig(): void {}
  activate(): void {}
  close(): void {}

  handleChain(queue: Virtqueue, chain: Chain): void {
    if (queue.index === 0) {
      echo(queue, chain);
      return;
    }
    if (this.#later.push(chain) > 1) return;
    setImmediate(() => {
      for (const each of this.#later.splice(0).reverse()) echo(queue, each);
      queue.flush();
    });
  }

  reset(): void {
    this.#later = [];
  }
}

function echo(queue: Virtqueue, chain: Chain): void {
  const bytes = new Uint8Array(chain.readable.byteLength);
  chain.readable.gather(0, bytes, 0, bytes.byteLength);
  queue.push(chain, chain.writable.scatter(0, bytes, 0, bytes.byteLength));
}

/** A guest of nothing but a bus and a driver for the device. */
async function boot(options: VirtioOptions, msix: boolean, queueSize = 16) {
  const machine = new InProcessMachine({ slots: 1, ramSizeBytes: 1 << 20 });
  const faults: string[] = [];
  const fn = new VirtioPciFunction(new EchoDevice(queueSize), machine.memory, {
    msix,
    log: (line) => faults.push(line),
  });
  machine.plug(1, [{ number: 0, function: fn }]);
  let device: GuestVirtioDevice | undefined;
  const driver: PciDriver = {
    name: 'echo',
    matches: ({ deviceId }) => deviceId === 0x1040 + 42,
    probe: async (found, services) => {
      device = await GuestVirtioDevice.open(found, services, { deviceFeatures: 0n, queueCount: 2, options });
      return { inUse: false, remove: (gone) => device!.close('ENODEV', gone) };
    },
  };
  const pci = new GuestPci(machine.bus, { drivers: [driver] });
  await pci.start();
  return { machine, ram: pci.services.ram, device: device!, faults };
}

/** A request of one page: its first half to read, cut at `cuts`, its second half to write, cut likewise. */
function request(page: RamRange, text: Uint8Array, cuts: readonly number[]) {
  page.bytes.fill(0);
  page.bytes.set(text);
  const pieces = (start: number) => {
    const ends = [...cuts.map((cut) => start + 1 + (cut % 2046)), start + 2048].sort((a, b) => a - b);
    let at = start;
    return ends.flatMap((end) => {
      const piece = { address: page.address + at, length: end - at };
      at = end;
      return piece.length > 0 ? [piece] : [];
    });
  };
  const readable = pieces(0);
  const all = [...readable, ...pieces(2048)];
  let complete!: (result: number) => void;
  const done = new Promise<number>((resolve) => (complete = resolve));
  const made: QueueRequest = {
    addresses: all.map(({ address }) => address),
    lengths: all.map(({ length }) => length),
    readableCount: readable.length,
    count: all.length,
    complete,
  };
  return { made, done };
}

const MODES: readonly (readonly [string, VirtioOptions, boolean])[] = [
  ['indirect, event indices, MSI-X', { indirect: true, eventIndex: true }, true],
  ['indirect, flags, the pin', { indirect: true, eventIndex: false }, false],
  ['chained, event indices, the pin', { indirect: false, eventIndex: true }, false],
  ['chained, flags, MSI-X', { indirect: false, eventIndex: false }, true],
];
/** Packed rings may have any size; four chains of four have to fit. */
const RINGS = [
  ['split', false, 16],
  ['packed', true, 16],
  ['packed, of an odd size', true, 17],
] as const;
const CASES = RINGS.flatMap(([ring, packed, size]) =>
  MODES.map(([mode, options, msix]) => [`${ring}, ${mode}`, { ...options, packed }, msix, size] as const),
);

describe.each(CASES)('%s', (_what, options, msix, size) => {
  it('negotiates the ring that it is meant to', async () => {
    const { device } = await boot(options, msix, size);
    expect((device.features & (1n << 34n)) !== 0n).toBe(options.packed);
    expect(device.queues.map((queue) => queue.size)).toEqual([size, size]);
  });

  it('every request comes back once, with what it said, however it is cut up', async () => {
    const { device, ram, faults } = await boot(options, msix, size);
    const pages = Array.from({ length: 4 }, () => ram.allocate(4096)!);
    const cuts = fc.array(fc.nat(), { maxLength: 1 });
    const round = fc.array(fc.tuple(fc.uint8Array({ maxLength: 2048 }), cuts), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(fc.nat(1), round, async (index, texts) => {
        const requests = texts.map(([text, where], i) => request(pages[i], text, where));
        for (const { made } of requests) expect(device.queues[index].add(made)).toBe(true);
        expect(await Promise.all(requests.map(({ done }) => done))).toEqual(requests.map(() => 2048));
        for (const [i, [text]] of texts.entries()) {
          expect(pages[i].bytes.slice(2048, 2048 + text.byteLength)).toEqual(text);
        }
      }),
      { numRuns: 150 },
    );
    expect(faults).toEqual([]);
  });

  it('what is under way when the device is pulled out fails, and nothing is written afterwards', async () => {
    const { machine, device, ram } = await boot(options, msix, size);
    const page = ram.allocate(4096)!;
    const { made, done } = request(page, Uint8Array.of(1, 2, 3), []);
    device.queues[1].add(made);
    // Let the device take the chain, but not answer it.
    await Promise.resolve();
    await Promise.resolve();
    machine.remove(1);
    expect(await done).toBe(-19);
    await new Promise((resolve) => setImmediate(resolve));
    expect(page.bytes.subarray(2048).every((byte) => byte === 0)).toBe(true);
  });
});

it.each([false, true])(
  'a buffer that is no memory makes the device ask for a reset, and what is under way fails with EIO (packed: %s)',
  async (packed) => {
    const { device, machine, faults } = await boot({ indirect: false, eventIndex: false, packed }, true);
    let complete!: (result: number) => void;
    const done = new Promise<number>((resolve) => (complete = resolve));
    const nowhere = machine.bus.ram.byteLength;
    device.queues[0].add({ addresses: [nowhere], lengths: [16], readableCount: 1, count: 1, complete });
    expect(await done).toBe(-5);
    expect(device.failed).toBe(true);
    expect(faults).toHaveLength(1);
  },
);
