/** The config space of the multiplexing 9P device (docs/9p-multiplexing.md): what `select` chose, and what there is in all. */

import { sameBytes } from '../same-bytes.js';

/** Offsets, little-endian. Up to `SELECT` it is `struct virtio_9p_config`, of the selected queue. */
export const MuxConfigOffset = {
  TAG_LEN: 0,
  TAG: 2,
  SELECT: 224,
  QUEUE_COUNT: 226,
  CHANGES: 228,
  MOUNT_COUNT: 232,
  CHANGED_QUEUE: 234,
  STATE: 236,
  FLAGS: 238,
  SERIAL: 240,
} as const;

/** As much as vhost-user carries. */
export const MUX_CONFIG_BYTES = 256;
export const MUX_TAG_MAX_BYTES = MuxConfigOffset.SELECT - MuxConfigOffset.TAG;

export const MuxQueueState = { EMPTY: 0, SERVING: 1 } as const;
export const MuxQueueFlag = { READ_ONLY: 1 << 0 } as const;

/** What one queue serves. */
interface Seat {
  readonly tag: Uint8Array;
  readonly readOnly: boolean;
  /** Counts the mounts of the device, so that no two of a queue have the same. */
  readonly serial: number;
}

export interface MuxSeatState {
  readonly queue: number;
  readonly readOnly: number;
  readonly serial: number;
  readonly tag: Uint8Array;
}

export interface MuxConfigState {
  readonly select: number;
  readonly serial: number;
  readonly changes: number;
  readonly changedQueue: number;
  readonly seats: readonly MuxSeatState[];
}

export class MuxConfig {
  /** The registers as the driver reads them. */
  readonly bytes = new Uint8Array(MUX_CONFIG_BYTES);
  readonly #view = new DataView(this.bytes.buffer);
  readonly #seats: (Seat | undefined)[];
  #select = 0;
  #serial = 0;
  #mounts = 0;

  constructor(queueCount: number) {
    this.#seats = new Array<Seat | undefined>(queueCount).fill(undefined);
    this.#view.setUint16(MuxConfigOffset.QUEUE_COUNT, queueCount, true);
  }

  /** A queue serves a mount from now on. The tag has 1 to 222 bytes, and no NUL. */
  seat(queue: number, tag: Uint8Array, readOnly: boolean): void {
    this.#seats[queue] = { tag, readOnly, serial: this.#nextSerial() };
    this.#changed(queue, 1);
  }

  /** The mount of a queue is as it was but for that; false where it was so already. */
  setReadOnly(queue: number, readOnly: boolean): boolean {
    const seat = this.#seats[queue];
    if (seat === undefined || seat.readOnly === readOnly) return false;
    this.#seats[queue] = { ...seat, readOnly };
    this.#changed(queue, 0);
    return true;
  }

  /** A queue serves none any more. */
  vacate(queue: number): void {
    this.#seats[queue] = undefined;
    this.#changed(queue, -1);
  }

