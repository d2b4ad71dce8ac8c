import { describe, expect, it } from 'vitest';
import type { Chain, VirtioDevice, Virtqueue } from '../../../../devices/virtio/device.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { VirtioPciFunction } from '../../../../devices/virtio/transport/virtio-pci.js';
import { MockPackedDriver } from '../mock-packed-driver.js';
import { nullDevice } from '../null-device.js';
import { boot, enableMsix, NO_VECTOR, plug, VERSION_1, type Machine } from '../transport/mock-pci-driver.js';
import { busyMachine, freshFunction } from './busy-machine.js';
import { decoded, expectBothWays, saved } from './both-ways.js';

const WAYS = ['restoreState', 'replayState'] as const;
const OPTIONS = { msix: true } as const;
const RING_PACKED = 1n << 34n;

/** A device that keeps what it is given. */
function keeper(): VirtioDevice & { readonly chains: Chain[]; queue: Virtqueue | undefined } {
  const chains: Chain[] = [];
  const device = {
    ...nullDevice(),
    chains,
    queue: undefined as Virtqueue | undefined,
    handleChain: (queue: Virtqueue, chain: Chain) => {
      device.queue = queue;
      chains.push(chain);
    },
  };
  return device;
}

/** One chain of a readable and a writable buffer, told apart by their places. */
function chainAt(machine: Machine, n: number, writable = 16) {
  return [
    { address: machine.buffer(2 * n), length: 16 },
    { address: machine.buffer(2 * n + 1), length: writable, writable: true },
  ];
}

function placesOf(chains: readonly Chain[], { ram }: Machine): number[] {
  return chains.map(({ readable, writable }) => {
    expect(readable.bytes[0]).toBe(ram);
    expect(writable.offsets[0]).toBe(readable.offsets[0] + 4096);
    return readable.offsets[0] / 8192;
  });
}

describe.each(WAYS)('after %s', (way) => {
  it('nothing happens before the port says so; then the device gets its chains again, in their order, and new ones after them', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    const queue = boot(machine, VERSION_1);
    for (let n = 0; n < 3; n++) queue.add(chainAt(machine, n));
    machine.driver.kick(0);
    device.queue?.push(device.chains[1], 16);
    const before = placesOf(device.chains, machine);
    const blob = saved(machine.fn);
    machine.fn.reset();
    // This one comes while nobody is there.
    queue.add(chainAt(machine, 3));

    const next = keeper();
    const fn = new VirtioPciFunction(next, machine.memory, OPTIONS);
    expect(fn[way](blob)).toBeUndefined();
    const ram = machine.ram.slice();
    expect(next.chains).toEqual([]);
    expect(Buffer.compare(ram, machine.ram)).toBe(0);
    fn.afterWrite();
    const places = placesOf(next.chains, machine);
    expect(places).toEqual([before[0], before[2], before[2] + 1]);
    for (const chain of next.chains) next.queue?.push(chain, 1);
    next.queue?.flush();
    expect(queue.reap().map(({ length }) => length)).toEqual([16, 1, 1, 1]);
  });

  it('a chain has its buffers though younger ones were used over its descriptors in a packed ring', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    machine.driver.negotiate(VERSION_1 | RING_PACKED);
    const shape = machine.queue(0);
    const place = { ramAddress: shape.descriptorArea, size: 8, eventIdx: false };
    const queue = new MockPackedDriver(machine.ram.subarray(0, 0x1_0000), place);
    machine.driver.setUpQueue(0, queue as never, NO_VECTOR);
    machine.driver.addStatus(4);
    const ids = [0, 1, 2].map((n) => queue.add(chainAt(machine, n)));
    machine.driver.kick(0);
    // Its used element goes where the first chain's descriptor was.
    device.queue?.push(device.chains[1], 16);
    device.queue?.flush();
    expect(queue.reap()).toEqual([{ id: ids[1], length: 16 }]);
    const before = placesOf(device.chains, machine);
    const blob = saved(machine.fn);
    machine.fn.reset();

    const next = keeper();
    const fn = new VirtioPciFunction(next, machine.memory, OPTIONS);
    expect(fn[way](blob)).toBeUndefined();
    fn.afterWrite();
    expect(placesOf(next.chains, machine)).toEqual([before[0], before[2]]);
    for (const chain of next.chains) next.queue?.push(chain, 3);
    next.queue?.flush();
    expect(queue.reap()).toEqual([
      { id: ids[0], length: 3 },
      { id: ids[2], length: 3 },
    ]);
  });

  it('a function that a driver has at work refuses, and so does one whose device has yet to finish its reset', async () => {
    const machine = busyMachine();
    const blob = saved(machine.fn);
    expect(machine.fn[way](blob)).toBe('the function is in use');
    let finish = () => {};
    const slow = plug(nullDevice({ reset: () => new Promise((resolve) => (finish = resolve)) }));
    boot(slow);
    slow.driver.write('status', 0);
    expect(slow.fn[way](blob)).toBe('the function is in use');
    finish();
    await new Promise((resolve) => setImmediate(resolve));
    expect(slow.fn[way](blob)).not.toBe('the function is in use');
  });

  it('a device that throws at its state refuses it, and one without a state of its own takes none', () => {
    const machine = busyMachine();
    const blob = saved(machine.fn);
    const config = Uint8Array.of(1, 2, 3, 4);
    const throwing = nullDevice({
      config,
      restoreState: () => {
        throw new Error('not today');
      },
    });
    const thrower = new VirtioPciFunction(throwing, machine.memory, OPTIONS);
    expect(thrower[way](blob)).toContain('not today');
    const plain = new VirtioPciFunction(nullDevice({ config }), machine.memory, OPTIONS);
    expect(plain[way](blob)).toBe('the device takes over no state of its own');
  });

  it('a device that fails as it starts needs a reset, as after DRIVER_OK', () => {
    const machine = busyMachine();
    const blob = saved(machine.fn);
    const log: string[] = [];
    const failing = nullDevice({
      config: Uint8Array.of(1, 2, 3, 4),
      restoreState: () => undefined,
      activate: () => {
        throw new Error('no backend');
      },
    });
    const fn = new VirtioPciFunction(failing, machine.memory, { ...OPTIONS, log: (line) => log.push(line) });
    expect(fn[way](blob)).toBeUndefined();
    expect(fn.readBar(4, 20, 1) & 0x40).toBe(0x40);
    // ISR status says that the configuration changed.
    expect(fn.readBar(4, 0x1000, 1)).toBe(2);
    expect(log.join()).toContain('no backend');
  });
});

