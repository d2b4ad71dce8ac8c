/** One virtqueue as the front-end sets it up: its size, addresses and base, its three eventfds, and the ring once it runs. */
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { GuestMemory } from '../../../devices/virtio/memory/guest-memory.js';
import {
  EVENT_SUPPRESS_BYTES,
  VirtqUsed,
  availRingBytes,
  descriptorAreaBytes,
  usedRingBytes,
} from '../../../devices/virtio/ring/defs.js';
import { QueueConfig } from '../../../devices/virtio/ring/queue-config.js';
import {
  closeFd,
  EpollEvents,
  eventfdAdopt,
  eventfdDrain,
  eventfdSignal,
  type Reactor,
} from '../../../host/index.js';
import type { GatedRing } from './gated-ring.js';
import type { MemoryTable } from './memory-table.js';
import type { VringState } from './port-state.js';
import { decodeVringBase, freshVringBase } from './vring-base.js';

/** A ring's three areas in the front-end's address space. */
export interface VringAddresses {
  readonly descriptor: number;
  readonly available: number;
  readonly used: number;
}

/** What a stopped ring looked like: one that is started again and looks the same goes on where it stopped. */
interface StoppedRing extends VringAddresses {
  readonly base: number;
  readonly size: number;
}

const NO_FD = -1;

export class Vring {
  readonly config: QueueConfig;
  addresses: VringAddresses | undefined;
  /** Where writes to the device area are to be logged, while they are (VHOST_VRING_F_LOG). */
  logAddress: number | undefined;
  /** The payload of VHOST_USER_SET_VRING_BASE. */
  base = 0;
  /** Whether VHOST_USER_SET_VRING_ENABLE said so. */
  enabled = false;
  /** Whether the ring was started: by a kick, or by the lack of a descriptor for kicks. */
  started = false;
  ring: GatedRing | undefined;
  readonly #reactor: Reactor;
  readonly #onKick: (vring: Vring) => void;
  #stopped: StoppedRing | undefined;
  #kickFd = NO_FD;
  #callFd = NO_FD;
  #errFd = NO_FD;
  /** An interrupt came while there was no descriptor for it. */
  #callPending = false;
  #resumed = false;

  constructor(index: number, maxSize: number, reactor: Reactor, onKick: (vring: Vring) => void) {
    this.config = new QueueConfig(index, maxSize);
    this.#reactor = reactor;
    this.#onKick = onKick;
  }

  get index(): number {
    return this.config.index;
  }

  get hasKick(): boolean {
    return this.#kickFd !== NO_FD;
  }

  /** True where nobody kicks, so that the ring has to be polled. */
  get polled(): boolean {
    return this.started && this.#kickFd === NO_FD;
  }

  /** Takes over the eventfd that kicks come by, or NO_FD (-1): then the ring is started and polled. 0, or a negative errno. */
  setKick(fd: number): number {
    const error = this.#adopt(fd);
    if (error !== 0) return error;
    this.#closeKick();
    this.#kickFd = fd;
    if (fd === NO_FD) {
      this.started = true;
      return 0;
    }
    return this.watchKick();
  }

