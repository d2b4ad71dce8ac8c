/**
 * The device's interrupts, as the client sets them up with VFIO_USER_DEVICE_SET_IRQS, and the function's way to raise them.
 */
import { Errno } from '../../../devices/errno.js';
import type { FunctionPort, PciFunction } from '../../../devices/pci/function.js';
import type { IncomingParcel, OutgoingParcel } from '../../device-process/hand-over/parcel.js';
import type { IrqState, VectorState } from './port-state.js';
import { closeFd, eventfdAdopt, eventfdSignal, type Reactor, type ReceivedFds } from '../../../host/index.js';
import { IntxPin } from './intx.js';
import { VfioIrqInfoFlag, VfioIrqSetFlag, VfioPciIrq, VfioUserLimit } from './protocol.js';
import type { WireReader } from './wire.js';

const {
  VFIO_IRQ_SET_DATA_NONE,
  VFIO_IRQ_SET_DATA_BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD,
  VFIO_IRQ_SET_ACTION_MASK,
  VFIO_IRQ_SET_ACTION_UNMASK,
  VFIO_IRQ_SET_ACTION_TRIGGER,
} = VfioIrqSetFlag;
const DATA_FLAGS = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_DATA_EVENTFD;
const ACTION_FLAGS = VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER;

/** The fixed part of a SET_IRQS request. */
export interface IrqSet {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
}

export interface IrqCounters {
  /** Eventfd signals sent. */
  interrupts: number;
  /** Vectors that fired while the client had no eventfd for them; each is made up for when it sets one. */
  deferred: number;
}

/** Eventfds of one interrupt type that are signalled once per interrupt. */
class Vectors {
  readonly fds: Int32Array;
  /** 1 for a vector that fired while it had no eventfd. */
  readonly pending: Uint8Array;

  constructor(count: number) {
    this.fds = new Int32Array(count).fill(-1);
    this.pending = new Uint8Array(count);
  }

  set(vector: number, fd: number): void {
    if (this.fds[vector] >= 0) closeFd(this.fds[vector]);
    this.fds[vector] = fd;
  }

  save(parcel: OutgoingParcel): VectorState[] {
    return Array.from(this.fds, (fd, vector) => ({
      fd: parcel.addFdIfAny(fd),
      pending: this.pending[vector] === 1,
    }));
  }

  /** As `save`: what fired without an eventfd fires once more. */
  keep(parcel: OutgoingParcel): VectorState[] {
    return this.save(parcel).map(({ fd }) => ({ fd, pending: false }));
  }

  restore(state: readonly VectorState[], parcel: IncomingParcel): boolean {
    if (state.length !== this.fds.length) return false;
    for (const [vector, { fd, pending }] of state.entries()) {
      this.set(vector, parcel.takeFdIfAny(fd));
      this.pending[vector] = pending ? 1 : 0;
    }
    return true;
  }

  release(): void {
    for (let vector = 0; vector < this.fds.length; vector++) this.set(vector, -1);
  }
}

export class IrqTable implements FunctionPort {
  readonly counters: IrqCounters = { interrupts: 0, deferred: 0 };
  readonly #intx: IntxPin;
  readonly #hasIntx: boolean;
  readonly #msix: Vectors;
  /** ERR and REQ: the client may set eventfds for them, but no device here ever fails or wants to leave by itself. */
  readonly #err = new Vectors(1);
  readonly #req = new Vectors(1);
  readonly #adopted = new Int32Array(VfioUserLimit.MAX_MSG_FDS);

  constructor(fn: PciFunction, reactor: Reactor) {
    this.#hasIntx = fn.hasIntx;
    this.#msix = new Vectors(fn.msixVectorCount);
    this.#intx = new IntxPin(reactor, () => this.counters.interrupts++);
  }

  /** Vectors of an interrupt type; 0 for one that the device lacks, and for a type that there is not. */
  count(index: number): number {
    if (index === VfioPciIrq.VFIO_PCI_INTX_IRQ_INDEX) return this.#hasIntx ? 1 : 0;
    return this.#vectors(index)?.fds.length ?? 0;
  }

