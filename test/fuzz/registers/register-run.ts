/** One function from power-on to the end of a case, under a driver and a VMM that the case directs. */
import type { AccessWidth } from '../../../devices/pci/function.js';
import type { ArrayRegion } from '../../../devices/virtio/memory/array-region.js';
import {
  PlainMemory,
  watchMemory,
  type AccessModel,
  type Width,
} from '../../devices/virtio/ring/watched-memory.js';
import { PAGE } from '../../devices/virtio/transport/mock-legacy-driver.js';
import {
  enableMsix,
  NO_VECTOR,
  plug,
  RAM_ADDRESS,
  Status,
  type Machine,
} from '../../devices/virtio/transport/mock-pci-driver.js';
import type { Clock } from './clock.js';
import { FuzzedDevice } from './fuzzed-device.js';
import { FuzzedDriver, QUEUE_BYTES } from './fuzzed-driver.js';

export const StepKind = {
  WRITE_BAR: 0,
  READ_BAR: 1,
  WRITE_CONFIG: 2,
  READ_CONFIG: 3,
  /** What a real driver does, so that cases get somewhere. */
  DRIVER: 4,
  TRAFFIC: 5,
  COMPLETE: 6,
  EVENT_LOOP: 7,
  RESET: 8,
  MEMORY: 9,
  TIME: 10,
  /** The window to the BARs through config space. */
  WINDOW: 11,
  MSIX: 12,
  CONFIG_CHANGE: 13,
  /** The driver writes anything into a ring. */
  RING: 14,
} as const;

const WIDTHS: readonly AccessWidth[] = [1, 2, 4];
const LAYOUTS = ['modern', 'transitional', 'legacy'] as const;
const DOORBELLS = [['queue'], ['device'], ['queue', 'device'], ['device', 'queue']] as const;
const QUEUE_SIZES = [[8], [8, 8], [16, 1, 8], [8, 100, 2, 64]];
const BARS = [4, 0, 1, 4, 4, 2, 5, 6];
const STARTS = [0, 0, 0, 0, 0x1000, 0x2000, 0x3000, 0x800, 0xff0, 0x1_0000];
const CONFIG_PLACES = [0x04, 0x06, 0x10, 0x20, 0x30, 0x34, 0x3c, 0x00];
const VALUES = [
  ...[0, 1, 2, 3, 4, 5, 7, 8, 11, 15, 16, 64, 0x80, 0xff, 0x100, 0xffff, 0x8000, 0xffff_ffff, 0x8000_0000],
  ...[RAM_ADDRESS, RAM_ADDRESS + 0x1000, RAM_ADDRESS + 0x7_fff0, RAM_ADDRESS / PAGE],
];
const { ACK, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET, FAILED } = Status;
/** A turn of a queue takes 128 chains at most, of as many descriptors as the queue has, of four words each. */
const CHAINS_PER_TURN = 128;

export class RegisterRun implements AccessModel {
  states = 0;
  readonly #saw: (what: number) => void;
  readonly #clock: Clock;
  readonly #device: FuzzedDevice;
  readonly #machine: Machine;
  readonly #layout: number;
  readonly #region: ArrayRegion;
  readonly #plain: PlainMemory;
  readonly #driver: FuzzedDriver;
  #hasMemory = true;
  #accesses = 0;
  #interrupts = 0;
  #pin = false;

