/**
 * Registers under a hostile driver (CVE-2024-26327): every offset at every width in every state, and random sequences held
 * against what must be true at any time. `CHASSIS_FUZZ_RUNS` sets the number of sequences.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { AccessWidth } from '../../../../devices/pci/function.js';
import type { VirtioDevice } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { MockLegacyDriver, PAGE } from './mock-legacy-driver.js';
import { boot, enableMsix, NO_VECTOR, plug, Status, type Machine } from './mock-pci-driver.js';

const WIDTHS = [1, 2, 4] as const;
const CONFIG_BYTES = 6;
const { ACK, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED } = Status;

interface Scene {
  readonly machine: Machine;
  /** Activations less resets: 0 or 1, or the device is driven by two at once. */
  atWork: number;
}

function scene(overrides: Partial<VirtioDevice> = {}, msix = true): Scene {
  const config = new Uint8Array(CONFIG_BYTES);
  const device = nullDevice({
    deviceId: 9,
    config,
    writeConfig: (offset, bytes) => config.set(bytes, offset),
    activate: () => void made.atWork++,
    reset: () => void made.atWork--,
    resetQueue: () => {},
    ...overrides,
  });
  const machine = plug(device, { registers: 'transitional', doorbells: ['queue', 'device'], msix });
  machine.fn.writeConfig(0x04, 2, 0x0007);
  const made: Scene = { machine, atWork: 0 };
  return made;
}

function bootLegacy(machine: Machine): void {
  const driver = new MockLegacyDriver(machine.fn);
  driver.begin();
  driver.placeQueue(0, machine.queue(0, 8, PAGE));
  driver.addStatus(DRIVER_OK);
}

/** How far a driver has come when the hostile access arrives. */
const STATES: readonly (readonly [string, (machine: Machine) => void])[] = [
  ['at power-on', () => {}],
  ['after ACKNOWLEDGE', ({ driver }) => driver.write('status', ACK)],
  ['after DRIVER', ({ driver }) => driver.write('status', ACK | DRIVER)],
  ['after FEATURES_OK', ({ driver }) => void driver.negotiate()],
  ['at work', (machine) => void boot(machine)],
  ['at work by legacy registers', bootLegacy],
  [
    'at work with MSI-X',
    (machine) => {
      enableMsix(machine);
      boot(machine);
    },
  ],
  [
    'given up',
    (machine) => {
      boot(machine);
      machine.driver.addStatus(FAILED);
    },
  ],
  [
    'in need of a reset',
    (machine) => {
      boot(machine).setAvailIndex(0x4000);
      machine.driver.kick(0);
    },
  ],
  [
    'with a queue under reset',
    (machine) => {
      boot(machine, (1n << 32n) | (1n << 40n));
      machine.driver.write('queueSelect', 0);
      machine.driver.write('queueReset', 1);
    },
  ],
];

/** Offsets around everything that there is, per BAR. BAR 5 and 6 are none; 2 and 3 have nothing in them. */
const PLACES: readonly (readonly [number, readonly number[]])[] = [
  [0, range(-4, 40)],
  [1, [...range(0, 52), ...range(0x800, 0x80c), 0xfff, 0x1000]],
  [2, [0]],
  [4, [...range(-2, 72), ...range(0xffe, 0x1006), ...range(0x1ffc, 0x200c), ...range(0x2fff, 0x3014)]],
  [6, [0]],
];

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function status(machine: Machine): number {
  return machine.fn.readBar(4, 20, 1);
}

/** What is true of a function whatever its driver does. */
function holds({ machine, atWork }: Scene): void {
  const { fn } = machine;
  const now = status(machine);
  expect(now & ~(ACK | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED)).toBe(0);
  expect(atWork === 0 || atWork === 1).toBe(true);
  if ((now & FEATURES_OK) !== 0) {
    expect(now & (ACK | DRIVER)).toBe(ACK | DRIVER);
    fn.writeBar(4, 8, 4, 1);
    expect(fn.readBar(4, 12, 4) & 1).toBe(1);
    if ((now & (DRIVER_OK | NEEDS_RESET)) === DRIVER_OK) expect(atWork).toBe(1);
  }
  const pins = machine.interrupts.filter((event) => event.startsWith('intx'));
  const [command, pciStatus] = [fn.readConfig(4, 2), fn.readConfig(6, 2)];
  expect(pins.at(-1) === 'intx on').toBe((pciStatus & 0x08) !== 0 && (command & 0x400) === 0);
  expect(fn.readConfig(0, 4)).toBe(0x1009_1af4);
  expect(fn.readConfig(0x34, 1)).toBe(0x40);
  for (const vector of [fn.readBar(4, 16, 2), fn.readBar(4, 26, 2)]) {
    expect(vector < 3 || vector === NO_VECTOR).toBe(true);
  }
}