  /** What another one goes on from, where the same queues serve the same mounts. */
  get state(): MuxConfigState {
    const seats: MuxSeatState[] = [];
    for (const [queue, seat] of this.#seats.entries())
      if (seat !== undefined) seats.push({ ...seat, queue, readOnly: seat.readOnly ? 1 : 0 });
    const view = this.#view;
    return {
      select: this.#select,
      serial: this.#serial,
      changes: view.getUint32(MuxConfigOffset.CHANGES, true),
      changedQueue: view.getUint16(MuxConfigOffset.CHANGED_QUEUE, true),
      seats,
    };
  }

  /** Why the state is not one of these mounts on these queues. */
  problemOf({ seats }: MuxConfigState): string | undefined {
    if (seats.length !== this.#mounts)
      return `it has ${seats.length} mounts, and there are ${this.#mounts} here`;
    if (new Set(seats.map(({ queue }) => queue)).size !== seats.length) return 'it has a queue twice';
    for (const { queue, tag } of seats) {
      const there = this.#seats.at(queue);
      if (there === undefined || !sameBytes(there.tag, tag))
        return `its queue ${queue} serves another mount here`;
    }
    return undefined;
  }

  /** Goes on from a state without a problem. */
  resume({ select, serial, changes, changedQueue, seats }: MuxConfigState): void {
    for (const { queue, tag, readOnly, serial: own } of seats)
      this.#seats[queue] = { tag, readOnly: readOnly !== 0, serial: own };
    this.#serial = serial;
    this.#view.setUint32(MuxConfigOffset.CHANGES, changes, true);
    this.#view.setUint16(MuxConfigOffset.CHANGED_QUEUE, changedQueue, true);
    this.#show(select);
  }

  /**
   * Goes on for a device whose process was killed. The mount that a queue has here is the one that it had there, unless the tag says otherwise; and
   * `changes` goes on by more than one, so that a driver looks at all queues.
   */
  goOn({ select, serial, changes, changedQueue, seats }: MuxConfigState): void {
    const before = new Map(seats.map((seat) => [seat.queue, seat]));
    this.#serial = serial;
    for (const [queue, seat] of this.#seats.entries()) {
      if (seat === undefined) continue;
      const known = before.get(queue);
      const isSame = known !== undefined && sameBytes(known.tag, seat.tag);
      this.#seats[queue] = { ...seat, serial: isSame ? known.serial : this.#nextSerial() };
    }
    this.#view.setUint32(MuxConfigOffset.CHANGES, changes + 2, true);
    this.#view.setUint16(MuxConfigOffset.CHANGED_QUEUE, changedQueue, true);
    this.#show(select);
  }

  /** A driver's write, of which `select` takes what is its own. */
  write(offset: number, bytes: Uint8Array): void {
    const { SELECT, QUEUE_COUNT } = MuxConfigOffset;
    for (let i = 0; i < bytes.length; i++) {
      if (offset + i >= SELECT && offset + i < QUEUE_COUNT) this.bytes[offset + i] = bytes[i];
    }
    this.#show(this.#view.getUint16(SELECT, true));
  }

  /** The first queue is selected again, for drivers that know no other. */
  reset(): void {
    this.#show(0);
  }

  #nextSerial(): number {
    return (this.#serial = (this.#serial + 1) >>> 0);
  }

  #changed(queue: number, mounts: 1 | 0 | -1): void {
    const view = this.#view;
    this.#mounts += mounts;
    view.setUint32(MuxConfigOffset.CHANGES, view.getUint32(MuxConfigOffset.CHANGES, true) + 1, true);
    view.setUint16(MuxConfigOffset.MOUNT_COUNT, this.#mounts, true);
    view.setUint16(MuxConfigOffset.CHANGED_QUEUE, queue, true);
    if (queue === this.#select) this.#show(queue);
  }

  /** Zeros where there is no such queue, or it serves nothing. */
  #show(select: number): void {
    const view = this.#view;
    const seat = this.#seats.at(select);
    this.#select = select;
    this.bytes.fill(0, MuxConfigOffset.TAG_LEN, MuxConfigOffset.SELECT);
    if (seat !== undefined) this.bytes.set(seat.tag, MuxConfigOffset.TAG);
    view.setUint16(MuxConfigOffset.TAG_LEN, seat?.tag.length ?? 0, true);
    view.setUint16(MuxConfigOffset.SELECT, select, true);
    const state = seat === undefined ? MuxQueueState.EMPTY : MuxQueueState.SERVING;
    view.setUint16(MuxConfigOffset.STATE, state, true);
    view.setUint16(MuxConfigOffset.FLAGS, seat?.readOnly === true ? MuxQueueFlag.READ_ONLY : 0, true);
    view.setUint32(MuxConfigOffset.SERIAL, seat?.serial ?? 0, true);
  }
}
