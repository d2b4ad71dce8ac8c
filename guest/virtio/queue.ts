/** The driver's side of a virtqueue, whatever its format. */

/**
 * One request: the buffers that make it up, those the device reads before those it writes. The caller owns the object and may
 * use it again once it has completed; while it is out, object and buffers are the queue's and the device's.
 */
export interface QueueRequest {
  /** Guest-physical addresses and lengths in bytes of the buffers, as parallel arrays. */
  readonly addresses: readonly number[];
  readonly lengths: readonly number[];
  /** How many of the buffers, from the first on, the device only reads; the rest it only writes. */
  readonly readableCount: number;
  readonly count: number;
  /**
   * Called once, from `collect` with the number of bytes that the device says it wrote (never more than there is room for),
   * or from `abort` with a negative errno. It must not throw.
   */
  complete(result: number): void;
}

/** Where a ring's parts are, for the transport to tell the device. */
export interface RingAddresses {
  readonly descriptorArea: number;
  readonly driverArea: number;
  readonly deviceArea: number;
}

/** What a queue is made with, whatever its format. */
export interface DriverQueueOptions {
  readonly index: number;
  /** 32768 at most; a power of two for a split ring. */
  readonly size: number;
  /** Where a split ring's used part may start, in bytes: 4 for modern devices, which is the default. */
  readonly usedAlignment?: number;
  /** VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX and VIRTIO_F_IN_ORDER, as negotiated. */
  readonly indirect: boolean;
  readonly eventIndex: boolean;
  readonly inOrder?: boolean;
  /**
   * Rings the device's doorbell for this queue. `next` says how far the driver has come, in the 16 bits that VIRTIO_F_NOTIFICATION_DATA passes
   * on (2.9): a split ring's available index, or a packed ring's next_off with next_wrap above it.
   */
  readonly notify: (next: number) => void;
}

export interface DriverQueue {
  readonly index: number;
  /** Entries in the ring. */
  readonly size: number;
  readonly addresses: RingAddresses;
  /** Buffers in one request at most. */
  readonly maxBuffers: number;
  /** How many requests of `buffers` buffers each the ring has room for at once. */
  capacity(buffers: number): number;
  /** True once the device broke the ring's rules. Nothing is collected any more: reset the device, then `abort`. */
  readonly broken: boolean;
  /** Makes a request available and notifies the device if it asked for that. False where the ring has no room now. */
  add(request: QueueRequest): boolean;
  /** Completes what the device has used, and asks for the next interrupt. False if the device broke the ring's rules. */
  collect(): boolean;
  /** Completes everything that is out with `-errno`. Only after the device was reset, or is gone: it owns the buffers. */
  abort(errno: number): void;
  /** Gives the ring's memory back. Only after the device was reset, or is gone. */
  close(): void;
}

/** Bytes that the device may write in a request's buffers. */
export function writableBytes(request: QueueRequest): number {
  let bytes = 0;
  for (let i = request.readableCount; i < request.count; i++) bytes += request.lengths[i];
  return bytes;
}
