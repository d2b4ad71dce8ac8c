/**
 * The in-flight record of a split ring. Each step is the specification's; a batch is linked when it is published rather than chain by chain,
 * which the specification leaves open.
 */
import { INDEX_MASK } from '../defs.js';
import type { DescriptorChain } from '../descriptor-chain.js';
import {
  counterAt,
  inflightNumber,
  regionArrays,
  setCounter,
  type InflightRecord,
  type RegionArrays,
} from './inflight-record.js';
import { DescStateSplit, INFLIGHT_VERSION, QueueRegionSplit } from './layout.js';

const { VERSION, DESC_NUM, LAST_BATCH_HEAD, USED_IDX, DESC } = QueueRegionSplit;
/** Places in the arrays. */
const HALF = {
  VERSION: VERSION / 2,
  DESC_NUM: DESC_NUM / 2,
  LAST_BATCH_HEAD: LAST_BATCH_HEAD / 2,
  USED_IDX: USED_IDX / 2,
};
/** Written with the padding behind it, which is 0. */
const FIRST_INFLIGHT = (DESC + DescStateSplit.INFLIGHT) / 2;
const FIRST_NEXT = (DESC + DescStateSplit.NEXT) / 2;
const FIRST_COUNTER = (DESC + DescStateSplit.COUNTER) / 4;
const BYTES = DescStateSplit.BYTES;
const HALVES = BYTES / 2;
const WORDS = BYTES / 4;

export class SplitInflight implements InflightRecord {
  readonly #arrays: RegionArrays;
  readonly #size: number;
  #counter = 0;
  #lastBatchHead = 0;
  /** Heads that were used since the last batch was published. */
  readonly #batch: Uint16Array;
  #batchCount = 0;

  /** @param region `queueRegionBytes` long, and at a multiple of 8 */
  constructor(region: Uint8Array, size: number) {
    this.#arrays = regionArrays(region);
    this.#size = size;
    this.#batch = new Uint16Array(size);
  }

  /** Nothing is under way, and the used index is this one. */
  begin(usedIndex: number): void {
    const { bytes, halves } = this.#arrays;
    halves[HALF.VERSION] = 0;
    bytes.fill(0, 0, DESC + this.#size * BYTES);
    halves[HALF.DESC_NUM] = this.#size;
    halves[HALF.USED_IDX] = usedIndex;
    halves[HALF.VERSION] = INFLIGHT_VERSION;
    this.#counter = 0;
    this.#lastBatchHead = 0;
  }

  /**
   * The heads of the chains under way, oldest first, where both indices are as in the ring; undefined where the region says nothing of this ring.
   * A kill in here leaves a region that says the same.
   */
  recover(usedIndex: number, availIndex: number): number[] | undefined {
    const { halves, words } = this.#arrays;
    if (halves[HALF.VERSION] !== INFLIGHT_VERSION || halves[HALF.DESC_NUM] !== this.#size) return undefined;
    if (!this.#endLastBatch(usedIndex)) return undefined;
    const heads: number[] = [];
    for (let head = 0; head < this.#size; head++)
      if (halves[FIRST_INFLIGHT + head * HALVES] === 1) heads.push(head);
    // All that was taken was made available: else the driver has begun anew, in the same place.
    if (((availIndex - usedIndex) & INDEX_MASK) < heads.length) return undefined;
    const age = (head: number) => counterAt(words, FIRST_COUNTER + head * WORDS);
    heads.sort((a, b) => age(a) - age(b));
    this.#counter = heads.length === 0 ? 0 : age(heads[heads.length - 1]) + 1;
    this.#lastBatchHead = halves[HALF.LAST_BATCH_HEAD];
    return heads;
  }

  /** The region says nothing any more. */
  forget(): void {
    this.#arrays.halves[HALF.VERSION] = 0;
  }

  /** Its head says where it is. */
  adopt(chain: DescriptorChain): void {
    chain.inflightNumber = inflightNumber(counterAt(this.#arrays.words, FIRST_COUNTER + chain.id * WORDS));
  }

  /** Answers the chain's number. */
  taken(head: number): number {
    const { halves, words } = this.#arrays;
    const counter = this.#counter++;
    setCounter(words, FIRST_COUNTER + head * WORDS, counter);
    halves[FIRST_INFLIGHT + head * HALVES] = 1;
    return inflightNumber(counter);
  }

  untaken({ id }: DescriptorChain): void {
    this.#arrays.halves[FIRST_INFLIGHT + id * HALVES] = 0;
  }

  used({ id }: DescriptorChain): void {
    this.#batch[this.#batchCount++] = id;
  }

  publishing(): void {
    const { halves } = this.#arrays;
    for (let i = 0; i < this.#batchCount; i++) {
      const head = this.#batch[i];
      halves[FIRST_NEXT + head * HALVES] = this.#lastBatchHead;
      halves[HALF.LAST_BATCH_HEAD] = this.#lastBatchHead = head;
    }
  }

  published(newUsed: number): void {
    const { halves } = this.#arrays;
    for (let i = 0; i < this.#batchCount; i++) halves[FIRST_INFLIGHT + this.#batch[i] * HALVES] = 0;
    halves[HALF.USED_IDX] = newUsed;
    this.#batchCount = 0;
  }

  /** What the driver sees as used is under way no more. False where that cannot be this region's last batch. */
  #endLastBatch(usedIndex: number): boolean {
    const { halves } = this.#arrays;
    const count = (usedIndex - halves[HALF.USED_IDX]) & INDEX_MASK;
    if (count > this.#size) return false;
    const batch: number[] = [];
    let head = halves[HALF.LAST_BATCH_HEAD];
    for (let i = 0; i < count; i++) {
      if (head >= this.#size) return false;
      batch.push(head);
      head = halves[FIRST_NEXT + head * HALVES];
    }
    for (const each of batch) halves[FIRST_INFLIGHT + each * HALVES] = 0;
    halves[HALF.USED_IDX] = usedIndex;
    return true;
  }
}
