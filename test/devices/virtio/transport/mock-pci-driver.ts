/**
 * A driver of modern virtio-pci functions, written from the specification (virtio 1.3, section 4.1) with constants of its own: it finds
 * everything by walking capabilities, and can go through the steps of initialisation one by one or in any wrong order.
 */
import type { AccessWidth, FunctionPort, PciFunction } from '../../../../devices/pci/function.js';
import { ArrayRegion } from '../../../../devices/virtio/memory/array-region.js';
import { RegionMemory } from '../../../../devices/virtio/memory/region-memory.js';
import { VirtioPciFunction, type VirtioPciOptions } from '../../../../devices/virtio/transport/virtio-pci.js';
import type { VirtioDevice } from '../../../../devices/virtio/device.js';
import { MockSplitDriver } from '../mock-driver.js';

export const Status = {
  ACK: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;
export const Field = {
  deviceFeatureSelect: [0, 4],
  deviceFeature: [4, 4],
  driverFeatureSelect: [8, 4],
  driverFeature: [12, 4],
  configVector: [16, 2],
  queueCount: [18, 2],
  status: [20, 1],
  configGeneration: [21, 1],
  queueSelect: [22, 2],
  queueSize: [24, 2],
  queueVector: [26, 2],
  queueEnable: [28, 2],
  queueNotifyOff: [30, 2],
  queueDescLow: [32, 4],
  queueDescHigh: [36, 4],
  queueDriverLow: [40, 4],
  queueDriverHigh: [44, 4],
  queueDeviceLow: [48, 4],
  queueDeviceHigh: [52, 4],
  queueNotifyData: [56, 2],
  queueReset: [58, 2],
  adminQueueIndex: [60, 2],
  adminQueueCount: [62, 2],
} as const satisfies Record<string, readonly [number, AccessWidth]>;
export type FieldName = keyof typeof Field;

export const VERSION_1 = 1n << 32n;
export const EVENT_IDX = 1n << 29n;
export const RING_RESET = 1n << 40n;
export const NOTIFICATION_DATA = 1n << 38n;
export const NOTIF_CONFIG_DATA = 1n << 39n;
export const NO_VECTOR = 0xffff;

interface Structure {
  /** Where its capability starts in config space. */
  readonly at: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
}

export const StructureType = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;
export const RAM_ADDRESS = 0x1_0000;
const RAM_BYTES = 0x8_0000;
const QUEUE_BYTES = 0x1_0000;
const BUFFERS_AT = RAM_ADDRESS + 0x4_0000;

export class MockPciDriver {
  readonly fn: PciFunction;
  /** All that there are, in the order of the capability list. */
  readonly structures: readonly (Structure & { readonly type: number })[];

  constructor(fn: PciFunction) {
    this.fn = fn;
    this.structures = this.capabilities(0x09).map((at) => ({
      type: fn.readConfig(at + 3, 1),
      at,
      bar: fn.readConfig(at + 4, 1),
      offset: fn.readConfig(at + 8, 4),
      length: fn.readConfig(at + 12, 4),
    }));
    // Memory space and bus mastering on.
    fn.writeConfig(0x04, 2, 0x0006);
  }

  /** Where capabilities with this id start. */
  capabilities(id: number): number[] {
    const found: number[] = [];
    for (let at = this.fn.readConfig(0x34, 1); at !== 0; at = this.fn.readConfig(at + 1, 1)) {
      if (this.fn.readConfig(at, 1) === id) found.push(at);
    }
    return found;
  }

  structure(type: number): Structure {
    const structure = this.structures.find((each) => each.type === type);
    if (structure === undefined) throw new Error(`no structure of type ${type}`);
    return structure;
  }

  read(field: FieldName): number {
    const [offset, width] = Field[field];
    return this.readAt(StructureType.COMMON, offset, width);
  }

  write(field: FieldName, value: number): void {
    const [offset, width] = Field[field];
    this.writeAt(StructureType.COMMON, offset, width, value);
  }

  readAt(type: number, offset: number, width: AccessWidth): number {
    const { bar, offset: start } = this.structure(type);
    return this.fn.readBar(bar, start + offset, width);
  }

  /** Also runs the work that the write asks for, as a port does. */
  writeAt(type: number, offset: number, width: AccessWidth, value: number): void {
    const { bar, offset: start } = this.structure(type);
    this.fn.writeBar(bar, start + offset, width, value);
    this.fn.afterWrite();
  }

  kick(queue: number): void {
    this.write('queueSelect', queue);
    const multiplier = this.fn.readConfig(this.structure(StructureType.NOTIFY).at + 16, 4);
    this.writeAt(StructureType.NOTIFY, this.read('queueNotifyOff') * multiplier, 2, queue);
  }

  offeredFeatures(): bigint {
    let features = 0n;
    for (let word = 0; word < 4; word++) {
      this.write('deviceFeatureSelect', word);
      features |= BigInt(this.read('deviceFeature')) << BigInt(32 * word);
    }
    return features;
  }

  acceptFeatures(features: bigint): void {
    for (let word = 0; word < 4; word++) {
      this.write('driverFeatureSelect', word);
      this.write('driverFeature', Number((features >> BigInt(32 * word)) & 0xffff_ffffn));
    }
  }

  addStatus(bits: number): number {
    this.write('status', this.read('status') | bits);
    return this.read('status');
  }

  /** Reset, acknowledge, features: up to where queues are set up. */
  negotiate(features: bigint = VERSION_1 | EVENT_IDX): number {
    this.write('status', 0);
    this.addStatus(Status.ACK);
    this.addStatus(Status.DRIVER);
    this.acceptFeatures(features);
    return this.addStatus(Status.FEATURES_OK);
  }

  setUpQueue(index: number, queue: MockSplitDriver, vector: number = NO_VECTOR): void {
    this.write('queueSelect', index);
    this.write('queueSize', queue.size);
    this.write('queueVector', vector);
    this.write('queueDescLow', queue.descriptorArea);
    this.write('queueDescHigh', 0);
    this.write('queueDriverLow', queue.driverArea);
    this.write('queueDriverHigh', 0);
    this.write('queueDeviceLow', queue.deviceArea);
    this.write('queueDeviceHigh', 0);
    this.write('queueEnable', 1);
  }
}

export interface Machine {
  readonly fn: VirtioPciFunction;
  readonly memory: RegionMemory;
  readonly ram: Uint8Array;
  readonly driver: MockPciDriver;
  readonly log: string[];
  /** `msix 2`, `intx on`, `intx off`: changes only, in order. */
  readonly interrupts: string[];
  readonly deferred: (() => void)[];
  readonly port: FunctionPort;
  /** A fresh driver side for queue `index`, with its ring memory cleared. */
  queue(index: number, size?: number, usedAlignment?: number): MockSplitDriver;
  buffer(n: number): number;
}

/** A function with `device` in it, plugged into a port that writes down what happens. */
export function plug(
  device: VirtioDevice,
  options: Partial<Omit<VirtioPciOptions, 'defer' | 'log'>> & { defer?: 'default' } = {},
): Machine {
  const ram = new Uint8Array(RAM_BYTES);
  const memory = new RegionMemory();
  memory.addRegion(new ArrayRegion(RAM_ADDRESS, ram));
  const log: string[] = [];
  const deferred: (() => void)[] = [];
  const { defer, msix = true, ...others } = options;
  const fn = new VirtioPciFunction(device, memory, {
    ...others,
    msix,
    log: (message) => log.push(message),
    ...(defer === undefined && { defer: (work: () => void) => void deferred.push(work) }),
  });
  const interrupts: string[] = [];
  let level = false;
  const port: FunctionPort = {
    triggerMsix: (vector) => void interrupts.push(`msix ${vector}`),
    setIntx: (asserted) => {
      if (asserted !== level) interrupts.push(asserted ? 'intx on' : 'intx off');
      level = asserted;
    },
  };
  fn.connect(port);
  const queue = (index: number, size = 8, usedAlignment = 4): MockSplitDriver => {
    const part = ram.subarray(index * QUEUE_BYTES, (index + 1) * QUEUE_BYTES).fill(0);
    const ramAddress = RAM_ADDRESS + index * QUEUE_BYTES;
    return new MockSplitDriver(part, { ramAddress, size, eventIdx: true, usedAlignment });
  };
  const buffer = (n: number): number => BUFFERS_AT + 4096 * n;
  return { fn, memory, ram, driver: new MockPciDriver(fn), log, interrupts, deferred, port, queue, buffer };
}

/** Takes a machine all the way to DRIVER_OK with queue 0 (vector 1 with MSI-X), and answers that queue. */
export function boot(machine: Machine, features?: bigint): MockSplitDriver {
  machine.driver.negotiate(features);
  const queue = machine.queue(0);
  const hasMsix = machine.fn.msixVectorCount > 0;
  machine.driver.setUpQueue(0, queue, hasMsix ? 1 : NO_VECTOR);
  if (hasMsix) machine.driver.write('configVector', 0);
  machine.driver.addStatus(Status.DRIVER_OK);
  return queue;
}

/** Switches MSI-X on in config space. */
export function enableMsix(machine: Machine): void {
  const [at] = machine.driver.capabilities(0x11);
  machine.fn.writeConfig(at + 2, 2, 0x8000);
}