  constructor(clock: Clock, [layout, options, shape]: readonly number[], saw: (what: number) => void) {
    this.#saw = saw;
    this.#clock = clock;
    this.#layout = layout % 3;
    this.#device = new FuzzedDevice(QUEUE_SIZES[shape % 4], (shape >>> 2) % 4, (shape & 16) === 0);
    this.#machine = plug(this.#device, {
      registers: LAYOUTS[this.#layout],
      msix: (options & 1) === 0,
      doorbells: DOORBELLS[(options >>> 1) % 4],
    });
    const { fn, memory, ram } = this.#machine;
    this.#driver = new FuzzedDriver(this.#machine, this.#device, LAYOUTS[this.#layout]);
    watchMemory(ram, this);
    this.#plain = new PlainMemory(ram);
    this.#region = memory.removeRegion(RAM_ADDRESS, ram.length) as ArrayRegion;
    memory.addRegion(this.#region);
    fn.connect({
      triggerMsix: (vector) => this.#vector(vector),
      setIntx: (asserted) => (this.#pin = asserted),
    });
    fn.writeConfig(0x04, 2, 0x0007);
  }

  load(offset: number, width: Width): number {
    this.#access();
    return this.#plain.load(offset, width);
  }

  store(offset: number, width: Width, value: number): void {
    this.#access();
    this.#plain.store(offset, width, value);
  }

  take(step: readonly number[]): void {
    const before = this.#status;
    const [seenInterrupts, enabled] = [this.#interrupts, this.#enabled];
    this.states++;
    this.#accesses = 0;
    this.#do(step);
    this.#machine.fn.afterWrite();
    this.#check();
    const effect = [
      this.#status !== before,
      this.#interrupts > seenInterrupts,
      this.#accesses > 0,
      this.#enabled !== enabled,
    ];
    const effects = effect.reduce((bits, on, i) => bits | (on ? 1 << i : 0), 0);
    this.#saw((((step[0] * 16 + effects) * 256 + before) * 3 + this.#layout) * 4 + this.#enabled);
  }

  /** The books are balanced, and after a reset the function is as good as new. */
  finish(): void {
    this.#balance();
    const machine = this.#machine;
    if (!this.#hasMemory) this.#toggleMemory();
    machine.fn.reset();
    if (this.#device.context !== undefined) throw new Error('a reset that the device did not hear of');
    if (this.#clock.waiting > 0) throw new Error('a timer that outlives a reset');
    this.#quiet(() => machine.fn.afterWrite());
    const queue = this.#layout === 2 ? this.#driver.bootLegacy(0) : this.#driver.bootModern(0, 0);
    if (queue === undefined) throw new Error('it does not start after a reset');
    for (let i = 0; i < 3; i++) queue.add([{ address: machine.buffer(i), length: 4, writable: true }]);
    this.#driver.kick(0);
    while (this.#device.kept.length > 0) this.#device.complete(0);
    if (queue.reap().length !== 3) throw new Error('it does not work after a reset');
  }

  get #status(): number {
    return this.#layout === 2 ? this.#machine.fn.readBar(0, 18, 1) : this.#machine.fn.readBar(4, 20, 1);
  }

  /** How many queues the driver has set up, 0 to 3. */
  get #enabled(): number {
    const queues = this.#device.context?.queues ?? [];
    return Math.min(3, queues.filter((queue) => queue !== undefined).length);
  }

  get #mastersBus(): boolean {
    return (this.#machine.fn.readConfig(0x04, 2) & 4) !== 0;
  }

  #do([kind, a, b, c, d]: readonly number[]): void {
    const { fn, deferred } = this.#machine;
    const width = WIDTHS[c % 3];
    switch (kind) {
      case StepKind.WRITE_BAR:
        return fn.writeBar(BARS[a % 8], offsetOf(b), width, valueOf(d));
      case StepKind.READ_BAR:
        return checkRead(fn.readBar(BARS[a % 8], offsetOf(b), width), width);
      case StepKind.WRITE_CONFIG:
        return fn.writeConfig(configPlace(a, width), width, valueOf(d));
      case StepKind.READ_CONFIG:
        return checkRead(fn.readConfig(configPlace(a, width), width), width);
      case StepKind.DRIVER:
        return this.#drive(a, b, c);
      case StepKind.TRAFFIC:
        return this.#driver.offer(a % this.#device.queueSizes.length, b, c);
      case StepKind.COMPLETE:
        return a % 4 === 0 ? this.#quiet(() => this.#device.completeStale(a)) : this.#device.complete(a);
      case StepKind.EVENT_LOOP:
        for (const work of deferred.splice(0)) work();
        return;
      case StepKind.RESET:
        return this.#reset(a);
      case StepKind.MEMORY:
        return this.#toggleMemory();
      case StepKind.TIME:
        return this.#clock.pass();
      case StepKind.WINDOW:
        return this.#window(a, b, c, d);
      case StepKind.MSIX:
        return this.#msix(a, b, d);
      case StepKind.CONFIG_CHANGE:
        this.#device.config[a % 6]++;
        return this.#device.context?.configChanged();
      default:
        this.#plain.store((a % 4) * QUEUE_BYTES + 2 * (b % 200), 2, d & 0xffff);
    }
  }

  #drive(which: number, queue: number, features: number): void {
    const { fn } = this.#machine;
    const index = queue % this.#device.queueSizes.length;
    switch (which % 8) {
      case 0:
      case 1:
        return void (this.#layout === 2
          ? this.#driver.bootLegacy(index)
          : this.#driver.bootModern(index, features));
      case 2:
        return void (this.#layout === 0
          ? this.#driver.bootModern(index, features)
          : this.#driver.bootLegacy(index));
      case 3:
        if (fn.msix !== undefined) enableMsix(this.#machine);
        return;
      case 4:
        return fn.writeConfig(0x04, 2, [0x0007, 0x0003, 0x0407, 0x0006][queue % 4]);
      case 5:
        if (this.#layout !== 2) this.#driver.negotiate(features);
        return;
      case 6:
        return this.#driver.resetQueue(index);
      default:
        if (this.#layout !== 2) this.#driver.setUpQueue(index, features);
    }
  }

  #reset(how: number): void {
    const { driver, fn } = this.#machine;
    if (how % 3 === 0) return fn.reset();
    const [express] = driver.capabilities(0x10);
    if (how % 3 === 1) return fn.writeConfig(express + 8, 2, 0x8000);
    if (this.#layout === 2) fn.writeBar(0, 18, 1, 0);
    else fn.writeBar(4, 20, 1, 0);
  }

  #toggleMemory(): void {
    const { memory } = this.#machine;
    if (this.#hasMemory) memory.clear();
    else memory.addRegion(this.#region);
    this.#hasMemory = !this.#hasMemory;
  }

  #window(bar: number, offset: number, length: number, value: number): void {
    const { driver, fn } = this.#machine;
    const window = driver.structures.find(({ type }) => type === 5);
    if (window === undefined) return;
    fn.writeConfig(window.at + 4, 1, bar % 8);
    fn.writeConfig(window.at + 8, 4, offsetOf(offset));
    fn.writeConfig(window.at + 12, 4, [1, 2, 4, 0, 3, 8][length % 6]);
    const at = window.at + 16 + (value % 2);
    if (length % 2 === 0) fn.writeConfig(window.at + 16, 4, valueOf(value));
    else checkRead(fn.readConfig(at, 1), 1);
  }

  #msix(what: number, place: number, value: number): void {
    const { driver, fn } = this.#machine;
    const [at] = driver.capabilities(0x11);
    if (at === undefined || fn.msix === undefined) return;
    if (what % 3 === 0) fn.writeConfig(at + 2, 2, [0x8000, 0xc000, 0, 0x4000][place % 4]);
    else if (what % 3 === 1) fn.writeBar(1, 4 * (place % (4 * fn.msixVectorCount)), 4, value % 2);
    else checkRead(fn.readBar(1, 0x800 + (place % 16), 1), 1);
  }

  #vector(vector: number): void {
    const { fn } = this.#machine;
    if (vector < 0 || vector >= fn.msixVectorCount) throw new Error(`vector ${vector}`);
    this.#interrupts++;
    fn.msix?.deliver(vector, () => {});
  }

  /** The device touches memory: not without a driver, not while it may not master the bus, and not without end. */
  #access(): void {
    if (!this.#hasMemory) throw new Error('memory that is gone was touched');
    if (!this.#mastersBus) throw new Error('memory was touched by a function that may not master the bus');
    const chain = 4 * (Math.max(...this.#device.queueSizes) + 2) + 16;
    // A step may be several register writes, of which each gives every queue a turn.
    const limit = 16 * this.#device.queueSizes.length * CHAINS_PER_TURN * chain;
    if (this.#accesses++ > limit) throw new Error('it does not come to an end');
  }

  #check(): void {
    const { fn } = this.#machine;
    const status = this.#status;
    if ((status & ~(ACK | DRIVER | DRIVER_OK | FEATURES_OK | NEEDS_RESET | FAILED)) !== 0)
      throw new Error(`status ${status}`);
    const pending = (fn.readConfig(0x06, 2) & 0x08) !== 0 && (fn.readConfig(0x04, 2) & 0x400) === 0;
    if (this.#pin !== pending) throw new Error(`the pin is ${String(this.#pin)}`);
    if (this.#pin && fn.msix?.enabled === true) throw new Error('the pin is used beside MSI-X');
    for (const vector of this.#vectors()) {
      if (vector >= fn.msixVectorCount && vector !== NO_VECTOR)
        throw new Error(`a vector reads back as ${vector}`);
    }
    const complaint = this.#machine.log.find((line) => line.includes('failed'));
    if (complaint !== undefined) throw new Error(complaint);
    if (fn.readConfig(0, 4) !== 0x1009_1af4 && this.#layout > 0) throw new Error('the ids changed');
    if (
      (status & (FEATURES_OK | DRIVER_OK | NEEDS_RESET)) === (FEATURES_OK | DRIVER_OK) &&
      this.#device.context === undefined
    )
      throw new Error('DRIVER_OK, and the device does not know');
    for (let i = 0; i < this.#device.queueSizes.length; i++) {
      const { requests } = fn.counters(i);
      if (requests > this.#device.given[i] && this.#device.context !== undefined)
        throw new Error(`queue ${i}: ${requests} of ${this.#device.given[i]} chains came back`);
    }
  }

  /** What the driver set for the config space and for the queue that is selected. */
  #vectors(): number[] {
    const { fn } = this.#machine;
    if (this.#layout !== 2) return [fn.readBar(4, 16, 2), fn.readBar(4, 26, 2)];
    return fn.msix?.enabled === true ? [fn.readBar(0, 20, 2), fn.readBar(0, 22, 2)] : [];
  }

  /** Where all is well, everything that the device was given has come back once. */
  #balance(): void {
    const { fn } = this.#machine;
    if (!this.#hasMemory) this.#toggleMemory();
    fn.writeConfig(0x04, 2, 0x0007);
    fn.afterWrite();
    for (let turns = 0; this.#device.kept.length > 0 || this.#machine.deferred.length > 0; turns++) {
      if (turns > 10_000) throw new Error('no end of work');
      this.#accesses = 0;
      this.#device.complete(0);
      for (const work of this.#machine.deferred.splice(0)) work();
    }
    if (this.#device.context === undefined || (this.#status & NEEDS_RESET) !== 0 || this.#layout > 0) return;
    for (const queue of this.#device.context.queues) {
      if (queue === undefined || queue.broken) continue;
      const { requests } = fn.counters(queue.index);
      const given = this.#device.given[queue.index];
      if (requests !== given)
        throw new Error(`queue ${queue.index}: ${given} chains were taken, and ${requests} given back`);
    }
  }

  #quiet(work: () => void): void {
    const before = this.#accesses;
    work();
    if (this.#accesses > before) throw new Error('what was reset touched memory');
  }
}

function offsetOf(choice: number): number {
  return choice % 16 === 15 ? choice * 0x1_0001 : STARTS[choice % STARTS.length] + ((choice >>> 4) % 68);
}

function configPlace(choice: number, width: AccessWidth): number {
  const place = choice % 3 === 0 ? CONFIG_PLACES[(choice >>> 2) % 8] : 0x40 + (choice % 0xc0);
  return place - (place % width);
}

function valueOf(choice: number): number {
  return choice % 8 === 7 ? (choice * 0x1_0001) >>> 0 : VALUES[choice % VALUES.length];
}

function checkRead(value: number, width: AccessWidth): void {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * width))
    throw new Error(`it reads ${value}`);
}
