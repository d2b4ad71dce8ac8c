/**
 * What a virtio device's driver can set, whatever registers it sets it by: features, status, queues (virtio 1.3, chapters 2
 * and 3). It decides when the device comes to life and when a reset is over.
 */
import { VirtioFeature, type QueueCounters, type VirtioDevice } from '../device.js';
import { DeviceSession, describeError, type SessionTransport } from '../device-session.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { RING_FEATURES } from '../ring/factory.js';
import { QueueConfig, VIRTIO_MSI_NO_VECTOR } from '../ring/queue-config.js';
import { newQueueCounters } from '../ring/running-ring.js';
import { VirtioStatus } from './virtio-pci-defs.js';

const {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_CONFIG_S_FAILED,
} = VirtioStatus;

/** Features travel in words of 32 bits; 128 bits are defined. */
export const FEATURE_WORDS = 4;
const VERSION_1_WORD = VirtioFeature.VIRTIO_F_VERSION_1 >>> 5;
const VERSION_1_BIT = 1 << (VirtioFeature.VIRTIO_F_VERSION_1 & 31);
const RING_RESET_WORD = VirtioFeature.VIRTIO_F_RING_RESET >>> 5;
const RING_RESET_BIT = 1 << (VirtioFeature.VIRTIO_F_RING_RESET & 31);

/** How the state reaches the driver. */
export interface DeviceStateEvents {
  interruptQueue(queueIndex: number): void;
  interruptConfig(): void;
  /** The driver's view is as at power-on: whatever else belongs to it (interrupt status) goes too. */
  wasReset(): void;
  log(message: string): void;
  defer(work: () => void): void;
}

export class DeviceState {
  readonly device: VirtioDevice;
  readonly queues: readonly QueueConfig[];
  readonly offeredFeatures: Uint32Array;
  readonly driverFeatures = new Uint32Array(FEATURE_WORDS);
  configVector: number = VIRTIO_MSI_NO_VECTOR;
  readonly #memory: GuestMemory;
  readonly #events: DeviceStateEvents;
  readonly #transport: SessionTransport;
  readonly #queuesResetting = new Set<number>();
  #status = 0;
  #statusBeforeReset = 0;
  /** Resets that the device has not finished. */
  #resetsUnderWay = 0;
  #configGeneration = 0;
  #session: DeviceSession | undefined;
  #paused = false;

