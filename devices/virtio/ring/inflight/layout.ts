/**
 * The in-flight area of vhost-user ("Inflight I/O tracking" in QEMU's `docs/interop/vhost-user.rst`): memory that outlives the process
 * which serves the rings, and says which chains were taken and are not used yet. A region for each queue, one after the other; offsets in
 * bytes, all fields little-endian.
 */

/** `features[8] version[2] desc_num[2] last_batch_head[2] used_idx[2]`, then `DescStateSplit` for each descriptor. */
export const QueueRegionSplit = {
  VERSION: 8,
  DESC_NUM: 10,
  LAST_BATCH_HEAD: 12,
  USED_IDX: 14,
  DESC: 16,
} as const;

/** `inflight[1] padding[5] next[2] counter[8]` */
export const DescStateSplit = { INFLIGHT: 0, NEXT: 6, COUNTER: 8, BYTES: 16 } as const;

/**
 * `features[8] version[2] desc_num[2] free_head[2] old_free_head[2] used_idx[2] old_used_idx[2] used_wrap_counter[1]
 * old_used_wrap_counter[1] padding[7]`, aligned to 8, then `DescStatePacked` for each descriptor.
 */
export const QueueRegionPacked = {
  VERSION: 8,
  DESC_NUM: 10,
  FREE_HEAD: 12,
  OLD_FREE_HEAD: 14,
  USED_IDX: 16,
  OLD_USED_IDX: 18,
  USED_WRAP_COUNTER: 20,
  OLD_USED_WRAP_COUNTER: 21,
  DESC: 32,
} as const;

/** `inflight[1] padding[1] next[2] last[2] num[2] counter[8] id[2] flags[2] len[4] addr[8]` */
export const DescStatePacked = {
  INFLIGHT: 0,
  NEXT: 2,
  LAST: 4,
  NUM: 6,
  COUNTER: 8,
  /** Together: a descriptor's fourth word, as it stands in the ring. */
  ID_AND_FLAGS: 16,
  LEN: 20,
  ADDR: 24,
  BYTES: 32,
} as const;

/** The only version there is. 0 is a region that nobody has written to. */
export const INFLIGHT_VERSION = 1;

/** Regions begin at multiples of this, as those of other back-ends do. */
const REGION_ALIGN_BYTES = 64;

/** From one queue's region to the next one's. */
export function queueRegionBytes(size: number, packed: boolean): number {
  const bytes = packed
    ? QueueRegionPacked.DESC + size * DescStatePacked.BYTES
    : QueueRegionSplit.DESC + size * DescStateSplit.BYTES;
  return Math.ceil(bytes / REGION_ALIGN_BYTES) * REGION_ALIGN_BYTES;
}
