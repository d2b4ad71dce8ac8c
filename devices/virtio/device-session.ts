import type { DeviceContext, QueueCounters, VirtioDevice, Virtqueue } from './device.js';
import { QueueService } from './queue-service.js';
import { newQueueCounters, type RingSignals, type RunningRing } from './ring/running-ring.js';

/** Chains that one queue may have served before the others get their turn. */
const CHAINS_PER_TURN = 128;

/**
 * Up to so many queues are all looked after once one of them is kicked: where a network card's driver gives back a received
 * buffer it has often something to send. A device with more of them looks after those that were kicked.
 */
const SIBLING_QUEUES = 16;

/**
 * How long a map of memory stays as it is before drivers answer for addresses that are none in it. A VMM that moves memory needs
 * microseconds, or as long as the machine lets it wait; a driver that is wrong hears of it this much later.
 */
const MEMORY_SETTLES_MS = 2000;

/** Why a queue is to be looked at: its doorbell was rung, or it may have work that no doorbell tells of. */
const Mark = { NONE: 0, KICKED: 1, LOOK: 2 } as const;

/** A session between a wake and the next sleep, when the driver's notifications are off. */
export interface AwakeSession {
  /** Looks at the queues, and serves what is there; true where there was something. */
  poll(): boolean;
  /** Turns notifications on. False where the session sleeps now; true where something came before that: it is polled on. */
  rest(): boolean;
}