  constructor(device: VirtioDevice, memory: GuestMemory, events: DeviceStateEvents) {
    this.device = device;
    this.queues = device.queueSizes.map((size, index) => new QueueConfig(index, size));
    this.offeredFeatures = featureWords(offeredBy(device));
    this.#memory = memory;
    this.#events = events;
    this.#transport = {
      interruptQueue: (queueIndex) => events.interruptQueue(queueIndex),
      configChanged: () => this.#configChanged(),
      needsReset: (reason) => this.#needsReset(reason),
      defer: (work) => events.defer(work),
    };
  }

  /** The device at work, from DRIVER_OK to reset. */
  get session(): DeviceSession | undefined {
    return this.#session;
  }

  /** `device_status`. After the driver wrote 0 it goes on reading what it was until the device is done with its reset. */
  get status(): number {
    return this.#status === 0 && this.#resetsUnderWay > 0 ? this.#statusBeforeReset : this.#status;
  }

  /** 8 bits: differs from before whenever config space does. */
  get configGeneration(): number {
    return this.#configGeneration;
  }

  /** Zeros while the device is not at work. */
  counters(queueIndex: number): QueueCounters {
    return this.#session?.counters(queueIndex) ?? newQueueCounters();
  }

  /** While paused, queues are not served. */
  set paused(paused: boolean) {
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (this.#session === undefined) return;
    this.#session.paused = paused;
    // Kicks from before the pause count, but what came without one (a poll that was on its way) does too.
    if (!paused) this.#session.kickAll();
  }

  writeDriverFeatures(word: number, value: number): void {
    if (word >= FEATURE_WORDS || this.#has(VIRTIO_CONFIG_S_FEATURES_OK)) return;
    this.driverFeatures[word] = value;
  }

  /** A driver adds bits, or writes 0 for a reset; bits it leaves out stay, and DEVICE_NEEDS_RESET is not its to set. */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    this.#status |= value & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED);
    const added = value & ~this.#status;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) !== 0 && this.#featuresAcceptable()) {
      this.#status |= VIRTIO_CONFIG_S_FEATURES_OK;
    }
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) !== 0 && this.#mayStart()) {
      this.#status |= VIRTIO_CONFIG_S_DRIVER_OK;
      if (this.#resetsUnderWay === 0) this.#start();
    }
  }

  /** `queue_enable` = 1. A queue whose registers make no sense stays disabled. */
  enableQueue(queue: QueueConfig): void {
    if (queue.enabled || this.#queuesResetting.has(queue.index)) return;
    const problem = queue.problem(this.#features());
    if (problem !== undefined) {
      this.#events.log(`queue ${queue.index} was not enabled: ${problem}`);
      return;
    }
    queue.enabled = true;
    if (this.#session !== undefined) this.#startQueue(this.#session, queue);
  }

  /** `queue_reset` reads 1 until the device has let go of the queue. */
  isQueueResetting(queue: QueueConfig): boolean {
    return this.#queuesResetting.has(queue.index);
  }

  /** `queue_reset` = 1, where VIRTIO_F_RING_RESET was negotiated. */
  resetQueue(queue: QueueConfig): void {
    const session = this.#session;
    const negotiated = (this.driverFeatures[RING_RESET_WORD] & RING_RESET_BIT) !== 0;
    if (session === undefined || !negotiated || !queue.enabled) return;
    if (this.#queuesResetting.has(queue.index)) return;
    session.removeRing(queue.index);
    this.#queuesResetting.add(queue.index);
    this.#whenDone(
      () => this.device.resetQueue?.(queue.index),
      () => {
        if (this.#session !== session) return;
        queue.reset();
        this.#queuesResetting.delete(queue.index);
      },
    );
  }

  /** A driver's write to the device's config space. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    try {
      this.device.writeConfig(offset, bytes);
    } catch (error) {
      const reason = `the device failed at a config write: ${describeError(error)}`;
      if (this.#session === undefined) this.#events.log(reason);
      else this.#session.fault(reason);
    }
  }

  /** Everything as at power-on, at once for the driver's registers, and when the device is done for `status`. */
  reset(): void {
    const session = this.#session;
    if (this.#status !== 0) this.#statusBeforeReset = this.#status;
    session?.end();
    this.#session = undefined;
    this.#status = 0;
    this.configVector = VIRTIO_MSI_NO_VECTOR;
    this.driverFeatures.fill(0);
    this.#queuesResetting.clear();
    for (const queue of this.queues) queue.reset();
    this.#events.wasReset();
    if (session === undefined) return;
    this.#resetsUnderWay++;
    this.#whenDone(
      () => this.device.reset(),
      () => {
        this.#resetsUnderWay--;
        // A driver that did not wait has got as far as DRIVER_OK.
        const waiting = this.#has(VIRTIO_CONFIG_S_DRIVER_OK) && this.#session === undefined;
        if (!waiting || this.#resetsUnderWay > 0) return;
        this.#start();
        this.#session?.run();
      },
    );
  }

  #has(bit: number): boolean {
    return (this.#status & bit) !== 0;
  }

  #featuresAcceptable(): boolean {
    for (let word = 0; word < FEATURE_WORDS; word++) {
      if ((this.driverFeatures[word] & ~this.offeredFeatures[word]) !== 0) return false;
    }
    return (this.driverFeatures[VERSION_1_WORD] & VERSION_1_BIT) !== 0;
  }

  #mayStart(): boolean {
    const stopped = VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET;
    return this.#has(VIRTIO_CONFIG_S_FEATURES_OK) && !this.#has(stopped);
  }

  #features(): bigint {
    return this.driverFeatures.reduceRight((bits, word) => (bits << 32n) | BigInt(word), 0n);
  }

  #start(): void {
    const session = new DeviceSession(this.device, this.#features(), this.#transport);
    session.paused = this.#paused;
    this.#session = session;
    for (const queue of this.queues) {
      if (queue.enabled && !this.#startQueue(session, queue)) return;
    }
    session.activate();
  }

  #startQueue(session: DeviceSession, queue: QueueConfig): boolean {
    const counters = session.counters(queue.index);
    const { ring, problem } = queue.activate(this.#memory, session.features, session, counters);
    if (ring === undefined) session.fault(`queue ${queue.index}: ${problem}`);
    else session.addRing(ring);
    return ring !== undefined;
  }

  #configChanged(): void {
    this.#configGeneration = (this.#configGeneration + 1) & 0xff;
    this.#events.interruptConfig();
  }

  #needsReset(reason: string): void {
    this.#events.log(`the device needs a reset: ${reason}`);
    this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (this.#has(VIRTIO_CONFIG_S_DRIVER_OK)) this.#events.interruptConfig();
  }

  /** Runs `finish` once `work` is done, at once where it is no promise. Work that fails is done, too. */
  #whenDone(work: () => void | Promise<void>, finish: () => void): void {
    try {
      const promise = work();
      if (promise instanceof Promise) {
        void promise.catch((error: unknown) => this.#resetFailed(error)).finally(finish);
        return;
      }
    } catch (error) {
      this.#resetFailed(error);
    }
    finish();
  }

  #resetFailed(error: unknown): void {
    this.#events.log(`the device failed to reset: ${describeError(error)}`);
  }
}

function offeredBy(device: VirtioDevice): bigint {
  const ringReset = device.resetQueue === undefined ? 0n : 1n << BigInt(VirtioFeature.VIRTIO_F_RING_RESET);
  return device.features | RING_FEATURES | ringReset | (1n << BigInt(VirtioFeature.VIRTIO_F_VERSION_1));
}

function featureWords(features: bigint): Uint32Array {
  const words = new Uint32Array(FEATURE_WORDS);
  for (let word = 0; word < FEATURE_WORDS; word++) {
    words[word] = Number((features >> BigInt(word * 32)) & 0xffff_ffffn);
  }
  return words;
}
