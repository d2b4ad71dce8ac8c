/**
 * The INTx pin as VFIO presents it: a level of the device, made into eventfd signals. The interrupt masks itself when it fires
 * (VFIO_IRQ_INFO_AUTOMASKED); unmasking fires again while the device still asserts the pin.
 */
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { IntxState } from './port-state.js';
import { closeFd, EpollEvents, eventfdSignal, type Reactor } from '../../../host/index.js';

export class IntxPin {
  readonly #reactor: Reactor;
  readonly #fired: () => void;
  #asserted = false;
  #masked = false;
  /** The client masked it, and not an interrupt alone. */
  #maskedByClient = false;
  /** Signalled when the interrupt fires; -1 where the client has set none. */
  #triggerFd = -1;
  /** Signalled by the client (KVM's resample eventfd) to unmask; -1 where it sends messages instead. */
  #unmaskFd = -1;

  /** `fired` is called for every signal. */
  constructor(reactor: Reactor, fired: () => void) {
    this.#reactor = reactor;
    this.#fired = fired;
  }

  /** The device's level. */
  setLevel(asserted: boolean): void {
    this.#asserted = asserted;
    if (asserted) this.#fireIfDue();
  }

  mask(): void {
    this.#masked = true;
    this.#maskedByClient = true;
  }

  get maskedByClient(): boolean {
    return this.#maskedByClient;
  }

  unmask(): void {
    this.#masked = false;
    this.#maskedByClient = false;
    this.#fireIfDue();
  }

  /** Takes over `fd`, an eventfd, or (-1) goes without. */
  setTrigger(fd: number): void {
    if (this.#triggerFd >= 0) closeFd(this.#triggerFd);
    this.#triggerFd = fd;
    this.#fireIfDue();
  }

  /** Signals the client whatever the level and the mask: its own test of the path. */
  trigger(): void {
    if (this.#triggerFd >= 0) this.#signal();
  }

  /** Takes over `fd`, an eventfd that unmasks when it is signalled, or (-1) goes without. 0, or a negative errno with `fd` closed. */
  setUnmask(fd: number): number {
    if (this.#unmaskFd >= 0) {
      this.#reactor.remove(this.#unmaskFd);
      closeFd(this.#unmaskFd);
    }
    this.#unmaskFd = -1;
    if (fd < 0) return 0;
    const error = this.#watchUnmask(fd);
    if (error === 0) this.#unmaskFd = fd;
    else closeFd(fd);
    return error;
  }

  /** What another process has to go on from, but for the level. */
  save(parcel: OutgoingParcel): IntxState {
    return {
      masked: this.#masked,
      trigger: parcel.addFdIfAny(this.#triggerFd),
      unmask: parcel.addFdIfAny(this.#unmaskFd),
    };
  }

  /** As `save`, at any moment, and without what interrupts and their ends change: one that was on its way comes once more. */
  keep(parcel: OutgoingParcel): IntxState {
    return { ...this.save(parcel), masked: this.#maskedByClient };
  }

  /** Goes on where another process was; unmasking is not heard of before `resume`. */
  restore(state: IntxState, parcel: IncomingParcel): void {
    this.#masked = state.masked;
    this.#maskedByClient = state.masked;
    this.#triggerFd = parcel.takeFdIfAny(state.trigger);
    this.#unmaskFd = parcel.takeFdIfAny(state.unmask);
  }

  /** Leaves what unmasks it alone, for another process or for later. */
  pause(): void {
    if (this.#unmaskFd >= 0) this.#reactor.remove(this.#unmaskFd);
  }

  /** Signals that came meanwhile are heard of now. */
  resume(): void {
    if (this.#unmaskFd >= 0) this.#watchUnmask(this.#unmaskFd);
  }

  /** As a client finds it that has set nothing up. The level is the device's and stays. */
  release(): void {
    this.setTrigger(-1);
    this.setUnmask(-1);
    this.#masked = false;
    this.#maskedByClient = false;
  }

  /** Edge-triggered, so that each signal is one event and nobody needs to reset the count. */
  #watchUnmask(fd: number): number {
    return this.#reactor.add(fd, EpollEvents.EPOLLIN | EpollEvents.EPOLLET, () => this.unmask());
  }

  #fireIfDue(): void {
    if (!this.#asserted || this.#masked || this.#triggerFd < 0) return;
    this.#masked = true;
    this.#signal();
  }

  #signal(): void {
    // The only failure of a checked eventfd is a count at its maximum, and then the client has a signal to see anyway.
    eventfdSignal(this.#triggerFd);
    this.#fired();
  }
}
