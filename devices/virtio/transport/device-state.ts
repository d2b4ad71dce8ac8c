/**
 * What a virtio device's driver can set, whatever registers it sets it by: features, status, queues (virtio 1.3, chapters 2
 * and 3). It decides when the device comes to life and when a reset is over.
 *
 * A transitional device has two sets of registers over this one state. The first write after a reset decides which of them the driver
 * uses; until the next reset the other's writes do nothing, so that the two cannot be mixed.
 */
import { VirtioFeature, type QueueCounters, type VirtioDevice } from '../device.js';
import { DeviceSession, describeError, type SessionTransport } from '../device-session.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { QueueConfig, VIRTIO_MSI_NO_VECTOR, powerOfTwoAtMost } from '../ring/queue-config.js';
import { newQueueCounters } from '../ring/running-ring.js';
import type { AccessWidth } from '../../pci/function.js';
import { DeviceConfig } from './device-config.js';
import type { DriverInterface, DriverProgress } from './driver-progress.js';
import {
  FEATURE_WORDS,
  featuresOf,
  hasFeatureWord,
  hasOnlyFeatures,
  legacyFeatures,
  modernFeatures,
} from './feature-words.js';
import { LEGACY_STATUS_BITS, STATUS_STEPS } from './status-steps.js';
import { VirtioStatus } from './virtio-pci-defs.js';
import { whenDone } from './when-done.js';

const {
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_NEEDS_RESET,
  VIRTIO_CONFIG_S_FAILED,
} = VirtioStatus;

/** How the state reaches the driver, and whatever else belongs to it. */
export interface DeviceStateEvents {
  /** False where the queue has no vector. */
  interruptQueue(queueIndex: number): boolean;
  interruptConfig(): void;
  /** The device is at work from now on; its queues have not been looked at yet. */
  started(by: DriverInterface): void;
  /** The device is at work no longer: a fault, or a reset. */
  ended(): void;
  /** The driver's view is as at power-on: whatever else belongs to it (interrupt status) goes too. */
  wasReset(): void;
  log(message: string): void;
  defer(work: () => void): void;
  readonly keepAwake: SessionTransport['keepAwake'];
  /** Features, as bits, that are not offered though the device and the rings have them. */
  readonly withheldFeatures: bigint;
}

export class DeviceState {
  readonly device: VirtioDevice;
  readonly queues: readonly QueueConfig[];
  readonly config: DeviceConfig;
  readonly driverFeatures = new Uint32Array(FEATURE_WORDS);
  configVector: number = VIRTIO_MSI_NO_VECTOR;
  readonly #memory: GuestMemory;
  readonly #events: DeviceStateEvents;
  readonly #transport: SessionTransport;
  readonly #offered: Readonly<Record<DriverInterface, Uint32Array>>;
  readonly #queuesResetting = new Set<number>();
  #interface: DriverInterface | undefined;
  #status = 0;
  #statusBeforeReset = 0;
  /** Resets that the device has not finished. */
  #resetsUnderWay = 0;
  /** The driver has done its part: the session starts once no reset is under way. */
  #startDue = false;
  #session: DeviceSession | undefined;
  /** The device knows of the session: it has to be reset after it. */
  #handedOver = false;
  /** The session ended by a fault: nothing starts before a reset. */
  #faulted = false;
  #paused = false;