/** The function is as good as new after a reset. */
function stillWorks(machine: Machine): void {
  machine.fn.reset();
  machine.fn.writeConfig(0x04, 2, 0x0007);
  const queue = boot(machine);
  queue.add([{ address: machine.buffer(0), length: 4, writable: true }]);
  machine.driver.kick(0);
  expect(queue.reap()).toEqual([{ id: 0, length: 4 }]);
}

describe.each(STATES)('a function %s', (_what, reach) => {
  const never = (): Promise<void> => new Promise(() => {});

  it.each([['reads'], ['writes of ones'], ['writes of zeros'], ['writes of 1']])(
    'bears %s at every offset and width of every BAR',
    (kind) => {
      const value = kind === 'writes of ones' ? 0xffff_ffff : kind === 'writes of 1' ? 1 : 0;
      const { machine } = scene({ resetQueue: never });
      reach(machine);
      for (const [bar, offsets] of PLACES) {
        for (const offset of offsets) {
          for (const width of WIDTHS) {
            const before = status(machine);
            if (kind !== 'reads') machine.fn.writeBar(bar, offset, width, value);
            machine.fn.afterWrite();
            const read = machine.fn.readBar(bar, offset, width);
            expect(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * width)).toBe(true);
            if (status(machine) === before) continue;
            machine.fn.reset();
            machine.fn.writeConfig(0x04, 2, 0x0007);
            reach(machine);
          }
        }
      }
      stillWorks(machine);
    },
  );

  it('bears every access to config space', () => {
    const { machine } = scene();
    for (let offset = -4; offset < 0x104; offset++) {
      for (const width of WIDTHS) {
        for (const value of [0xffff_ffff, 0]) {
          reach(machine);
          machine.fn.writeConfig(offset, width, value);
          machine.fn.afterWrite();
          const read = machine.fn.readConfig(offset, width);
          expect(Number.isInteger(read) && read >= 0 && read < 2 ** (8 * width)).toBe(true);
          machine.fn.reset();
          machine.fn.writeConfig(0x04, 2, 0x0007);
        }
      }
    }
    expect(machine.fn.readConfig(0, 4)).toBe(0x1009_1af4);
    stillWorks(machine);
  });
});

describe('the common configuration', () => {
  /** What may be written, and at which width alone; the rest of the structure is read-only. */
  const WRITABLE: readonly (readonly [number, AccessWidth])[] = [
    [0, 4],
    [8, 4],
    [12, 4],
    [16, 2],
    [20, 1],
    [22, 2],
    [24, 2],
    [26, 2],
    [28, 2],
    [32, 4],
    [36, 4],
    [40, 4],
    [44, 4],
    [48, 4],
    [52, 4],
    [58, 2],
  ];

  it('is changed by no write but those of exactly one register (section 4.1.3.1)', () => {
    const { machine } = scene();
    machine.driver.negotiate();
    const image = () => range(0, 64).map((offset) => machine.fn.readBar(4, offset, 1));
    const before = image();
    for (const offset of range(-4, 72)) {
      for (const width of WIDTHS) {
        if (WRITABLE.some(([at, its]) => at === offset && its === width)) continue;
        for (const value of [0xffff_ffff, 0, 1]) machine.fn.writeBar(4, offset, width, value);
      }
    }
    expect(image()).toEqual(before);
  });

  it('can be read in any cut', () => {
    const { machine } = scene();
    machine.driver.negotiate();
    const bytes = range(0, 68).map((offset) => machine.fn.readBar(4, offset, 1));
    for (const offset of range(0, 64)) {
      expect(machine.fn.readBar(4, offset, 2)).toBe(bytes[offset] + bytes[offset + 1] * 256);
      const [a, b, c, d] = bytes.slice(offset);
      expect(machine.fn.readBar(4, offset, 4)).toBe(a + b * 2 ** 8 + c * 2 ** 16 + d * 2 ** 24);
    }
  });
});

