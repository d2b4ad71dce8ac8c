import { describe, expect, it } from 'vitest';
import { Card } from '../../../../devices/pci/topology/card.js';
import { RootComplex } from '../../../../devices/pci/topology/root-complex.js';
import { Switch } from '../../../../devices/pci/topology/switch.js';
import { ALL_ONES, Bench, COMMAND, MASTER, MEMORY } from './machine.js';
import { TestFunction, testFunctions } from './test-function.js';

const ROOT_PORT = 0x000c_1b36;
const UPSTREAM = 0x8232_104c;
const DOWNSTREAM = 0x8233_104c;
const ECAM = 0xe000_0000;

/** Slot 1 holds a switch with slots 11 and 12, and 12 holds a card of two functions. Nothing is numbered yet. */
function withSwitch(options = {}) {
  const bench = new Bench(2, options);
  const extension = new Switch([11, 12]);
  extension.slots[1].insert(new Card(testFunctions(2, 0x21)));
  bench.slot(0).insert(extension);
  bench.slot(1).insert(new Card(testFunctions(1, 0x11)));
  // Slots that are occupied at power-on have power.
  bench.complex.reset();
  return { bench, extension };
}

/** Buses: 1 the link to the switch, 2 its inside, 3 and 4 its slots, 5 the other slot. */
function numbered(options = {}) {
  const machine = withSwitch(options);
  const { bench } = machine;
  bench.setBusNumbers([0, 1, 0], 0, 1, 4);
  bench.setBusNumbers([1, 0, 0], 1, 2, 4);
  bench.setBusNumbers([2, 0, 0], 2, 3, 3);
  bench.setBusNumbers([2, 1, 0], 2, 4, 4);
  bench.setBusNumbers([0, 2, 0], 0, 5, 5);
  return machine;
}

describe('bus 0', () => {
  it('has the host bridge and the root ports, and nothing else', () => {
    const bench = new Bench(2);
    expect(bench.id([0, 0, 0])).toBe(0x0008_1b36);
    expect(bench.read([0, 0, 0], 8)).toBe(0x0600_0000);
    expect(bench.id([0, 1, 0])).toBe(ROOT_PORT);
    expect(bench.read([0, 2, 0], 8)).toBe(0x0604_0000);
    for (const address of [
      [0, 3, 0],
      [0, 0, 1],
      [0, 31, 7],
      [1, 0, 0],
      [255, 31, 7],
    ] as const) {
      expect(bench.id(address)).toBe(ALL_ONES);
    }
  });

  it('says multi-function where root ports share a device number', () => {
    const rootPorts = [0, 3].map((fn) => ({ device: 4, function: fn, physicalSlotNumber: 10 + fn }));
    const bench = new Bench(0, { rootPorts });
    expect(bench.read([0, 4, 0], 0x0e, 1)).toBe(0x81);
    expect(bench.read([0, 4, 3], 0x0e, 1)).toBe(0x81);
    expect(bench.id([0, 4, 1])).toBe(ALL_ONES);
    expect(new Bench(1).read([0, 1, 0], 0x0e, 1)).toBe(0x01);
  });

  it.each([
    ['device 0, which is the host bridge’s', [[0, 0, 1]]],
    ['a device without function 0', [[3, 1, 1]]],
    [
      'a place that is taken',
      [
        [3, 0, 1],
        [3, 0, 2],
      ],
    ],
    [
      'a slot number that is taken',
      [
        [3, 0, 1],
        [4, 0, 1],
      ],
    ],
    ['a device that does not exist', [[32, 0, 1]]],
    [
      'a function that does not exist',
      [
        [3, 0, 1],
        [3, 8, 2],
      ],
    ],
    ['slot number 0', [[3, 0, 0]]],
    ['a slot number beyond 13 bits', [[3, 0, 8192]]],
  ])('refuses root ports with %s', (_, places) => {
    const rootPorts = places.map(([device, fn, physicalSlotNumber]) => ({
      device,
      function: fn,
      physicalSlotNumber,
    }));
    const host = { message: () => {}, intx: () => {}, workPending: () => {} };
    expect(() => new RootComplex(host, { rootPorts })).toThrow(RangeError);
  });
});

