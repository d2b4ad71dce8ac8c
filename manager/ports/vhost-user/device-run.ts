/**
 * When the rings run and when the device does, whatever message decided it.
 *
 * A ring runs once it is set up, started (by its first kick, or at once where it has none or has run before) and enabled. The
 * device comes to life with its first ring. It does not end with its last one: a VMM stops the rings alike when the driver resets
 * the device and when the virtual machine pauses, and says the same about the status, if anything. After a pause the driver goes on as if nothing had
 * been, and counts on the device to know it (a 9p server its fids). What tells them apart comes later: rings that start again where they
 * stopped are the same driver's, others belong to a new one, for whom the device is reset first. Until then nothing runs, and by
 * then nothing may touch the guest's memory: so a ring stops only once the device has given its chains back.
 */
import { VirtioFeature, type QueueCounters, type VirtioDevice } from '../../../devices/virtio/device.js';
import {
  describeError,
  DeviceSession,
  type AwakeSession,
  type SessionTransport,
} from '../../../devices/virtio/device-session.js';
import type { RegionMemory } from '../../../devices/virtio/memory/region-memory.js';
import { hasFeature } from '../../../devices/virtio/ring/features.js';
import { newQueueCounters } from '../../../devices/virtio/ring/running-ring.js';
import type { Reactor } from '../../../host/index.js';
import { DeviceAtRest, type ExpectedDriver } from './device-at-rest.js';
import { DRAIN_TIMEOUT_MS, DrainBudget } from './drain-budget.js';
import { GatedRing } from './gated-ring.js';
import { InflightArea } from './inflight-area.js';
import { MemoryLogging } from './memory-logging.js';
import type { MemoryTable } from './memory-table.js';
import { UnkickedRings } from './unkicked-rings.js';
import { encodeVringBase } from './vring-base.js';
import { Vring } from './vring.js';

/** How the run reaches the front-end's side. */
export interface DeviceRunEvents {
  configChanged(): void;
  log(message: string): void;
  /** See `InflightAreaOptions`. */
  readonly inflightPath: string | undefined;
  unrecorded(): void;
}

export class DeviceRun implements SessionTransport {
  readonly vrings: readonly Vring[];
  readonly logging: MemoryLogging;
  readonly inflight: InflightArea;
  readonly rest: DeviceAtRest;
  /** How long the front-end waits for requests under way. */
  readonly drain = new DrainBudget();
  readonly keepAwake: (session: AwakeSession) => void;
  /** As negotiated, without the protocol's own bits; undefined until they are. */
  features: bigint | undefined;
  /** Without protocol features rings need no VHOST_USER_SET_VRING_ENABLE. */
  enabledFromStart = false;
  readonly #device: VirtioDevice;
  readonly #memory: RegionMemory;
  readonly #table: MemoryTable;
  readonly #events: DeviceRunEvents;
  readonly #unkicked: UnkickedRings;
  #session: DeviceSession | undefined;
  /** Of the session: what its driver told another back-end is known here. */
  #isDriverKnown = false;
  /** All is known that the front-end's drivers told a process before this one. */
  #isPastKnown = false;
  #faulted = false;