  constructor(device: VirtioDevice, memory: GuestMemory, events: DeviceStateEvents) {
    this.device = device;
    this.queues = device.queueSizes.map((size, index) => new QueueConfig(index, size));
    this.config = new DeviceConfig(device);
    const { withheldFeatures } = events;
    this.#offered = {
      modern: modernFeatures(device, withheldFeatures),
      legacy: legacyFeatures(device, withheldFeatures),
    };
    this.#memory = memory;
    this.#events = events;
    this.#transport = {
      interruptQueue: (queueIndex) => events.interruptQueue(queueIndex),
      configChanged: () => events.interruptConfig(),
      needsReset: (reason) => this.#needsReset(reason),
      defer: (work) => events.defer(work),
      keepAwake: events.keepAwake,
    };
    for (const queue of this.queues) this.#powerUp(queue);
  }

  /** The device at work, from DRIVER_OK (a legacy driver's first doorbell, where that comes before) to reset. */
  get session(): DeviceSession | undefined {
    return this.#session;
  }

  /** Which registers the driver writes to; undefined from a reset to its first write. */
  get driverInterface(): DriverInterface | undefined {
    return this.#interface;
  }

  /** `device_status`. After the driver wrote 0 it goes on reading what it was until the device is done with its reset. */
  get status(): number {
    return this.#status === 0 && this.#resetsUnderWay > 0 ? this.#statusBeforeReset : this.#status;
  }

  /** Legacy drivers do not wait: what they read they write back with a bit more, so that an old status would come to life again. */
  get legacyStatus(): number {
    return this.#status;
  }

  get progress(): DriverProgress {
    return {
      interface: this.#interface,
      status: this.#status,
      started: this.#startDue,
      faulted: this.#faulted,
    };
  }

  /** True where no driver has the device at work, and it has not to finish any reset. */
  get idle(): boolean {
    return this.#session === undefined && this.#resetsUnderWay === 0;
  }

  /** Only while idle, with features and queues set: goes on where a driver had come with another device. */
  resume(progress: DriverProgress): void {
    this.#interface = progress.interface;
    this.#status = progress.status;
    this.#startDue = progress.started;
    this.#faulted = progress.faulted;
    // Whatever the device knows of a driver is void at the next reset, also where none is at work.
    this.#handedOver = true;
    if (progress.started && !progress.faulted) this.#start();
  }

  offeredFeatures(to: DriverInterface): Uint32Array {
    return this.#offered[to];
  }

  /** True where VIRTIO_F_… number `feature` has been written as accepted by the driver, in force or not yet. */
  accepted(feature: number): boolean {
    return hasFeatureWord(this.driverFeatures, feature);
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

  /** A driver writes to a register of `by`: false where it uses the other one, so that the write is void. */
  claim(by: DriverInterface): boolean {
    this.#interface ??= by;
    return this.#interface === by;
  }

  /** Features are final at FEATURES_OK, or where there is none, when the device is first used. */
  writeDriverFeatures(word: number, value: number): void {
    if (word >= FEATURE_WORDS || this.#featuresFinal()) return;
    // A legacy device cannot refuse: what it did not offer is dropped.
    this.driverFeatures[word] = this.#interface === 'legacy' ? value & this.#offered.legacy[word] : value;
  }

  /**
   * A driver takes the steps in their order, one or several at a time, or writes 0 for a reset. A step out of order is refused, with
   * those behind it. Bits that a write leaves out stay, and DEVICE_NEEDS_RESET is not the driver's to set.
   */
  writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    this.#status |= value & VIRTIO_CONFIG_S_FAILED;
    for (const step of STATUS_STEPS) {
      if (this.#has(step)) continue;
      if ((value & step) === 0 || !this.#mayTake(step)) return;
      this.#status |= step;
      if (step === VIRTIO_CONFIG_S_FEATURES_OK) this.#featuresAgreed();
      if (step === VIRTIO_CONFIG_S_DRIVER_OK) this.#startSoon();
    }
  }

  writeLegacyStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    this.#status |= value & LEGACY_STATUS_BITS;
    if (this.#has(VIRTIO_CONFIG_S_DRIVER_OK)) this.#startSoon();
  }

  /** `queue_enable` = 1, or a legacy queue's address. A queue whose registers make no sense stays disabled. */
  enableQueue(queue: QueueConfig): void {
    const negotiated = this.#interface === 'legacy' || this.#has(VIRTIO_CONFIG_S_FEATURES_OK);
    if (!negotiated || this.#faulted || queue.enabled || this.#queuesResetting.has(queue.index)) return;
    const problem = queue.problem(featuresOf(this.driverFeatures));
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
    const negotiated = this.#featuresFinal() && this.accepted(VirtioFeature.VIRTIO_F_RING_RESET);
    if (!negotiated || !queue.enabled || this.#queuesResetting.has(queue.index)) return;
    const session = this.#session;
    if (session === undefined) {
      this.#powerUp(queue);
      return;
    }
    session.removeRing(queue.index);
    this.#queuesResetting.add(queue.index);
    this.#whenDone(
      () => this.device.resetQueue?.(queue.index),
      () => {
        if (this.#session !== session) return;
        this.#powerUp(queue);
        this.#queuesResetting.delete(queue.index);
      },
    );
  }

  /** A legacy driver takes a queue's memory back. Where the device is at work, only a reset of all of it makes that safe. */
  releaseLegacyQueue(queue: QueueConfig): void {
    if (!queue.enabled) return;
    if (this.#session === undefined) this.#powerUp(queue);
    else this.reset();
  }

  /** The driver's doorbell for one queue; one that does not exist is ignored. */
  kick(queueIndex: number): void {
    this.#startAtKick(queueIndex);
    this.#session?.kick(queueIndex);
  }

  /** The driver's doorbell for all queues, rung for the one with this index, as far as it can be believed. */
  kickDevice(queueIndex: number): void {
    this.#session?.kickDevice(queueIndex);
  }

  /** A driver's write to the device's config space. */
  writeConfig(offset: number, width: AccessWidth, value: number): void {
    try {
      this.config.write(offset, width, value);
    } catch (error) {
      const reason = `the device failed at a config write: ${describeError(error)}`;
      if (this.#session === undefined) this.#events.log(reason);
      else this.#session.fault(reason);
    }
  }

  /** Everything as at power-on, at once for the driver's registers, and when the device is done for `status`. */
  reset(): void {
    const mustReset = this.#handedOver;
    if (this.#status !== 0) this.#statusBeforeReset = this.#status;
    this.#session?.end();
    this.#events.ended();
    this.#session = undefined;
    this.#interface = undefined;
    this.#handedOver = false;
    this.#faulted = false;
    this.#startDue = false;
    this.#status = 0;
    this.configVector = VIRTIO_MSI_NO_VECTOR;
    this.driverFeatures.fill(0);
    this.#queuesResetting.clear();
    for (const queue of this.queues) this.#powerUp(queue);
    this.#events.wasReset();
    if (!mustReset) return;
    this.#resetsUnderWay++;
    this.#whenDone(
      () => this.device.reset(),
      () => {
        this.#resetsUnderWay--;
        // A driver that did not wait may have come this far meanwhile.
        if (!this.#startDue) return;
        this.#startSoon();
        this.#session?.run();
      },
    );
  }

  #has(bit: number): boolean {
    return (this.#status & bit) !== 0;
  }

  #featuresFinal(): boolean {
    return this.#interface === 'legacy' ? this.#startDue : this.#has(VIRTIO_CONFIG_S_FEATURES_OK);
  }

  #mayTake(step: number): boolean {
    if (this.#faulted || this.#has(VIRTIO_CONFIG_S_FAILED)) return false;
    return step !== VIRTIO_CONFIG_S_FEATURES_OK || this.#featuresAcceptable();
  }

  #featuresAcceptable(): boolean {
    const offered = hasOnlyFeatures(this.driverFeatures, this.#offered.modern);
    return offered && this.accepted(VirtioFeature.VIRTIO_F_VERSION_1);
  }

  /** The sizes on offer depend on the ring format, which is known now. */
  #featuresAgreed(): void {
    if (!this.accepted(VirtioFeature.VIRTIO_F_RING_PACKED)) return;
    for (const queue of this.queues) {
      if (queue.size === powerOfTwoAtMost(queue.maxSize)) queue.size = queue.maxSize;
    }
  }

  /** A queue's registers as at power-on. Without packed rings, sizes are powers of two (4.1.4.3.1). */
  #powerUp(queue: QueueConfig): void {
    queue.reset();
    const packed = this.#featuresFinal() && this.accepted(VirtioFeature.VIRTIO_F_RING_PACKED);
    if (!packed) queue.size = powerOfTwoAtMost(queue.maxSize);
  }

  /** Legacy drivers use their device before DRIVER_OK, some of them to find out whether they want it (section 3.1.2). */
  #startAtKick(queueIndex: number): void {
    if (this.#session !== undefined || this.#interface !== 'legacy') return;
    if (this.queues.at(queueIndex)?.enabled === true) this.#startSoon();
  }

  #startSoon(): void {
    if (this.#session !== undefined || this.#faulted || this.#has(VIRTIO_CONFIG_S_FAILED)) return;
    this.#startDue = true;
    if (this.#resetsUnderWay > 0) return;
    this.#start();
    if (!this.#faulted) this.#events.started(this.#interface ?? 'modern');
  }

  #start(): void {
    const session = new DeviceSession(this.device, featuresOf(this.driverFeatures), this.#transport);
    session.paused = this.#paused;
    this.#session = session;
    for (const queue of this.queues) {
      if (queue.enabled && !this.#startQueue(session, queue)) return;
    }
    this.#handedOver = true;
    session.activate();
  }

  #startQueue(session: DeviceSession, queue: QueueConfig): boolean {
    const counters = session.counters(queue.index);
    const { ring, problem } = queue.activate(this.#memory, session.features, session, counters);
    if (ring === undefined) session.fault(`queue ${queue.index}: ${problem}`);
    else session.addRing(ring);
    return ring !== undefined;
  }

  /** Legacy drivers have no bit that would tell them. */
  #needsReset(reason: string): void {
    this.#faulted = true;
    this.#events.ended();
    this.#events.log(`the device needs a reset: ${reason}`);
    if (this.#interface === 'legacy') return;
    this.#status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    if (this.#has(VIRTIO_CONFIG_S_DRIVER_OK)) this.#events.interruptConfig();
  }

  #whenDone(work: () => void | Promise<void>, finish: () => void): void {
    const failed = (error: unknown): void =>
      this.#events.log(`the device failed to reset: ${describeError(error)}`);
    whenDone(work, failed, finish);
  }
}