describe('config requests', () => {
  it('reach nothing below bridges that are not numbered', () => {
    const { bench } = withSwitch();
    for (let bus = 1; bus < 256; bus++) expect(bench.id([bus, 0, 0])).toBe(ALL_ONES);
  });

  it('go down by bus number to whatever depth', () => {
    const { bench } = numbered();
    expect(bench.id([1, 0, 0])).toBe(UPSTREAM);
    expect(bench.id([2, 0, 0])).toBe(DOWNSTREAM);
    expect(bench.id([2, 1, 0])).toBe(DOWNSTREAM);
    expect(bench.id([3, 0, 0])).toBe(ALL_ONES);
    expect(bench.id([4, 0, 0])).toBe(0x0021_1234);
    expect(bench.id([4, 0, 1])).toBe(0x0022_1234);
    expect(bench.id([5, 0, 0])).toBe(0x0011_1234);
    expect(bench.id([6, 0, 0])).toBe(ALL_ONES);
  });

  it('find one device on a link, and the devices that there are inside a switch', () => {
    const { bench } = numbered();
    for (let device = 1; device < 32; device++) {
      expect(bench.id([1, device, 0])).toBe(ALL_ONES);
      expect(bench.id([4, device, 0])).toBe(ALL_ONES);
      expect(bench.id([2, device, 0])).toBe(device === 1 ? DOWNSTREAM : ALL_ONES);
    }
  });

  it('follow numbers that change', () => {
    const { bench } = numbered();
    bench.setBusNumbers([2, 1, 0], 2, 3, 3);
    bench.setBusNumbers([2, 0, 0], 2, 4, 4);
    expect(bench.id([3, 0, 0])).toBe(0x0021_1234);
    expect(bench.id([4, 0, 0])).toBe(ALL_ONES);
    bench.write([0, 1, 0], 0x1a, 1, 2);
    expect(bench.id([3, 0, 0])).toBe(ALL_ONES);
    expect(bench.id([2, 0, 0])).toBe(DOWNSTREAM);
    bench.write([0, 2, 0], 0x19, 1, 200);
    bench.write([0, 2, 0], 0x1a, 1, 200);
    expect(bench.id([200, 0, 0])).toBe(0x0011_1234);
  });

  it('belong to the first of two bridges whose numbers overlap', () => {
    const { bench } = numbered();
    bench.setBusNumbers([0, 2, 0], 0, 1, 5);
    expect(bench.id([1, 0, 0])).toBe(UPSTREAM);
    expect(bench.id([5, 0, 0])).toBe(ALL_ONES);
    bench.setBusNumbers([0, 1, 0], 0, 6, 6);
    expect(bench.id([1, 0, 0])).toBe(0x0011_1234);
  });

  it('end where a bridge’s numbers are backwards, or name its own bus', () => {
    const { bench } = numbered();
    bench.setBusNumbers([0, 1, 0], 0, 4, 1);
    expect(bench.id([1, 0, 0])).toBe(ALL_ONES);
    bench.setBusNumbers([0, 1, 0], 0, 0, 255);
    expect(bench.id([0, 1, 0])).toBe(ROOT_PORT);
    expect(bench.id([2, 0, 0])).toBe(DOWNSTREAM);
    expect(bench.id([1, 0, 0])).toBe(ALL_ONES);
  });

  it('are all ones and change nothing where they are not aligned or out of range', () => {
    const { bench } = numbered();
    expect(bench.read([4, 0, 0], 1, 2)).toBe(0xffff);
    expect(bench.read([4, 0, 0], 2, 4)).toBe(ALL_ONES);
    expect(bench.read([4, 0, 0], 4096, 4)).toBe(ALL_ONES);
    expect(bench.read([4, 0, 0], 256, 1)).toBe(0xff);
    bench.write([4, 0, 0], 3, 4, ALL_ONES);
    bench.write([4, 0, 0], 5, 2, 0xffff);
    expect(bench.read([4, 0, 0], COMMAND, 2)).toBe(0);
    for (const address of [
      [4, 0, 8],
      [4, 32, 0],
      [256, 0, 0],
      [-1, 0, 0],
      [4.5, 0, 0],
      [4, -1, 8],
    ] as const) {
      expect(bench.id(address)).toBe(ALL_ONES);
      bench.write(address, COMMAND, 2, 7);
    }
  });

  it('reach nothing behind a link that is down, and the registers of power-on once it is up', () => {
    const { bench } = numbered();
    bench.setCommand([5, 0, 0], MEMORY | MASTER);
    bench.slot(1).breakLink();
    expect(bench.id([5, 0, 0])).toBe(ALL_ONES);
    bench.slot(0).breakLink();
    expect(bench.id([4, 0, 0])).toBe(ALL_ONES);
    bench.slot(1).mendLink();
    expect(bench.read([5, 0, 0], COMMAND, 2)).toBe(0);
    bench.slot(0).mendLink();
    expect(bench.id([1, 0, 0])).toBe(UPSTREAM);
    expect(bench.id([2, 0, 0])).toBe(ALL_ONES);
  });
});

describe('the secondary bus reset', () => {
  it('holds what is below a slot in reset while it is set', () => {
    const bench = new Bench(1);
    const fn = new TestFunction(7);
    bench.slot(0).insert(new Card([{ number: 0, function: fn }]));
    bench.complex.reset();
    bench.setBusNumbers([0, 1, 0], 0, 1, 1);
    bench.setCommand([1, 0, 0], MEMORY);
    const before = fn.resets;
    bench.write([0, 1, 0], 0x3e, 2, 0x40);
    expect(bench.id([1, 0, 0])).toBe(ALL_ONES);
    expect(fn.port).toBeUndefined();
    bench.write([0, 1, 0], 0x3e, 2, 0);
    expect(bench.id([1, 0, 0])).toBe(0x0007_1234);
    expect(bench.read([1, 0, 0], COMMAND, 2)).toBe(0);
    expect(fn.port).toBeDefined();
    expect(fn.resets).toBeGreaterThan(before);
  });

  it('of a switch resets its ports and all below', () => {
    const { bench } = numbered();
    bench.write([1, 0, 0], 0x3e, 2, 0x40);
    expect(bench.id([2, 0, 0])).toBe(ALL_ONES);
    bench.write([1, 0, 0], 0x3e, 2, 0);
    expect(bench.id([2, 1, 0])).toBe(DOWNSTREAM);
    expect(bench.read([2, 1, 0], 0x18)).toBe(0);
    expect(bench.id([4, 0, 0])).toBe(ALL_ONES);
  });
});

