import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AccessWidth, BarSpec } from '../../../../devices/pci/function.js';
import type { BusFunction } from '../../../../devices/pci/topology/bus.js';
import { Card } from '../../../../devices/pci/topology/card.js';
import { Switch } from '../../../../devices/pci/topology/switch.js';
import { ALL_ONES, Bench, COMMAND, DEVCTL2, LNKCTL, MSI, SLTCTL } from './machine.js';
import { below, findConfig, reachable, readMemory, wrongMasters } from './reference.js';
import { TestFunction } from './test-function.js';

const RUNS = Number(process.env.CHASSIS_FUZZ_RUNS ?? 40);
const ECAM = 0xe000_0000;
const MB = 2 ** 20;
/** Windows and BARs fall into so few megabytes that they collide all the time. */
const MEGABYTES = 6;
const BUSES = 10;

const BARS: readonly BarSpec[] = [
  { index: 0, kind: 'memory32', prefetchable: false, sizeBytes: 0x1_0000 },
  { index: 1, kind: 'io', prefetchable: false, sizeBytes: 0x20 },
  { index: 2, kind: 'memory64', prefetchable: true, sizeBytes: MB },
];

/** Two root ports: a switch with a switch in it and cards in both, and a card whose functions need ARI. */
function machine() {
  const bench = new Bench(2, { ecamBase: ECAM });
  const functions: TestFunction[] = [];
  const card = (...numbers: number[]) =>
    new Card(
      numbers.map((number) => {
        const fn = new TestFunction(0x100 + functions.length, { bars: BARS });
        functions.push(fn);
        return { number, function: fn };
      }),
    );
  const outer = new Switch([11, 12]);
  const inner = new Switch([21, 22]);
  inner.slots[1].insert(card(0, 1));
  outer.slots[0].insert(inner);
  outer.slots[1].insert(card(0));
  bench.slot(0).insert(outer);
  bench.slot(1).insert(card(0, 9));
  bench.complex.reset();
  return { bench, functions, root: bench.complex.rootPorts as readonly BusFunction[] };
}

/** Numbers every bus, depth first, and has every bridge and function decode everything there is. */
function configure(functions: readonly BusFunction[], primary = 0, used = 0): number {
  for (const [i, fn] of functions.entries()) {
    if (fn.bridge !== undefined) {
      const secondary = used + 1;
      used = configure(below(fn), secondary, secondary);
      fn.writeConfig(0x18, 4, primary | (secondary << 8) | (used << 16));
      fn.writeConfig(0x20, 4, MEGABYTES << 20);
      fn.writeConfig(DEVCTL2, 2, 0x20);
    } else {
      fn.writeConfig(0x10, 4, (used * 4 + i) * 0x1_0000);
      fn.writeConfig(0x18, 4, (used % MEGABYTES) * MB);
    }
    fn.writeConfig(COMMAND, 2, 7);
  }
  return used;
}

interface ConfigWrite {
  readonly offset: number;
  readonly width: AccessWidth;
  readonly value: number;
}

const width = fc.constantFrom<AccessWidth>(1, 2, 4);
const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, ALL_ONES));
const megabyte = fc.nat(MEGABYTES);
const busNumber = fc.nat(BUSES);

/** Writes that mean something: numbers, windows, BARs and switches, some of which cut off what is below. */
const meaningful = fc
  .oneof(
    {
      arbitrary: fc
        .tuple(busNumber, busNumber, busNumber)
        .map(([a, b, c]) => [0x18, a | (b << 8) | (c << 16)]),
      weight: 4,
    },
    {
      arbitrary: fc
        .tuple(fc.constantFrom(0x20, 0x24), megabyte, megabyte)
        .map(([at, a, b]) => [at, (a << 4) | (b << 20)]),
      weight: 4,
    },
    {
      arbitrary: fc
        .tuple(fc.constantFrom(0x10, 0x18), fc.nat(MEGABYTES * 16))
        .map(([at, n]) => [at, n * 0x1_0000]),
      weight: 4,
    },
    { arbitrary: fc.constantFrom([COMMAND, 7], [COMMAND, 7], [COMMAND, 6], [COMMAND, 1]), weight: 4 },
    {
      arbitrary: fc.constantFrom(
        [0x3c, 0x40_0000],
        [0x3c, 0],
        [0x3c, 0],
        [LNKCTL, 0x10],
        [LNKCTL, 0],
        [LNKCTL, 0],
      ),
      weight: 1,
    },
    {
      arbitrary: fc.constantFrom([SLTCTL, 0x400], [SLTCTL, 0], [SLTCTL, 0], [DEVCTL2, 0x20], [DEVCTL2, 0]),
      weight: 1,
    },
  )
  .map(([offset, value]): ConfigWrite => ({ offset, width: 4, value }));
const anything = fc.record({ offset: fc.nat(0x120), width, value: word });
const write = fc.oneof({ arbitrary: meaningful, weight: 15 }, { arbitrary: anything, weight: 1 });