  constructor(
    device: VirtioDevice,
    memory: RegionMemory,
    table: MemoryTable,
    reactor: Reactor,
    events: DeviceRunEvents,
  ) {
    this.#device = device;
    this.#memory = memory;
    this.#table = table;
    this.#events = events;
    this.keepAwake = (session) => reactor.keepAwake(session);
    this.vrings = device.queueSizes.map(
      (size, index) => new Vring(index, size, reactor, (vring) => this.#kicked(vring)),
    );
    const log = (message: string) => events.log(message);
    this.rest = new DeviceAtRest(device, { ready: () => this.#ready(), log });
    this.#unkicked = new UnkickedRings(this.vrings, () => (this.#faulted ? undefined : this.#session));
    this.logging = new MemoryLogging({
      table,
      vrings: this.vrings,
      features: () => this.features ?? 0n,
      report: log,
    });
    this.inflight = new InflightArea({
      table,
      queueSizes: device.queueSizes,
      path: events.inflightPath,
      report: log,
    });
  }

  /** True from a fault until the front-end stops a ring or resets the device: DEVICE_NEEDS_RESET. */
  get faulted(): boolean {
    return this.#faulted;
  }

  /** Whether packed rings were agreed on. */
  get packed(): boolean {
    return hasFeature(this.features ?? 0n, VirtioFeature.VIRTIO_F_RING_PACKED);
  }

  get running(): boolean {
    return this.vrings.some((vring) => vring.ring !== undefined);
  }

  get requestsUnderWay(): boolean {
    return this.vrings.some((vring) => vring.ring !== undefined && vring.ring.inFlight > 0);
  }

  /** Resolves once a reset that is under way is over, or the device is ready to go on from a state. */
  get settled(): Promise<void> | undefined {
    return this.rest.busy;
  }

  /** Of the driver at work, if there is one. */
  get session(): DeviceSession | undefined {
    return this.#session;
  }

  /** Zeros while the device is not at work. */
  counters(queueIndex: number): QueueCounters {
    return this.#session?.counters(queueIndex) ?? newQueueCounters();
  }

  /** Something about the ring was set: starts, enables or disables it. */
  update(vring: Vring): void {
    const enabled = vring.enabled || this.enabledFromStart;
    const { ring } = vring;
    if (ring !== undefined) {
      if (enabled && !ring.enabled) this.#resume();
      ring.enabled = enabled;
      this.#unkicked.include(vring);
      return;
    }
    if (this.#hasRun(vring)) vring.started ||= vring.hasKick;
    const ready = vring.started && enabled && vring.addresses !== undefined;
    if (ready && this.features !== undefined) this.#start(vring);
  }

  /** True for a ring that ran before, here or elsewhere. What is written down of rings is found by where in guest memory they lie. */
  #hasRun(vring: Vring): boolean {
    if (vring.hasRun(this.packed)) return true;
    return vring.locate(this.#table, this.packed) && this.inflight.hasRun(vring, this.packed);
  }

  updateAll(): void {
    for (const vring of this.vrings) this.update(vring);
  }

  /** Serves what was kicked or started. Call it once messages have been answered. */
  run(): void {
    this.#session?.run();
  }

  /**
   * A ring was disabled: answers 0 once the device has given its chains back, or has had the time for it. A VMM that pauses for
   * good (Cloud Hypervisor does before it saves the memory) only disables rings, and then counts on the memory to stay as it is.
   */
  settle(vring: Vring): number | Promise<number> {
    const { ring } = vring;
    if (ring === undefined || ring.enabled || ring.inFlight === 0) return 0;
    return this.drain.drained(ring).then((drained) => {
      if (drained) ring.flush();
      return 0;
    });
  }

  /**
   * Stops a ring once its requests are done, and answers its base. Where they do not end in time the device is reset: what
   * the driver does with its memory next must not be overwritten. Chains that the device had to leave are taken again when the ring
   * goes on, where the base can say so.
   */
  stop(vring: Vring): number | Promise<number> {
    if (this.#faulted) return this.#stopWithReset(vring);
    const { ring } = vring;
    if (ring === undefined) {
      vring.halt();
      this.#restDevice();
      return vring.base;
    }
    ring.enabled = false;
    return ring.inFlight === 0 ? this.#stopDrained(vring, ring) : this.#stopOnceDrained(vring, ring);
  }

  /** The front-end's log is of no use: what is to be logged from now on is not written at all. */
  refuseLog(reason: string): void {
    const refusal = `the log of dirty pages was refused: ${reason}`;
    this.logging.log.refuse();
    if (this.logging.active) this.fail(refusal);
    else this.#events.log(refusal);
  }

  /** Something went wrong that the front-end does not hear of: nothing runs until it stops a ring or resets the device. */
  fail(reason: string): void {
    if (this.#session === undefined) this.needsReset(reason);
    else this.#session.fault(reason);
  }

  /** The memory table has changed: rings whose memory is gone wait for it, and go on when it is back. */
  memoryChanged(): void {
    for (const vring of this.vrings) {
      const { ring, areas } = vring;
      if (ring === undefined) continue;
      if (!vring.locate(this.#table, this.packed)) ring.hold();
      else if (areas === vring.areas) ring.release();
      else this.#session?.fault(`queue ${vring.index} was moved in memory while it ran`);
    }
    this.#session?.kickAll();
  }

  /** The device and its rings as at power-on. A promise where the device takes its time; it does not reject. */
  reset(): void | Promise<void> {
    const session = this.#session;
    const dropped = this.vrings.flatMap((vring) => vring.ring ?? []);
    session?.end();
    this.#unkicked.stop();
    for (const vring of this.vrings) {
      if (vring.ring !== undefined) vring.base = this.#baseOf(vring.ring);
      vring.forgetRing();
      // After a fault nothing runs until it is set up again.
      if (this.#faulted) vring.halt();
    }
    this.#session = undefined;
    this.#faulted = false;
    this.#isPastKnown = false;
    return session === undefined ? this.rest.forget() : this.rest.reset(() => this.#abandon(dropped));
  }

  /**
   * Has the device go on where another back-end's was, once rings start of the driver that is expected. The bytes come from
   * outside: answers why the device refuses them, and it is as at power-on then, as it is for rings of any other driver.
   */
  async restore(expected: ExpectedDriver, bytes: Uint8Array): Promise<string | undefined> {
    // The front-end may have started them while the state was on its way.
    if (this.running) return 'its rings were started';
    void this.reset();
    return this.rest.restore(expected, bytes);
  }

  /**
   * Goes on, asleep, with the driver of another process, and with its rings that are to run at once, as their configs say. Answers what is wrong with
   * them.
   */
  takeOver(rings: readonly Vring[]): string | undefined {
    const session = (this.#session = new DeviceSession(this.#device, this.features ?? 0n, this));
    session.taking = false;
    this.#isDriverKnown = true;
    for (const vring of rings) {
      const located = vring.locate(this.#table, this.packed);
      const problem = located ? this.#activateRing(session, vring) : 'its areas are not in memory';
      if (problem !== undefined) return `queue ${vring.index}: ${problem}`;
      vring.config.chains = [];
    }
    session.activate();
    return undefined;
  }

  /** The device has the state that one of a process before this had for the same front-end: whichever of its rings run, it is of their driver. */
  knowPast(): void {
    this.#isPastKnown = true;
  }

  /** As another process found it: nothing runs until the front-end stops a ring or resets the device. */
  takeOverFault(): void {
    this.#faulted = true;
  }

  interruptQueue(queueIndex: number): boolean {
    return this.vrings[queueIndex].interrupt();
  }

  configChanged(): void {
    this.#events.configChanged();
  }

  needsReset(reason: string): void {
    if (this.#faulted) return;
    this.#faulted = true;
    this.#events.log(`the device needs a reset: ${reason}`);
    const broken = this.vrings.filter((vring) => vring.ring?.broken);
    for (const vring of broken.length > 0 ? broken : this.vrings) vring.signalError();
  }

  defer(work: () => void): void {
    setImmediate(work);
  }

  #kicked(vring: Vring): void {
    if (vring.ring === undefined) this.update(vring);
    this.#session?.kick(vring.index);
    this.#session?.run();
  }

  #start(vring: Vring): void {
    if (this.settled !== undefined || this.#faulted) return;
    if (this.#session !== undefined && !this.#mayJoin(this.#session)) {
      this.inflight.forgetRings();
      // Where this takes time, all rings are looked at again afterwards.
      if (this.reset() !== undefined) return;
    }
    if (!this.rest.isFor(this.features, vring)) {
      this.#events.log('the state that was loaded is of another driver: it is dropped');
      if (this.rest.drop() !== undefined) return;
    }
    const isNew = this.#session === undefined;
    if (isNew) this.#isDriverKnown = this.rest.awaitsDriver || this.#isPastKnown;
    this.rest.begin();
    const session = (this.#session ??= new DeviceSession(this.#device, this.features ?? 0n, this));
    const ranElsewhere = !vring.hasStopped && this.#hasRun(vring);
    const problem = (this.running ? undefined : this.#device.engage?.()) ?? this.#startRing(session, vring);
    if (ranElsewhere && !this.#isDriverKnown) this.#device.adoptDriver?.();
    if (problem !== undefined) return session.fault(`queue ${vring.index}: ${problem}`);
    if (isNew) session.activate();
    this.#unkicked.include(vring);
  }

  /** Whether a ring that starts is one of the session's driver. */
  #mayJoin(session: DeviceSession): boolean {
    if (session.features !== this.features) return false;
    return this.running || this.vrings.every((vring) => vring.goesOn);
  }

  /** Answers what is wrong with the ring, if something is. */
  #startRing(session: DeviceSession, vring: Vring): string | undefined {
    if (!vring.locate(this.#table, this.packed)) return 'its areas are not in memory';
    vring.setStart(this.#memory, this.packed);
    if (!vring.goesOn) this.inflight.forgetRing(vring);
    const ranBefore = this.inflight.hasRun(vring, this.packed);
    const problem = this.#activateRing(session, vring);
    // Whoever served it before may have ended between a used element and its interrupt.
    if (problem === undefined && ranBefore) vring.resume();
    return problem;
  }

  #activateRing(session: DeviceSession, vring: Vring): string | undefined {
    const { config, index } = vring;
    if (!(config.inflight = this.inflight.regionOf(vring, this.packed))) this.#events.unrecorded();
    const { ring, problem } = config.activate(
      this.#memory,
      session.features,
      session,
      session.counters(index),
    );
    if (ring === undefined) return problem;
    vring.ring = new GatedRing(ring, () => this.#ringIdle());
    this.logging.attach(vring);
    session.addRing(vring.ring);
    this.drain.renew();
    return undefined;
  }

  async #stopOnceDrained(vring: Vring, ring: GatedRing): Promise<number> {
    const drained = await this.drain.drained(ring);
    // The front-end left meanwhile, and maybe the next one is at work.
    if (vring.ring !== ring) return 0;
    if (drained) return this.#stopDrained(vring, ring);
    const count = `${ring.inFlight} requests of queue ${vring.index}`;
    this.#events.log(`${count} did not end within ${DRAIN_TIMEOUT_MS} ms: the device is reset`);
    return this.#stopWithReset(vring);
  }

  #stopDrained(vring: Vring, ring: GatedRing): number {
    ring.flush();
    const base = this.#baseOf(ring);
    this.#session?.removeRing(vring.index);
    vring.stop(base);
    this.#restDevice();
    return base;
  }

  #restDevice(): void {
    if (!this.running) this.#device.rest?.();
  }

  async #stopWithReset(vring: Vring): Promise<number> {
    const { faulted } = this;
    for (const { ring } of this.vrings) ring?.flush();
    const done = this.reset();
    const { base } = vring;
    if (faulted) this.inflight.forgetRings();
    if (faulted) vring.halt();
    else vring.stop(base);
    await done;
    // After a drain that took too long, the other rings go on.
    this.updateAll();
    return base;
  }

  #resume(): void {
    this.drain.renew();
    this.#session?.kickAll();
  }

  /** Where the ring goes on, if it is stopped now. */
  baseOf(vring: Vring): number {
    return vring.ring === undefined ? vring.base : this.#baseOf(vring.ring);
  }

  #baseOf(ring: GatedRing): number {
    return encodeVringBase(ring.restartPosition, this.packed);
  }

  /** The device is done with the chains of rings that are no more. */
  #abandon(rings: readonly GatedRing[]): void {
    for (const ring of rings) ring.logAbandoned();
    this.#ringIdle();
  }

  #ringIdle(): void {
    if (!this.requestsUnderWay) this.#table.releaseRetired();
  }

  /** What was set up while the device was busy starts now. */
  #ready(): void {
    try {
      this.updateAll();
      this.run();
    } catch (error) {
      this.#events.log(`starting after a reset failed: ${describeError(error)}`);
    }
  }
}