describe('saving', () => {
  it('publishes what the device has completed, and tells the driver', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    enableMsix(machine);
    const queue = boot(machine, VERSION_1);
    queue.add(chainAt(machine, 0));
    machine.driver.kick(0);
    device.queue?.push(device.chains[0], 16);
    expect(queue.reap()).toEqual([]);
    const { queues } = decoded(saved(machine.fn));
    expect(queue.reap()).toHaveLength(1);
    expect(machine.interrupts).toContain('msix 1');
    expect(queues[0]).toMatchObject({ nextAvail: 1, nextUsed: 1, chains: [] });
  });

  it('of a function that was just restored gives the same blob again', () => {
    const machine = busyMachine();
    const blob = saved(machine.fn);
    const { restored } = expectBothWays(blob, machine.make);
    restored.afterWrite();
    expect(Buffer.compare(saved(restored), blob)).toBe(0);
  });

  it('fails where the device cannot tell its state', () => {
    const { fn } = plug(
      nullDevice({
        saveState: () => {
          throw new Error('two renames are half done');
        },
      }),
    );
    expect(fn.saveState().problem).toContain('two renames are half done');
  });

  it('fails where a buffer under way is in no memory any more', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    const queue = boot(machine, VERSION_1);
    const elsewhere = 0x100_0000;
    machine.memory.addRegion(new ArrayRegion(elsewhere, new Uint8Array(64)));
    queue.add([{ address: elsewhere, length: 64, writable: true }]);
    machine.driver.kick(0);
    expect(device.chains).toHaveLength(1);
    machine.memory.removeRegion(elsewhere, 64);
    expect(machine.fn.saveState().problem).toContain('in memory no more');
  });

  it('fails while memory is moved, and what is pushed meanwhile is used afterwards', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    const queue = boot(machine, VERSION_1);
    queue.add(chainAt(machine, 0));
    machine.driver.kick(0);
    const region = machine.memory.removeRegion(0x1_0000, machine.ram.length);
    device.queue?.push(device.chains[0], 16);
    expect(machine.fn.saveState().problem).toContain('in memory no more');
    if (region !== undefined) machine.memory.addRegion(region);
    expect(decoded(saved(machine.fn)).queues[0]).toMatchObject({ nextUsed: 1, chains: [] });
    expect(queue.reap()).toHaveLength(1);
  });

  it('of a function that may not master the bus keeps what its device has completed, which is used once it may', () => {
    const device = keeper();
    const machine = plug(device, OPTIONS);
    const queue = boot(machine, VERSION_1);
    for (let n = 0; n < 3; n++) queue.add(chainAt(machine, n));
    machine.driver.kick(0);
    const places = placesOf(device.chains, machine);
    machine.fn.writeConfig(4, 2, 2);
    device.queue?.push(device.chains[1], 7);
    device.queue?.flush();
    const blob = saved(machine.fn);
    const { chains } = decoded(blob).queues[0];
    expect(chains.map(({ completed, usedLength }) => [completed, usedLength])).toEqual([
      [false, 0],
      [true, 7],
      [false, 0],
    ]);
    machine.fn.reset();
    const next = keeper();
    const { restored } = expectBothWays(blob, {
      memory: machine.memory,
      options: OPTIONS,
      device: () => next,
    });
    restored.afterWrite();
    expect(next.chains).toEqual([]);
    expect(queue.reap()).toEqual([]);
    restored.writeConfig(4, 2, 6);
    restored.afterWrite();
    expect(queue.reap().map(({ length }) => length)).toEqual([7]);
    expect(placesOf(next.chains, machine)).toEqual([places[0], places[2]]);
  });

  it('of a function that nobody has touched can be restored', () => {
    const machine = busyMachine();
    expectBothWays(saved(freshFunction(machine)), machine.make);
  });
});
