/** A virtqueue's registers (virtio 1.3, section 4.1.4.3). A ring exists only once they are activated together. */
import { VirtioFeature } from '../device.js';
import type { QueueCounters } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { EVENT_SUPPRESS_ALIGN, VIRTQ_MAX_SIZE, VirtqAlign } from './defs.js';
import type { ChainState } from './chain-state.js';
import { createRing } from './factory.js';
import { hasFeature } from './features.js';
import type { RingRecords } from './inflight/ring-records.js';
import type { RingPosition, RingSignals, RunningRing } from './running-ring.js';

/** "This event has no vector" (VIRTIO_MSI_NO_VECTOR). */
export const VIRTIO_MSI_NO_VECTOR = 0xffff;

/** A 64-bit guest-physical address, as the two registers that hold it. */
export class AreaAddress {
  low = 0;
  high = 0;

  /** Rounds past 2^53, where no memory is. */
  get value(): number {
    return this.high * 0x1_0000_0000 + this.low;
  }

  set(address: number): void {
    this.low = address >>> 0;
    this.high = Math.floor(address / 0x1_0000_0000) >>> 0;
  }
}

/** The ring that runs now, or why there is none. */
export type Activation =
  | { readonly ring: RunningRing; readonly problem?: undefined }
  | { readonly ring?: undefined; readonly problem: string };

export class QueueConfig {
  readonly index: number;
  readonly maxSize: number;
  size: number;
  vector: number = VIRTIO_MSI_NO_VECTOR;
  enabled = false;
  readonly descriptorArea = new AreaAddress();
  readonly driverArea = new AreaAddress();
  readonly deviceArea = new AreaAddress();
  /** Where a restored or reconnected ring goes on; undefined for a fresh one, whichever its format. */
  start: RingPosition | undefined;
  /** Chains that a restored ring gives to its device once more, before any other. */
  chains: readonly ChainState[] = [];
  /**
   * Where the ring is to write down which chains are under way: `queueRegionBytes` of the in-flight area, at a multiple of 8. Where it says
   * what was under way in this ring, the ring goes on from there, whatever `start` says.
   */
  inflight: Uint8Array | undefined;
  /** What gives it that each time it is activated, in place of whoever configures it. */
  records: RingRecords | undefined;

  constructor(index: number, maxSize: number) {
    if (!Number.isInteger(maxSize) || maxSize < 1 || maxSize > VIRTQ_MAX_SIZE) {
      throw new RangeError(`queue ${index}: a size is within 1 to ${VIRTQ_MAX_SIZE}, and ${maxSize} is not`);
    }
    this.index = index;
    this.maxSize = maxSize;
    this.size = maxSize;
  }

  reset(): void {
    this.size = this.maxSize;
    this.vector = VIRTIO_MSI_NO_VECTOR;
    this.enabled = false;
    this.descriptorArea.set(0);
    this.driverArea.set(0);
    this.deviceArea.set(0);
    this.start = undefined;
    this.chains = [];
    this.inflight = undefined;
  }

  /** What is wrong with the registers by themselves, before memory is looked at; undefined where nothing is. */
  problem(features: bigint): string | undefined {
    const packed = hasFeature(features, VirtioFeature.VIRTIO_F_RING_PACKED);
    if (this.size < 1 || this.size > this.maxSize)
      return `size ${this.size} is not within 1 to ${this.maxSize}`;
    if (!packed && !isPowerOfTwo(this.size)) return `size ${this.size} is not a power of two`;
    if (this.descriptorArea.low % VirtqAlign.DESC !== 0)
      return 'the descriptor area is not aligned to 16 bytes';
    if (this.driverArea.low % (packed ? EVENT_SUPPRESS_ALIGN : VirtqAlign.AVAIL) !== 0)
      return 'the driver area is not aligned';
    if (this.deviceArea.low % VirtqAlign.USED !== 0) return 'the device area is not aligned to 4 bytes';
    return undefined;
  }

  /** Makes the ring that the registers describe, in the format that `features` (as negotiated) choose. */
  activate(memory: GuestMemory, features: bigint, signals: RingSignals, counters: QueueCounters): Activation {
    const problem = this.problem(features);
    if (problem !== undefined) return { problem };
    const packed = hasFeature(features, VirtioFeature.VIRTIO_F_RING_PACKED);
    if (this.records !== undefined) this.inflight = this.records.regionOf(this, packed);
    return createRing(this, memory, features, signals, counters);
  }
}

/** The largest size of a split ring that is not above `maxSize`. */
export function powerOfTwoAtMost(maxSize: number): number {
  return 2 ** Math.floor(Math.log2(maxSize));
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}