/** An access that is likely to reach something. */
const access = fc.record({
  space: fc.constantFrom<'bar' | 'config'>('bar', 'bar', 'bar', 'config'),
  bar: fc.constantFrom(0, 1, 4, 4, 4),
  offset: fc.oneof(
    { weight: 6, arbitrary: fc.nat(63) },
    { weight: 2, arbitrary: fc.constantFrom(0x1000, 0x2000, 0x3000, 0x3004, 0x3008, 0x800) },
    { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
  ),
  /** Config space: the command register, MSI-X control, the window and its surroundings. */
  configOffset: fc.oneof(fc.constantFrom(4, 0x10, 0x20), fc.integer({ min: 0x40, max: 0xff })),
  width: fc.constantFrom<AccessWidth>(...WIDTHS),
  value: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(0, 1, 2, 3, 4, 7, 8, 11, 15, 0x80, 0xffff, 0x10) },
    { weight: 1, arbitrary: fc.nat(0xffff_ffff) },
  ),
});
/** A piece of what a real driver does, so that the sequences get somewhere. */
const step = fc.constantFrom<(machine: Machine) => void>(
  (machine) => void boot(machine),
  bootLegacy,
  (machine) => void machine.driver.negotiate(),
  (machine) => enableMsix(machine),
  (machine) => machine.driver.kick(0),
  (machine) => machine.fn.writeConfig(0x04, 2, 0x0007),
  (machine) => machine.driver.write('status', 0),
);

describe('any sequence of accesses', () => {
  const runs = Number(process.env.CHASSIS_FUZZ_RUNS ?? 300);
  /** Longer than the default only for longer runs than the default: a run takes about a millisecond. */
  const LONG_RUN_TIMEOUT_MS = 30_000 + 20 * runs;

  it.each([[true], [false]])(
    'keeps what is always true, and leaves a function that works after a reset (MSI-X: %s)',
    (msix) => {
      const accesses = fc.array(fc.oneof({ weight: 5, arbitrary: access }, { weight: 1, arbitrary: step }), {
        maxLength: 120,
      });
      fc.assert(
        fc.property(accesses, (sequence) => {
          const made = scene({}, msix);
          const { fn } = made.machine;
          for (const next of sequence) {
            if (typeof next === 'function') next(made.machine);
            else if (next.space === 'config') fn.writeConfig(next.configOffset, next.width, next.value);
            else fn.writeBar(next.bar, next.offset, next.width, next.value);
            fn.afterWrite();
            for (const work of made.machine.deferred.splice(0)) work();
            holds(made);
          }
          stillWorks(made.machine);
        }),
        { numRuns: runs },
      );
    },
    LONG_RUN_TIMEOUT_MS,
  );

  it(
    'never has the device work for a driver before it is done with the last one’s reset',
    async () => {
      type Action = ((machine: Machine) => void) | 'finish';
      const actions = fc.array(
        fc.oneof(
          {
            weight: 3,
            arbitrary: fc.constantFrom<Action>('finish', 'finish', (machine) => void boot(machine)),
          },
          { weight: 3, arbitrary: step },
        ),
        { maxLength: 40 },
      );
      await fc.assert(
        fc.asyncProperty(actions, async (sequence) => {
          const unfinished: (() => void)[] = [];
          const { machine } = scene({
            activate: () => expect(unfinished).toEqual([]),
            reset: () => new Promise<void>((resolve) => unfinished.push(resolve)),
          });
          const finish = async (): Promise<void> => {
            unfinished.pop()?.();
            await new Promise((resolve) => setImmediate(resolve));
          };
          for (const action of sequence) {
            if (action === 'finish') await finish();
            else action(machine);
            machine.fn.afterWrite();
          }
          while (unfinished.length > 0) await finish();
          expect(machine.log).toEqual([]);
          machine.fn.reset();
          await finish();
          expect(status(machine)).toBe(0);
        }),
        { numRuns: Math.ceil(runs / 3) },
      );
    },
    LONG_RUN_TIMEOUT_MS,
  );
});