  /** VFIO_IRQ_INFO_… flags of an interrupt type. */
  flags(index: number): number {
    const {
      VFIO_IRQ_INFO_EVENTFD,
      VFIO_IRQ_INFO_MASKABLE,
      VFIO_IRQ_INFO_AUTOMASKED,
      VFIO_IRQ_INFO_NORESIZE,
    } = VfioIrqInfoFlag;
    if (index === VfioPciIrq.VFIO_PCI_INTX_IRQ_INDEX) {
      return VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
    }
    // Without NORESIZE the client may add MSI-X vectors one by one, and none is lost while it does.
    if (index === VfioPciIrq.VFIO_PCI_MSIX_IRQ_INDEX) return VFIO_IRQ_INFO_EVENTFD;
    return VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
  }

  /**
   * Does what a SET_IRQS asks for. `bools` is at the data behind the fixed part; descriptors, MAX_MSG_FDS at most, are taken from `fds`.
   *
   * @returns 0, -EINVAL for a combination that makes no sense or something that is no eventfd, -EOPNOTSUPP for eventfds that would
   *   report masking
   */
  set(request: IrqSet, bools: WireReader, fds: ReceivedFds): number {
    const error = this.#check(request, bools, fds);
    if (error !== 0) return error;
    if (request.count === 0) return this.#disable(request.index);
    if ((request.flags & VFIO_IRQ_SET_ACTION_TRIGGER) === 0) return this.#setMask(request, bools, fds);
    if ((request.flags & VFIO_IRQ_SET_DATA_EVENTFD) !== 0) return this.#setEventfds(request, fds);
    return this.#triggerFromClient(request, bools);
  }

  /** What another process has to go on from. */
  save(parcel: OutgoingParcel): IrqState {
    return {
      intx: this.#intx.save(parcel),
      msix: this.#msix.save(parcel),
      err: this.#err.save(parcel),
      req: this.#req.save(parcel),
    };
  }

  /** As `save`, at any moment: what SET_IRQS has set, and nothing that interrupts change. */
  keep(parcel: OutgoingParcel): IrqState {
    return {
      intx: this.#intx.keep(parcel),
      msix: this.#msix.keep(parcel),
      err: this.#err.keep(parcel),
      req: this.#req.keep(parcel),
    };
  }

  /** Whether a SET_IRQS changes what `keep` tells: unmasking INTx after each interrupt does not. */
  changesBy(flags: number, count: number): boolean {
    if (count === 0 || (flags & (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_MASK)) !== 0) return true;
    return (flags & VFIO_IRQ_SET_ACTION_UNMASK) !== 0 && this.#intx.maskedByClient;
  }

  /** Goes on where another process was. False where it had another number of vectors. */
  restore(state: IrqState, parcel: IncomingParcel): boolean {
    this.#intx.restore(state.intx, parcel);
    const all = [this.#msix, this.#err, this.#req].map((vectors, at) =>
      vectors.restore([state.msix, state.err, state.req][at], parcel),
    );
    return all.every((restored) => restored);
  }

  pause(): void {
    this.#intx.pause();
  }

  resume(): void {
    this.#intx.resume();
  }

  triggerMsix(vector: number): void {
    const { fds, pending } = this.#msix;
    if (vector >= fds.length) return;
    if (fds[vector] >= 0) {
      this.#signal(fds[vector]);
    } else {
      pending[vector] = 1;
      this.counters.deferred++;
    }
  }

  setIntx(asserted: boolean): void {
    this.#intx.setLevel(asserted);
  }

  /** The device was reset: what it wanted to say before is void. The client's eventfds stay. */
  reset(): void {
    this.#intx.setLevel(false);
    this.#msix.pending.fill(0);
  }

  /** The client is gone: closes all that it gave. */
  release(): void {
    this.reset();
    for (let index = 0; index < VfioPciIrq.VFIO_PCI_NUM_IRQS; index++) this.#disable(index);
  }

