/**
 * Virtqueues in memory (virtio 1.3, sections 2.7 and 2.8): flags, sizes and offsets in bytes, all fields little-endian.
 *
 * What a hot path needs of these it keeps in constants of its own module: V8 compiles those in, and loads imported ones at each use.
 */

export const VirtqDescFlag = {
  /** The buffer goes on in the descriptor that `next` names. */
  VIRTQ_DESC_F_NEXT: 1,
  /** The device may write the buffer (and not read it). */
  VIRTQ_DESC_F_WRITE: 2,
  /** The buffer is a table of descriptors. */
  VIRTQ_DESC_F_INDIRECT: 4,
} as const;

/** Beside `VirtqDescFlag`, in a packed ring's descriptors (2.8.1): whose the descriptor is, against the wrap counters. */
export const PackedDescFlag = { VIRTQ_DESC_F_AVAIL: 1 << 7, VIRTQ_DESC_F_USED: 1 << 15 } as const;

/** A descriptor: `le64 addr; le32 len`, then `le16 flags; le16 next` in a split ring and `le16 id; le16 flags` in a packed one. */
export const VIRTQ_DESC_BYTES = 16;
/** Rings read descriptors in words of 32 bits, four each: the same places in bytes, divided by 4. */
export const VIRTQ_DESC_WORDS = 4;
export const DescWord = { ADDR_LOW: 0, ADDR_HIGH: 1, LEN: 2, FLAGS_AND_NEXT: 3, ID_AND_FLAGS: 3 } as const;

/** `le16 flags; le16 idx; le16 ring[size]; le16 used_event` */
export const VirtqAvail = { FLAGS: 0, IDX: 2, RING: 4 } as const;
export const VIRTQ_AVAIL_F_NO_INTERRUPT = 1;

/** `le16 flags; le16 idx; struct { le32 id; le32 len } ring[size]; le16 avail_event` */
export const VirtqUsed = { FLAGS: 0, IDX: 2, RING: 4, ELEMENT_BYTES: 8 } as const;
export const VIRTQ_USED_F_NO_NOTIFY = 1;

/** Alignment of the three areas. */
export const VirtqAlign = { DESC: 16, AVAIL: 2, USED: 4 } as const;

export const VIRTQ_MAX_SIZE = 32768;

export function descriptorAreaBytes(size: number): number {
  return size * VIRTQ_DESC_BYTES;
}

/** With `used_event`, which is there whether or not VIRTIO_F_EVENT_IDX gives it a meaning. */
export function availRingBytes(size: number): number {
  return VirtqAvail.RING + size * 2 + 2;
}

export function usedRingBytes(size: number): number {
  return VirtqUsed.RING + size * VirtqUsed.ELEMENT_BYTES + 2;
}

/** Ring indices are 16 bits wide and run free: they wrap at 65536, whatever the ring's size. */
export const INDEX_MASK = 0xffff;

/** `le16 desc_event_off_wrap; le16 flags` (2.8.14): the driver area and the device area of a packed ring. */
export const EVENT_SUPPRESS_BYTES = 4;
export const EVENT_SUPPRESS_ALIGN = 4;
export const RingEventFlags = {
  /** Tell me of everything. */
  RING_EVENT_FLAGS_ENABLE: 0,
  RING_EVENT_FLAGS_DISABLE: 1,
  /** Tell me of the descriptor that `desc_event_off_wrap` names. Only with VIRTIO_F_EVENT_IDX. */
  RING_EVENT_FLAGS_DESC: 2,
  /** The bits that hold one of these. */
  MASK: 3,
} as const;
