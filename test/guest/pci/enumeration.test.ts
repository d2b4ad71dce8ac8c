import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { BarSpec } from '../../../devices/pci/function.js';
import { Card } from '../../../devices/pci/topology/card.js';
import { Switch } from '../../../devices/pci/topology/switch.js';
import type { Occupant } from '../../../devices/pci/topology/slot.js';
import { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { VirtioPciFunction } from '../../../devices/virtio/transport/virtio-pci.js';
import { PciTree, type HostWindows } from '../../../guest/pci/enumeration.js';
import type { BusNode, FunctionNode } from '../../../guest/pci/tree.js';
import { TestFunction, VENDOR_ID, testFunctions } from '../../devices/pci/topology/test-function.js';
import { nullDevice } from '../../devices/virtio/null-device.js';
import { PcieMachine, WINDOWS, rootPorts } from './pcie-machine.js';

const MB = 2 ** 20;
const MEMORY_SPACE = 0x2;

/** Everything on the machine, which was powered on with what is in its slots. */
function enumerate(machine: PcieMachine, windows: HostWindows = WINDOWS): PciTree {
  machine.reset();
  const tree = new PciTree(machine.bus, windows);
  tree.enumerate();
  return tree;
}

/** The functions that test functions stand behind, by device id. */
function leaves(tree: PciTree): FunctionNode[] {
  return tree.functions().filter(({ vendorId }) => vendorId === VENDOR_ID);
}

function buses(tree: PciTree): BusNode[] {
  return [tree.root, ...tree.functions().flatMap(({ secondary }) => secondary ?? [])];
}

function address(fn: FunctionNode, index: number): number {
  const bar = fn.bars.find((each) => each.index === index);
  if (bar?.address === undefined) throw new Error(`BAR ${index} of ${fn.name} has no place`);
  return bar.address;
}

describe('bus numbers', () => {
  it('are given depth first, and what is left evenly to ports where something may be plugged in', () => {
    const machine = new PcieMachine(rootPorts(3));
    const extension = new Switch([11, 12]);
    extension.slots[1].insert(new Card(testFunctions(2, 0x21)));
    machine.complex.rootPorts[1].slot.insert(extension);
    const tree = enumerate(machine);
    expect(tree.functions().map(({ name }) => name)).toEqual([
      '0000:00:00.0',
      '0000:00:01.0',
      '0000:00:02.0',
      '0000:55:00.0',
      '0000:56:00.0',
      '0000:56:01.0',
      '0000:81:00.0',
      '0000:81:00.1',
      '0000:00:03.0',
    ]);
    const ranges = buses(tree).map(({ number, lastNumber }) => [number, lastNumber]);
    expect(ranges).toEqual([
      [0, 255],
      [1, 84],
      [85, 171],
      [86, 171],
      [87, 128],
      [129, 171],
      [172, 255],
    ]);
  });

  it('that run out leave bridges closed, and all else as it should be', () => {
    const machine = new PcieMachine(rootPorts(10));
    for (const [i, { slot }] of machine.complex.rootPorts.entries()) {
      const extension = new Switch(Array.from({ length: 32 }, (_, k) => 100 + 32 * i + k));
      for (const [k, each] of extension.slots.entries()) {
        each.insert(new Card(testFunctions(1, 1000 + 32 * i + k)));
      }
      slot.insert(extension);
    }
    const tree = enumerate(machine);
    const numbers = buses(tree).map(({ number }) => number);
    expect(new Set(numbers).size).toBe(256);
    // 255 numbers: seven switches of 34 fit, and the eighth gets 17, two of which are its own.
    const ids = leaves(tree).map(({ deviceId }) => deviceId);
    expect(ids).toEqual(Array.from({ length: 7 * 32 + 15 }, (_, i) => 1000 + i));
    for (const fn of leaves(tree)) expect(fn.config.read(2, 2)).toBe(fn.deviceId);
  });
});

describe('functions', () => {
  it('are all found on a card with 256 of them', () => {
    const machine = new PcieMachine(rootPorts(1));
    machine.complex.rootPorts[0].slot.insert(new Card(testFunctions(256, 0x100)));
    const found = leaves(enumerate(machine));
    expect(found.map(({ deviceId }) => deviceId)).toEqual(Array.from({ length: 256 }, (_, i) => 0x100 + i));
    expect(found[255].name).toBe('0000:01:1f.7');
  });

  it('may be virtio devices, on a card with ARI too', () => {
    const machine = new PcieMachine(rootPorts(1));
    const functions = Array.from({ length: 9 }, (_, number) => ({
      number,
      function: new VirtioPciFunction(nullDevice(), new RegionMemory(), { msix: true }),
    }));
    machine.complex.rootPorts[0].slot.insert(new Card(functions));
    const found = enumerate(machine)
      .functions()
      .filter(({ vendorId }) => vendorId === 0x1af4);
    expect(found).toHaveLength(9);
    for (const fn of found) fn.config.setCommand(0, MEMORY_SPACE);
    // Where the common configuration says how many queues there are.
    const NUM_QUEUES = 0x12;
    for (const fn of found) expect(machine.complex.readMemory(address(fn, 4) + NUM_QUEUES, 2)).toBe(2);
  });

  it('of a card without ARI are found after one with it', () => {
    const machine = new PcieMachine(rootPorts(1));
    const { slot } = machine.complex.rootPorts[0];
    slot.insert(new Card(testFunctions(9)));
    expect(leaves(enumerate(machine))).toHaveLength(9);
    slot.remove();
    slot.insert(new Card(testFunctions(2)));
    expect(leaves(enumerate(machine))).toHaveLength(2);
  });

  it('whose ARI list leads back end there', () => {
    const machine = new PcieMachine(rootPorts(1));
    machine.complex.rootPorts[0].slot.insert(new Card(testFunctions(10)));
    machine.complex.reset();
    const ariOf9 = 0x104;
    const tree = new PciTree(
      {
        readConfig: (bus, device, fn, offset, width) =>
          bus === 1 && device === 1 && fn === 1 && offset === ariOf9
            ? 3 << 8
            : machine.complex.readConfig(bus, device, fn, offset, width),
        writeConfig: (...access) => machine.complex.writeConfig(...access),
      },
      WINDOWS,
    );
    tree.enumerate();
    expect(leaves(tree)).toHaveLength(10);
  });

  it('decode nothing before a driver has them do so, whatever they did before', () => {
    const machine = new PcieMachine(rootPorts(1));
    const fn = new TestFunction(5);
    machine.complex.rootPorts[0].slot.insert(new Card([{ number: 0, function: fn }]));
    const tree = enumerate(machine);
    leaves(tree)[0].config.setCommand(0, MEMORY_SPACE);
    tree.enumerate();
    expect(fn.command & MEMORY_SPACE).toBe(0);
  });
});

describe('BARs', () => {
  it('are placed where reads and writes reach them', () => {
    const machine = new PcieMachine(rootPorts(2));
    const extension = new Switch([11, 12]);
    extension.slots[0].insert(new Card(testFunctions(3, 0x31)));
    machine.complex.rootPorts[0].slot.insert(extension);
    machine.complex.rootPorts[1].slot.insert(new Card(testFunctions(1, 0x41)));
    const tree = enumerate(machine);
    for (const fn of leaves(tree)) fn.config.setCommand(0, MEMORY_SPACE);
    for (const fn of leaves(tree)) {
      expect(machine.complex.readMemory(address(fn, 0), 4)).toBe(fn.deviceId);
      expect(machine.complex.readMemory(address(fn, 2) + 0x3ffc, 4)).toBe(fn.deviceId);
      machine.complex.writeMemory(address(fn, 2) + 8, 4, fn.deviceId + 0x1000);
    }
    for (const fn of leaves(tree))
      expect(machine.complex.readMemory(address(fn, 2) + 8, 4)).toBe(fn.deviceId + 0x1000);
  });

  it('that are prefetchable and have 64 bits go where such windows are, and among the others where there are none', () => {
    const machine = new PcieMachine(rootPorts(1));
    machine.complex.rootPorts[0].slot.insert(new Card(testFunctions(1)));
    const [high] = leaves(enumerate(machine));
    expect(address(high, 2)).toBeGreaterThanOrEqual(WINDOWS.prefetchable?.start ?? Infinity);
    const [low] = leaves(enumerate(machine, { memory: WINDOWS.memory }));
    expect(address(low, 2)).toBeLessThan(WINDOWS.memory.end);
    low.config.setCommand(0, MEMORY_SPACE);
    expect(machine.complex.readMemory(address(low, 2), 4)).toBe(1);
  });

  it('of I/O space lie behind I/O windows', () => {
    const machine = new PcieMachine(rootPorts(2));
    const bars: BarSpec[] = [{ index: 3, kind: 'io', prefetchable: false, sizeBytes: 0x20 }];
    for (const { slot } of machine.complex.rootPorts) {
      slot.insert(new Card([{ number: 0, function: new TestFunction(slot.physicalSlotNumber, { bars }) }]));
    }
    const found = leaves(enumerate(machine));
    for (const fn of found) fn.config.setCommand(0, 1);
    for (const fn of found) expect(machine.complex.readIo(address(fn, 3), 2)).toBe(fn.deviceId);
    const [without] = leaves(enumerate(machine, { memory: WINDOWS.memory }));
    expect(without.bars).toEqual([
      { index: 3, kind: 'io', is64Bit: false, sizeBytes: 0x20, address: undefined },
    ]);
  });

  it('of I/O space find a window behind the first ports, where there are too few addresses for all', () => {
    const machine = new PcieMachine(rootPorts(31));
    const tree = enumerate(machine);
    const windows = tree.functions().flatMap(({ secondary }) => secondary?.windows.io ?? []);
    expect(windows).toEqual(
      Array.from({ length: 15 }, (_, i) => ({ start: 0x1000 * (i + 1), end: 0x1000 * (i + 2) })),
    );
  });

  it('that there is no room for are left out, and the others keep theirs', () => {
    const machine = new PcieMachine(rootPorts(1));
    const bars = (sizeBytes: number): BarSpec[] => [
      { index: 0, kind: 'memory32', prefetchable: false, sizeBytes },
    ];
    const sizes = [16, 2 ** 31, 4 * MB];
    const functions = sizes.map((size, number) => ({
      number,
      function: new TestFunction(number + 1, { bars: bars(size) }),
    }));
    machine.complex.rootPorts[0].slot.insert(new Card(functions));
    machine.complex.reset();
    const tree = new PciTree(machine.bus, { memory: { start: 0xc000_0000, end: 0xc100_0000 } });
    tree.configure(tree.root);
    // At boot the port's window would have to hold all three, which it cannot.
    expect(leaves(tree).map(({ bars: [bar] }) => bar.address)).toEqual([undefined, undefined, undefined]);
    machine.complex.rootPorts[0].slot.remove();
    tree.enumerate();
    machine.complex.rootPorts[0].slot.insert(new Card(functions));
    machine.complex.writeConfig(0, 1, 0, 0x68, 2, 0);
    const below = tree.functions().find(({ secondary }) => secondary !== undefined)?.secondary;
    if (below !== undefined) tree.configure(below);
    const found = leaves(tree);
    expect(found.map(({ bars: [bar] }) => bar.address !== undefined)).toEqual([true, false, true]);
    expect(found[1].config.read(0x10, 4)).toBe(0);
    for (const fn of [found[0], found[2]]) {
      fn.config.setCommand(0, MEMORY_SPACE);
      expect(machine.complex.readMemory(address(fn, 0), 4)).toBe(fn.deviceId);
    }
  });
});

interface Shape {
  readonly functions: readonly (readonly BarSpec[])[];
  readonly slots: readonly (Shape | undefined)[];
}

/** A switch where it has slots, else a card. */
function build(shape: Shape, numbers: { next: number }): Occupant {
  if (shape.slots.length === 0) {
    const functions = shape.functions.map((bars, number) => ({
      number,
      function: new TestFunction(numbers.next++, { bars }),
    }));
    return new Card(functions);
  }
  const extension = new Switch(shape.slots.map(() => numbers.next++));
  for (const [i, below] of shape.slots.entries()) {
    if (below !== undefined) extension.slots[i].insert(build(below, numbers));
  }
  return extension;
}

const bars = fc
  .record({
    low: fc.integer({ min: 4, max: 23 }),
    high: fc.integer({ min: 4, max: 27 }),
    io: fc.integer({ min: 2, max: 8 }),
  })
  .map(({ low, high, io }): BarSpec[] => [
    { index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 2 ** low },
    { index: 1, kind: 'io', prefetchable: false, sizeBytes: 2 ** io },
    { index: 2, kind: 'memory64', prefetchable: true, sizeBytes: 2 ** high },
    { index: 4, kind: 'memory64', prefetchable: false, sizeBytes: 2 ** low },
  ]);

const shape = fc.letrec<{ card: Shape; box: Shape; any: Shape }>((tie) => ({
  card: fc.record({ functions: fc.array(bars, { minLength: 1, maxLength: 10 }), slots: fc.constant([]) }),
  box: fc.record({
    functions: fc.constant([]),
    slots: fc.array(fc.option(tie('any'), { nil: undefined }), { minLength: 1, maxLength: 4 }),
  }),
  any: fc.oneof({ maxDepth: 3, depthSize: 'small' }, tie('card'), tie('box')),
})).any;

describe('a hierarchy of any shape', () => {
  it('has windows within windows, apart from each other, and BARs aligned and apart in them', () => {
    fc.assert(
      fc.property(fc.array(shape, { minLength: 1, maxLength: 4 }), (shapes) => {
        const machine = new PcieMachine(rootPorts(4));
        const numbers = { next: 100 };
        shapes.forEach((each, i) => machine.complex.rootPorts[i].slot.insert(build(each, numbers)));
        const tree = enumerate(machine);
        const taken = buses(tree).flatMap((bus) => placesOn(bus));
        for (const fn of leaves(tree)) {
          const others = fn.bars.filter(({ kind }) => kind !== 'io');
          expect(others.map((bar) => (bar.address ?? 1) % bar.sizeBytes)).toEqual(others.map(() => 0));
          fn.config.setCommand(0, MEMORY_SPACE);
        }
        expect(taken.length).toBeGreaterThan(0);
        for (const fn of leaves(tree)) {
          for (const bar of fn.bars.filter(({ kind }) => kind !== 'io')) {
            expect(machine.complex.readMemory(address(fn, bar.index), 4)).toBe(fn.deviceId);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

/** What lies on a bus, checked: inside the bus's windows, and nothing over anything else. */
function placesOn(bus: BusNode): { start: number; end: number }[] {
  return (['memory', 'prefetchable', 'io'] as const).flatMap((kind) => {
    const windows = bus.functions.flatMap(({ secondary }) => secondary?.windows[kind] ?? []);
    const placed = bus.functions.flatMap((fn) =>
      fn.bars.flatMap((bar) =>
        bar.kind === kind && bar.address !== undefined
          ? [{ start: bar.address, end: bar.address + bar.sizeBytes }]
          : [],
      ),
    );
    const all = [...windows, ...placed].sort((a, b) => a.start - b.start);
    const window = bus.windows[kind];
    for (const [i, { start, end }] of all.entries()) {
      expect(start).toBeGreaterThanOrEqual(i === 0 ? (window?.start ?? Infinity) : all[i - 1].end);
      expect(end).toBeLessThanOrEqual(window?.end ?? -Infinity);
    }
    return all;
  });
}