  /** Hears of kicks from now on. 0, also where none can come, or a negative errno. */
  watchKick(): number {
    if (this.#kickFd === NO_FD) return 0;
    return this.#reactor.add(this.#kickFd, EpollEvents.EPOLLIN, () => this.#kicked());
  }

  /** Leaves kicks where they are, for another process or for later. */
  ignoreKick(): void {
    if (this.#kickFd !== NO_FD) this.#reactor.remove(this.#kickFd);
  }

  /** What another process has to go on from, but for the ring. */
  save(parcel: OutgoingParcel): Omit<VringState, 'ring'> {
    return {
      ...{ size: this.config.size, base: this.base, enabled: this.enabled, started: this.started },
      ...{ addresses: this.addresses ?? null, logAddress: this.logAddress ?? null },
      ...{ stopped: this.#stopped ?? null, callPending: this.#callPending },
      kick: parcel.addFdIfAny(this.#kickFd),
      call: parcel.addFdIfAny(this.#callFd),
      err: parcel.addFdIfAny(this.#errFd),
    };
  }

  /** Goes on where another process was, but for the ring; kicks are not heard of yet. False where that makes no sense. */
  restore(state: Omit<VringState, 'ring'>, parcel: IncomingParcel): boolean {
    this.#kickFd = parcel.takeFdIfAny(state.kick);
    this.#callFd = parcel.takeFdIfAny(state.call);
    this.#errFd = parcel.takeFdIfAny(state.err);
    if (state.size > this.config.maxSize) return false;
    this.config.size = state.size;
    this.base = state.base;
    this.enabled = state.enabled;
    this.started = state.started;
    this.addresses = state.addresses ?? undefined;
    this.logAddress = state.logAddress ?? undefined;
    this.#stopped = state.stopped ?? undefined;
    this.#callPending = state.callPending;
    return true;
  }

  /** Takes over the eventfd for interrupts, or -1: then the driver looks by itself. 0, or a negative errno. */
  setCall(fd: number): number {
    const error = this.#adopt(fd);
    if (error !== 0) return error;
    if (this.#callFd !== NO_FD) closeFd(this.#callFd);
    this.#callFd = fd;
    if ((this.#callPending || this.#resumed) && fd !== NO_FD) this.interrupt();
    return 0;
  }

  /** Takes over the eventfd for errors, or -1. 0, or a negative errno. */
  setErr(fd: number): number {
    const error = this.#adopt(fd);
    if (error !== 0) return error;
    if (this.#errFd !== NO_FD) closeFd(this.#errFd);
    this.#errFd = fd;
    return 0;
  }

  /** False where there is no descriptor for it: then it is signalled once there is one. */
  interrupt(): boolean {
    this.#callPending = this.#callFd === NO_FD;
    // A count at its maximum is a signal that the front-end has yet to see.
    if (!this.#callPending) eventfdSignal(this.#callFd);
    return !this.#callPending;
  }

  /**
   * The ring goes on where another process left it, which may owe the driver an interrupt: an interrupt now, and by each descriptor for them that
   * is still to come, since front-ends give one that nobody hears of first.
   */
  resume(): void {
    this.#resumed = true;
    this.interrupt();
  }

  signalError(): void {
    if (this.#errFd !== NO_FD) eventfdSignal(this.#errFd);
  }

  /** The first guest-physical address that this ring needs no log for; 0 where it is not logged. */
  logEndAddress(packed: boolean): number {
    return this.logAddress === undefined ? 0 : this.logAddress + this.#deviceAreaBytes(packed);
  }

  hasAddresses(addresses: VringAddresses): boolean {
    return sameAddresses(this.addresses, addresses);
  }

  /** Puts the areas' guest-physical addresses into `config`. False where one lies in no memory region. */
  locate(table: MemoryTable, packed: boolean): boolean {
    const { config, addresses } = this;
    if (addresses === undefined) return false;
    const { size } = config;
    const driverBytes = packed ? EVENT_SUPPRESS_BYTES : availRingBytes(size);
    const descriptor = table.guestAddressOf(addresses.descriptor, descriptorAreaBytes(size));
    const driver = table.guestAddressOf(addresses.available, driverBytes);
    const device = table.guestAddressOf(addresses.used, this.#deviceAreaBytes(packed));
    if (descriptor < 0 || driver < 0 || device < 0) return false;
    config.descriptorArea.set(descriptor);
    config.driverArea.set(driver);
    config.deviceArea.set(device);
    return true;
  }

  /** Where it was located, to be compared. */
  get areas(): string {
    const { descriptorArea, driverArea, deviceArea } = this.config;
    return [descriptorArea, driverArea, deviceArea].map(({ value }) => value).join();
  }

  /** Once located: sets where the ring goes on. What a split ring's driver has seen as used is in memory alone. */
  setStart(memory: GuestMemory, packed: boolean): void {
    const used = packed ? undefined : memory.ringWindow(this.config.deviceArea.value, VirtqUsed.RING);
    const usedIndex = used?.view.getUint16(used.offset + VirtqUsed.IDX, true) ?? 0;
    this.config.start = decodeVringBase(this.base, packed, usedIndex);
  }

  /** The ring has stopped, with this base. */
  stop(base: number): void {
    this.ring = undefined;
    this.base = base;
    this.halt();
    this.#stopped = this.addresses && { ...this.addresses, base, size: this.config.size };
  }

  /** Not started, and not to be started by the descriptors that are here: the front-end gives new ones when it means to. */
  halt(): void {
    this.started = false;
    this.#resumed = false;
    this.#closeKick();
    this.setCall(NO_FD);
  }

  /** True for a ring that stopped here, and whose device was not reset since. */
  get hasStopped(): boolean {
    return this.#stopped !== undefined;
  }

  /** False for a ring that stopped and has been set up as another one since. */
  get goesOn(): boolean {
    const stopped = this.#stopped;
    if (stopped === undefined) return true;
    const { base, size } = stopped;
    return this.base === base && this.config.size === size && sameAddresses(this.addresses, stopped);
  }

  /** True for a ring that has run before, here or with another back-end: requests may wait in it that nobody will kick for again. */
  hasRun(packed: boolean): boolean {
    return this.base !== freshVringBase(packed) || (this.#stopped !== undefined && this.goesOn);
  }

  /** The device was reset: there is no ring, nor one that could go on. */
  forgetRing(): void {
    this.ring = undefined;
    this.#stopped = undefined;
  }

  /** As it was when the front-end connected, save for its eventfds. */
  reset(): void {
    this.forgetRing();
    this.config.reset();
    this.addresses = undefined;
    this.logAddress = undefined;
    this.base = 0;
    this.enabled = false;
    this.started = false;
    this.#callPending = false;
    this.#resumed = false;
  }

  /** The front-end is gone: as `reset`, and closes what it gave. */
  release(): void {
    this.reset();
    this.halt();
    this.setErr(NO_FD);
  }

  #deviceAreaBytes(packed: boolean): number {
    return packed ? EVENT_SUPPRESS_BYTES : usedRingBytes(this.config.size);
  }

  #kicked(): void {
    eventfdDrain(this.#kickFd);
    this.started = true;
    this.#onKick(this);
  }

  #closeKick(): void {
    if (this.#kickFd === NO_FD) return;
    this.#reactor.remove(this.#kickFd);
    closeFd(this.#kickFd);
    this.#kickFd = NO_FD;
  }

  /** Makes a descriptor fit for use, or closes it. */
  #adopt(fd: number): number {
    if (fd === NO_FD) return 0;
    const error = eventfdAdopt(fd);
    if (error === 0) return 0;
    closeFd(fd);
    return error;
  }
}

function sameAddresses(a: VringAddresses | undefined, b: VringAddresses): boolean {
  return a?.descriptor === b.descriptor && a.available === b.available && a.used === b.used;
}