  #check({ flags, index, start, count }: IrqSet, bools: WireReader, fds: ReceivedFds): number {
    const data = flags & DATA_FLAGS;
    const action = flags & ACTION_FLAGS;
    if ((flags & ~(DATA_FLAGS | ACTION_FLAGS)) !== 0 || !isOneBit(data) || !isOneBit(action))
      return -Errno.EINVAL;
    if (index >= VfioPciIrq.VFIO_PCI_NUM_IRQS || start + count > this.count(index)) return -Errno.EINVAL;
    if (count === 0 && (start !== 0 || data !== VFIO_IRQ_SET_DATA_NONE)) return -Errno.EINVAL;
    if (count === 0 && action !== VFIO_IRQ_SET_ACTION_TRIGGER) return -Errno.EINVAL;
    if (data === VFIO_IRQ_SET_DATA_BOOL && bools.remaining !== count) return -Errno.EINVAL;
    if (fds.count !== 0 && (data !== VFIO_IRQ_SET_DATA_EVENTFD || fds.count !== count)) return -Errno.EINVAL;
    const maskable = index === VfioPciIrq.VFIO_PCI_INTX_IRQ_INDEX;
    return action === VFIO_IRQ_SET_ACTION_TRIGGER || maskable ? 0 : -Errno.EINVAL;
  }

  #vectors(index: number): Vectors | undefined {
    if (index === VfioPciIrq.VFIO_PCI_MSIX_IRQ_INDEX) return this.#msix;
    if (index === VfioPciIrq.VFIO_PCI_ERR_IRQ_INDEX) return this.#err;
    return index === VfioPciIrq.VFIO_PCI_REQ_IRQ_INDEX ? this.#req : undefined;
  }

  #disable(index: number): 0 {
    if (index === VfioPciIrq.VFIO_PCI_INTX_IRQ_INDEX) this.#intx.release();
    else this.#vectors(index)?.release();
    return 0;
  }

  /** MASK or UNMASK, of INTx alone. */
  #setMask({ flags }: IrqSet, bools: WireReader, fds: ReceivedFds): number {
    const mask = (flags & VFIO_IRQ_SET_ACTION_MASK) !== 0;
    if ((flags & VFIO_IRQ_SET_DATA_EVENTFD) !== 0) {
      if (mask) return -Errno.EOPNOTSUPP;
      const error = this.#adopt(fds);
      return error === 0 ? this.#intx.setUnmask(this.#adopted[0]) : error;
    }
    if ((flags & VFIO_IRQ_SET_DATA_BOOL) !== 0 && bools.u8() === 0) return 0;
    if (mask) this.#intx.mask();
    else this.#intx.unmask();
    return 0;
  }

  /** Gives the range the eventfds that came, or none where none came. */
  #setEventfds({ index, start, count }: IrqSet, fds: ReceivedFds): number {
    const error = this.#adopt(fds);
    if (error !== 0) return error;
    if (index === VfioPciIrq.VFIO_PCI_INTX_IRQ_INDEX) {
      this.#intx.setTrigger(this.#adopted[0]);
      return 0;
    }
    const vectors = this.#vectors(index);
    for (let i = 0; i < count; i++) vectors?.set(start + i, fds.count === 0 ? -1 : this.#adopted[i]);
    if (vectors === this.#msix) this.#firePending(start, count);
    return 0;
  }

  /** Takes the descriptors over into `#adopted`, -1 where there is none. An errno, and none taken over, if one is no eventfd. */
  #adopt(fds: ReceivedFds): number {
    this.#adopted.fill(-1);
    let error = 0;
    for (let i = 0; i < fds.count && error === 0; i++) {
      this.#adopted[i] = fds.take(i);
      error = eventfdAdopt(this.#adopted[i]);
    }
    if (error === 0) return 0;
    for (const fd of this.#adopted) if (fd >= 0) closeFd(fd);
    return error;
  }

  #firePending(start: number, count: number): void {
    const { fds, pending } = this.#msix;
    for (let vector = start; vector < start + count; vector++) {
      if (pending[vector] === 0 || fds[vector] < 0) continue;
      pending[vector] = 0;
      this.#signal(fds[vector]);
    }
  }

  /** The client fires its own eventfds, to test them. */
  #triggerFromClient({ flags, index, start, count }: IrqSet, bools: WireReader): number {
    const fds = this.#vectors(index)?.fds;
    for (let vector = start; vector < start + count; vector++) {
      if ((flags & VFIO_IRQ_SET_DATA_BOOL) !== 0 && bools.u8() === 0) continue;
      if (fds === undefined) this.#intx.trigger();
      else if (fds[vector] >= 0) this.#signal(fds[vector]);
    }
    return 0;
  }

  #signal(fd: number): void {
    // As for INTx: a count at its maximum is a signal that the client has yet to see.
    eventfdSignal(fd);
    this.counters.interrupts++;
  }
}

function isOneBit(bits: number): boolean {
  return bits !== 0 && (bits & (bits - 1)) === 0;
}