/** What a session asks of the transport that carries it. */
export interface SessionTransport {
  /** The driver wants to hear of used buffers in this queue. False where it gave no way to tell it: that is no interrupt. */
  interruptQueue(queueIndex: number): boolean | void;
  /** The device changed its config space. */
  configChanged(): void;
  /** The device cannot go on: DEVICE_NEEDS_RESET. Called once a session at most. */
  needsReset(reason: string): void;
  /** Runs `work` soon, from the event loop, after other things had their turn. */
  defer(work: () => void): void;
  /**
   * Polls the session from the event loop while that finds work and for a bounded time after, then has it rest; called again only
   * after that. For transports whose wakes cost more than a call: without it the session sleeps once a wake has been served.
   */
  readonly keepAwake?: ((session: AwakeSession) => void) | undefined;
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
  /** A `Mark` for each queue. */
  readonly #pending: Uint8Array;
  /** The queues whose notifications are off because they are polled; and 1 for each of them. */
  readonly #awake: number[] = [];
  readonly #isAwake: Uint8Array;
  /** The queues that may be held; they are looked at when memory changes, or settles. */
  readonly #held = new Set<number>();
  #settling: ReturnType<typeof setTimeout> | undefined;
  readonly #awakeSession: AwakeSession = { poll: () => this.#pollAwake(), rest: () => this.#rest() };
  readonly #runDeferred = (): void => {
    this.#deferred = false;
    this.run();
  };
  #live = true;
  #paused = false;
  #taking = true;
  #running = false;
  #deferred = false;
  /** Whether the transport polls the session. */
  #keptAwake = false;

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
    this.#isAwake = new Uint8Array(count);
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
    if (this.#paused) ring.setPaused(true);
    this.#services[index] = new QueueService(ring, this.#device, this.#counters[index]);
    this.#pending[index] = Mark.LOOK;
  }

  /** A queue is reset or stopped, alone. */
  removeRing(queueIndex: number): void {
    this.#rings[queueIndex]?.drop();
    this.#rings[queueIndex] = undefined;
    this.#services[queueIndex] = undefined;
    this.#pending[queueIndex] = Mark.NONE;
    this.#held.delete(queueIndex);
    this.#fallAsleep(queueIndex);
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
    this.#pending[queueIndex] = Mark.KICKED;
  }

  /** The driver's one doorbell for all its queues: marks every queue, of which this one has been kicked. */
  kickDevice(queueIndex: number): void {
    this.kick(queueIndex);
    this.kickAll();
  }

  /** Marks every queue, for when kicks may have been missed. */
  kickAll(): void {
    for (let i = 0; i < this.#services.length; i++) this.#look(i);
  }

  /** While paused (the function may not master the bus) kicks and completions are kept and nothing is served. */
  set paused(paused: boolean) {
    this.#paused = paused;
    for (const ring of this.#rings) ring?.setPaused(paused);
  }

  /** While false no chain is taken, though those that the device has come back as ever. */
  set taking(taking: boolean) {
    this.#taking = taking;
  }

  get needsService(): boolean {
    return this.#live && (this.#pending.includes(Mark.KICKED) || this.#pending.includes(Mark.LOOK));
  }

  /**
   * Serves each marked queue for one turn, and those whose memory may have come back: call it also when memory has changed. True where work is left: it goes on from the event loop, or at the next call. A call
   * from within (a device's interrupt reached a driver in this process, which rang a doorbell) changes nothing here.
   */
  run(): boolean {
    if (this.#running || this.#paused || !this.#taking) return true;
    this.#running = true;
    if (this.#held.size > 0) this.#markReleased();
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
    if (service === undefined || this.#running || this.#paused || !this.#taking) return 0;
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
    this.#isAwake.fill(0);
    this.#awake.length = 0;
    this.#held.clear();
    clearTimeout(this.#settling);
  }

  interrupt(queueIndex: number): boolean | void {
    return this.#live && this.#transport.interruptQueue(queueIndex);
  }

  broken(queueIndex: number, reason: string): void {
    this.fault(`queue ${queueIndex}: ${reason}`);
  }

  held(queueIndex: number): void {
    this.#held.add(queueIndex);
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#memorySettled(), MEMORY_SETTLES_MS);
  }

  configChanged(): void {
    if (this.#live) this.#transport.configChanged();
  }

  fault(reason: string): void {
    if (!this.#live) return;
    this.end();
    this.#transport.needsReset(reason);
  }

  /** Memory has changed since these were held: they may go on, or find out that they may not. */
  #markReleased(): void {
    for (const queueIndex of this.#held) {
      if (this.#rings[queueIndex]?.held === true) continue;
      this.#held.delete(queueIndex);
      this.#look(queueIndex);
    }
  }

  #memorySettled(): void {
    for (const queueIndex of this.#held) {
      const ring = this.#rings[queueIndex];
      // Where memory changed and nobody ran the session, this map is a new one.
      if (ring?.held === true) ring.memorySettled();
    }
    this.run();
  }

  #look(queueIndex: number): void {
    if (this.#services[queueIndex] === undefined || this.#pending[queueIndex] !== Mark.NONE) return;
    this.#pending[queueIndex] = Mark.LOOK;
  }

  #serveMarked(): void {
    for (let i = 0; i < this.#pending.length && this.#live; i++) {
      if (this.#pending[i] === Mark.NONE) continue;
      const kicked = this.#pending[i] === Mark.KICKED;
      const service = this.#services[i];
      // Marks made while the queue was being served are covered by its last look, so the outcome replaces them.
      const left = service !== undefined && this.#serve(i, service, kicked);
      this.#pending[i] = left && this.#live ? Mark.LOOK : Mark.NONE;
    }
    if (this.#awake.length > 0 && !this.#keptAwake) this.#stayAwake();
  }

  /** True where work is left that nobody would look for. */
  #serve(queueIndex: number, service: QueueService, kicked: boolean): boolean {
    if (this.#transport.keepAwake === undefined) return service.service(CHAINS_PER_TURN, kicked);
    if (this.#isAwake[queueIndex] === 1) {
      service.poll(CHAINS_PER_TURN);
    } else {
      this.#wakeUp(queueIndex);
      service.wake(CHAINS_PER_TURN, kicked);
    }
    return false;
  }

  /** Has the transport poll what has woken, and the siblings with it. */
  #stayAwake(): void {
    const count = this.#services.length;
    for (let i = 0; count <= SIBLING_QUEUES && i < count; i++) {
      const sibling = this.#services[i];
      if (sibling === undefined || this.#isAwake[i] === 1) continue;
      this.#wakeUp(i);
      sibling.mute();
      sibling.poll(CHAINS_PER_TURN);
    }
    if (this.#awake.length === 0) return;
    this.#keptAwake = true;
    this.#transport.keepAwake?.(this.#awakeSession);
  }

  #pollAwake(): boolean {
    if (this.#running || this.#paused || !this.#taking) return false;
    let served = 0;
    this.#running = true;
    try {
      for (let i = 0; i < this.#awake.length; i++) {
        served += this.#services[this.#awake[i]]?.poll(CHAINS_PER_TURN) ?? 0;
      }
    } catch (error) {
      this.#deviceFailed(error);
    }
    this.#running = false;
    return served > 0;
  }

  #rest(): boolean {
    for (let i = this.#awake.length - 1; i >= 0; i--) {
      const queueIndex = this.#awake[i];
      // Rings must not be touched while paused: what is awake then is looked at afterwards.
      if (this.#paused || !this.#taking) this.#pending[queueIndex] = Mark.LOOK;
      else if (this.#services[queueIndex]?.rest() === true) continue;
      this.#fallAsleep(queueIndex);
    }
    return (this.#keptAwake = this.#awake.length > 0);
  }

  #wakeUp(queueIndex: number): void {
    this.#isAwake[queueIndex] = 1;
    this.#awake.push(queueIndex);
  }

  #fallAsleep(queueIndex: number): void {
    if (this.#isAwake[queueIndex] === 0) return;
    this.#isAwake[queueIndex] = 0;
    this.#awake.splice(this.#awake.indexOf(queueIndex), 1);
  }

  /** A device must not throw: where one does, it is out of order until reset, and nobody else notices. */
  #deviceFailed(error: unknown): void {
    this.fault(`the device failed: ${describeError(error)}`);
  }
}

export function describeError(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