const step = fc.record({
  /** Which of the functions that can be reached, and how the write gets there. */
  target: fc.nat(0xffff),
  write,
  /** Where to look afterwards: a number on every bus, and some chunks of memory. */
  probe: fc.record({
    devfn: fc.oneof(fc.constantFrom(0, 1, 8, 9), fc.nat(255)),
    chunks: fc.array(fc.nat(MEGABYTES * 16), { minLength: 6, maxLength: 6 }),
  }),
});

describe('a hostile guest', () => {
  it('gets where the specification says, whatever it writes to any register', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 40, maxLength: 80 }), (steps) => {
        const { bench, functions, root } = machine();
        const { complex } = bench;
        configure(root);
        for (const { target, write: access, probe } of steps) {
          const live = reachable(root);
          const aligned = access.offset - (access.offset % access.width);
          live[target % live.length].writeConfig(aligned, access.width, access.value);
          for (let bus = 1; bus <= BUSES; bus++) {
            const expected = findConfig(root, bus, probe.devfn)?.readConfig(0, 4) ?? ALL_ONES;
            expect(complex.readConfig(bus, probe.devfn >> 3, probe.devfn & 7, 0, 4)).toBe(expected);
          }
          for (const chunk of probe.chunks) {
            expect(complex.readMemory(chunk * 0x1_0000, 4)).toBe(readMemory(root, chunk * 0x1_0000));
          }
          expect(wrongMasters(root)).toEqual([]);
          complex.runWork();
        }
        const connected = reachable(root).filter((fn) => fn.bridge === undefined).length;
        expect(functions.filter(({ port }) => port !== undefined)).toHaveLength(connected);
      }),
      { numRuns: RUNS },
    );
  });

  it('leaves nothing behind that a reset does not undo', () => {
    const snapshot = (root: readonly BusFunction[]) =>
      reachable(root).map((fn) => Array.from({ length: 72 }, (_, i) => fn.readConfig(4 * i, 4)));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { bench, root } = machine();
        const before = snapshot(root);
        for (const { target, write: access } of steps) {
          const live = reachable(root);
          const aligned = access.offset - (access.offset % access.width);
          live[target % live.length].writeConfig(aligned, access.width, access.value);
        }
        bench.complex.reset();
        expect(snapshot(root)).toEqual(before);
        expect(bench.line.at(-1) ?? false).toBe(false);
      }),
      { numRuns: RUNS },
    );
  });

  it('never changes what a function is, nor reads more than it asked for, by ECAM, ports and memory at any size and alignment', () => {
    const access = fc.record({
      how: fc.constantFrom('ecam', 'config', 'io', 'memory'),
      where: fc.oneof(
        fc
          .tuple(busNumber, fc.nat(255), fc.nat(4095))
          .map(([bus, devfn, at]) => bus * MB + devfn * 4096 + at),
        fc.nat(0xffff_ffff),
        fc.maxSafeNat(),
        fc.constantFrom(0xcf8, 0xcfc, 0xcfe, 256 * MB - 1, -1, 0.5, NaN, Infinity),
      ),
      width,
      value: word,
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 150 }), (accesses) => {
        const { bench, root } = machine();
        const { complex } = bench;
        const identity = () => reachable(root).map((fn) => [fn.readConfig(0, 4), fn.readConfig(8, 4)].join());
        const known = new Set(identity());
        for (const { how, where, width: bytes, value } of accesses) {
          const devfn = (where / 4096) & 0xff;
          const address = [where / MB, devfn >> 3, devfn & 7, where % 4096] as const;
          let got: number;
          if (how === 'config') {
            complex.writeConfig(...address, bytes, value);
            got = complex.readConfig(...address, bytes);
          } else if (how === 'io') {
            complex.writeIo(where, bytes, value);
            got = complex.readIo(where, bytes);
          } else {
            complex.writeMemory(how === 'ecam' ? ECAM + where : where, bytes, value);
            got = complex.readMemory(how === 'ecam' ? ECAM + where : where, bytes);
          }
          expect(Number.isInteger(got) && got >= 0 && got < 2 ** (8 * bytes)).toBe(true);
          complex.runWork();
        }
        expect(identity().filter((one) => !known.has(one))).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  });

  it('has its messages sent to where it says, and none that it did not set up', () => {
    const { bench } = machine();
    const port = bench.complex.rootPorts[0];
    for (const value of [0, ALL_ONES, 0x1234_5678]) {
      for (let at = MSI; at < MSI + 16; at += 4) port.writeConfig(at, 4, value);
      port.writeConfig(COMMAND, 2, 7);
      port.writeConfig(SLTCTL, 2, 0x103b);
      port.slot.pressAttentionButton();
      port.writeConfig(SLTCTL, 4, 0xffff_0000);
    }
    // Only all ones enable messages; addresses are multiples of 4, data has 16 bits.
    expect(new Set(bench.messages.map(([address, data]) => `${address}: ${data}`))).toEqual(
      new Set([`${0xffff_ffff * 2 ** 32 + 0xffff_fffc}: ${0xffff}`]),
    );
  });
});