describe('ECAM', () => {
  const at = (bus: number, device: number, fn: number, offset: number) =>
    ECAM + bus * 2 ** 20 + device * 2 ** 15 + fn * 2 ** 12 + offset;

  it('maps every function’s config space', () => {
    const { bench } = numbered({ ecamBase: ECAM });
    const { complex } = bench;
    expect(complex.readMemory(at(4, 0, 1, 0), 4)).toBe(0x0022_1234);
    expect(complex.readMemory(at(4, 0, 1, 2), 2)).toBe(0x22);
    expect(complex.readMemory(at(4, 0, 1, 1), 1)).toBe(0x12);
    complex.writeMemory(at(4, 0, 1, COMMAND), 2, MEMORY);
    expect(bench.read([4, 0, 1], COMMAND, 2)).toBe(MEMORY);
    expect(complex.readMemory(at(255, 31, 7, 4092), 4)).toBe(ALL_ONES);
  });

  it('may be above 4 GiB, and is nowhere unless it was asked for', () => {
    const high = 0x80_0000_0000;
    const { bench } = numbered({ ecamBase: high });
    expect(bench.complex.readMemory(high + 5 * 2 ** 20, 4)).toBe(0x0011_1234);
    expect(bench.complex.readMemory(high + 256 * 2 ** 20, 4)).toBe(ALL_ONES);
    expect(numbered().bench.complex.readMemory(at(4, 0, 1, 0), 4)).toBe(ALL_ONES);
  });

  it('takes aligned accesses only', () => {
    const { complex } = numbered({ ecamBase: ECAM }).bench;
    expect(complex.readMemory(at(4, 0, 1, 2), 4)).toBe(ALL_ONES);
    expect(complex.readMemory(at(4, 0, 1, 1), 2)).toBe(0xffff);
    complex.writeMemory(at(4, 0, 1, COMMAND - 1), 4, ALL_ONES);
    expect(complex.readMemory(at(4, 0, 1, COMMAND), 2)).toBe(0);
  });
});

describe('the mechanism at 0xcf8', () => {
  const select = (bus: number, device: number, fn: number, offset: number) =>
    (0x8000_0000 | (bus << 16) | (device << 11) | (fn << 8) | offset) >>> 0;

  it('reads and writes the register that was selected, a byte of it too', () => {
    const { bench } = numbered();
    const { complex } = bench;
    complex.writeIo(0xcf8, 4, select(4, 0, 1, 0));
    expect(complex.readIo(0xcf8, 4)).toBe(select(4, 0, 1, 0));
    expect(complex.readIo(0xcfc, 4)).toBe(0x0022_1234);
    expect(complex.readIo(0xcfe, 2)).toBe(0x0022);
    expect(complex.readIo(0xcfd, 1)).toBe(0x12);
    complex.writeIo(0xcf8, 4, select(4, 0, 1, COMMAND));
    complex.writeIo(0xcfc, 2, MEMORY);
    expect(bench.read([4, 0, 1], COMMAND, 2)).toBe(MEMORY);
  });

  it('does nothing before it is enabled, nor after a reset', () => {
    const { complex } = numbered().bench;
    complex.writeIo(0xcf8, 4, select(0, 1, 0, 0) & 0x7fff_ffff);
    expect(complex.readIo(0xcfc, 4)).toBe(ALL_ONES);
    complex.writeIo(0xcf8, 4, select(0, 1, 0, 0));
    expect(complex.readIo(0xcfc, 4)).toBe(ROOT_PORT);
    complex.reset();
    expect(complex.readIo(0xcf8, 4)).toBe(0);
    expect(complex.readIo(0xcfc, 4)).toBe(ALL_ONES);
  });

  it('takes its address in one piece only, and keeps no reserved bits', () => {
    const { complex } = numbered().bench;
    complex.writeIo(0xcf8, 2, 0xffff);
    complex.writeIo(0xcfb, 1, 0x80);
    expect(complex.readIo(0xcf8, 4)).toBe(0);
    complex.writeIo(0xcf8, 4, ALL_ONES);
    expect(complex.readIo(0xcf8, 4)).toBe(0x80ff_fffc);
    expect(complex.readIo(0xcf9, 1)).toBe(0xff);
    expect(complex.readIo(0xcfd, 2)).toBe(0xffff);
    expect(complex.readIo(0xcfe, 4)).toBe(ALL_ONES);
  });
});
