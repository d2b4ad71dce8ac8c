import type { DeviceContext, QueueCounters, VirtioDevice, Virtqueue } from './device.js';
import { QueueService } from './queue-service.js';
import { newQueueCounters, type RingSignals, type RunningRing } from './ring/running-ring.js';

/** Chains that one queue may have served before the others get their turn. */
const CHAINS_PER_TURN = 128;

/** What a session asks of the transport that carries it. */
export interface SessionTransport {
  /** The driver wants to hear of used buffers in this queue. */
  interruptQueue(queueIndex: number): void;
  /** The device changed its config space. */
  configChanged(): void;
  /** The device cannot go on: DEVICE_NEEDS_RESET. Called once a session at most. */
  needsReset(reason: string): void;
  /** Runs `work` soon, from the event loop, after other things had their turn. */
  defer(work: () => void): void;
}

/**
 * A device from DRIVER_OK to reset: its rings, who serves them and when. Transports (virtio-pci, vhost-user) kick it and run
 * it; nothing of it outlives a reset but chains that the device still holds, and those do nothing any more.
 */
export class DeviceSession implements DeviceContext, RingSignals {
  readonly features: bigint;
  readonly queues: readonly (Virtqueue | undefined)[];
  readonly #device: VirtioDevice;
  readonly #transport: SessionTransport;
  readonly #rings: (RunningRing | undefined)[];
  readonly #services: (QueueService | undefined)[];
  readonly #counters: readonly QueueCounters[];
  /** 1 where a queue has been kicked, or was left with work. */
  readonly #pending: Uint8Array;
  readonly #runDeferred = (): void => {
    this.#deferred = false;
    this.run();
  };
  #live = true;
  #paused = false;
  #running = false;
  #deferred = false;

  constructor(device: VirtioDevice, features: bigint, transport: SessionTransport) {
    const count = device.queueSizes.length;
    this.features = features;
    this.#device = device;
    this.#transport = transport;
    this.#rings = new Array<RunningRing | undefined>(count).fill(undefined);
    this.queues = this.#rings;
    this.#services = new Array<QueueService | undefined>(count).fill(undefined);
    this.#counters = Array.from({ length: count }, newQueueCounters);
    this.#pending = new Uint8Array(count);
  }

  counters(queueIndex: number): QueueCounters {
    return this.#counters[queueIndex];
  }

  ring(queueIndex: number): RunningRing | undefined {
    return this.#rings[queueIndex];
  }

  /** A queue comes to life: before `activate`, or later. What the driver put into it before gets served. */
  addRing(ring: RunningRing): void {
    const { index } = ring;
    this.#rings[index] = ring;
    this.#services[index] = new QueueService(ring, this.#device, this.#counters[index]);
    this.#pending[index] = 1;
  }

  /** A queue is reset or stopped, alone. */
  removeRing(queueIndex: number): void {
    this.#rings[queueIndex]?.drop();
    this.#rings[queueIndex] = undefined;
    this.#services[queueIndex] = undefined;
    this.#pending[queueIndex] = 0;
  }

  /** Hands the device over to its driver. */
  activate(): void {
    try {
      this.#device.activate(this);
    } catch (error) {
      this.#deviceFailed(error);
    }
  }

  /** The driver's doorbell: marks the queue for the next `run`. Queues that do not exist are ignored. */
  kick(queueIndex: number): void {
    if (this.#services[queueIndex] === undefined) return;
    this.#counters[queueIndex].kicks++;
    this.#pending[queueIndex] = 1;
  }

  /** Marks every queue, for when kicks may have been missed. */
  kickAll(): void {
    for (let i = 0; i < this.#services.length; i++)
      this.#pending[i] = this.#services[i] === undefined ? 0 : 1;
  }

  /** While paused (the function may not master the bus) kicks are kept and nothing is served. */
  set paused(paused: boolean) {
    this.#paused = paused;
  }

  get needsService(): boolean {
    return this.#live && this.#pending.includes(1);
  }

  /**
   * Serves each marked queue for one turn. True where work is left: it goes on from the event loop, or at the next call. A call
   * from within (a device's interrupt reached a driver in this process, which rang a doorbell) changes nothing here.
   */
  run(): boolean {
    if (this.#running || this.#paused) return true;
    this.#running = true;
    try {
      this.#serveMarked();
    } catch (error) {
      this.#deviceFailed(error);
    }
    this.#running = false;
    const left = this.needsService;
    if (left && !this.#deferred) {
      this.#deferred = true;
      this.#transport.defer(this.#runDeferred);
    }
    return left;
  }

  /** Looks at a queue that nobody kicked; answers how many chains it served. */
  poll(queueIndex: number): number {
    const service = this.#services[queueIndex];
    if (service === undefined || this.#running || this.#paused) return 0;
    let served = 0;
    this.#running = true;
    try {
      served = service.poll(CHAINS_PER_TURN);
    } catch (error) {
      this.#deviceFailed(error);
    }
    this.#running = false;
    return served;
  }

  /** Reset: no ring works any more, nothing reaches the driver. The device is told by the transport, after this. */
  end(): void {
    this.#live = false;
    for (const ring of this.#rings) ring?.drop();
    this.#pending.fill(0);
  }

  interrupt(queueIndex: number): void {
    if (this.#live) this.#transport.interruptQueue(queueIndex);
  }

  broken(queueIndex: number, reason: string): void {
    this.fault(`queue ${queueIndex}: ${reason}`);
  }

  configChanged(): void {
    if (this.#live) this.#transport.configChanged();
  }

  fault(reason: string): void {
    if (!this.#live) return;
    this.end();
    this.#transport.needsReset(reason);
  }

  #serveMarked(): void {
    for (let i = 0; i < this.#pending.length && this.#live; i++) {
      if (this.#pending[i] === 0) continue;
      const service = this.#services[i];
      // Marks made while the queue was being served are covered by its last look, so the outcome replaces them.
      const left = service !== undefined && service.service(CHAINS_PER_TURN);
      this.#pending[i] = left && this.#live ? 1 : 0;
    }
  }

  /** A device must not throw: where one does, it is out of order until reset, and nobody else notices. */
  #deviceFailed(error: unknown): void {
    this.fault(`the device failed: ${describeError(error)}`);
  }
}

export function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
