/**
 * The in-flight record of a packed ring. The device itself writes over the driver's descriptors there, so the record holds them as they were
 * taken. Each step is the specification's; chains go back to its list of free entries when they are published, because others are taken between
 * that and their use.
 */
import { DescWord, PackedDescFlag, VIRTQ_DESC_WORDS } from '../defs.js';
import type { DescriptorChain } from '../descriptor-chain.js';
import { packedIndex, packedRetreat, packedWrap } from '../packed-position.js';
import {
  counterAt,
  inflightNumber,
  regionArrays,
  setCounter,
  type InflightRecord,
  type RegionArrays,
} from './inflight-record.js';
import { DescStatePacked, INFLIGHT_VERSION, QueueRegionPacked } from './layout.js';

const { DESC } = QueueRegionPacked;
const WRAP_COUNTER = 0x8000;
const { ID_AND_FLAGS } = DescWord;
const ID_MASK = 0xffff;
/** Flags are in the upper half of a descriptor's fourth word. */
const AVAIL = PackedDescFlag.VIRTQ_DESC_F_AVAIL << 16;
const USED = PackedDescFlag.VIRTQ_DESC_F_USED << 16;
/** Places in the arrays. */
const HALF = {
  VERSION: QueueRegionPacked.VERSION / 2,
  DESC_NUM: QueueRegionPacked.DESC_NUM / 2,
  FREE_HEAD: QueueRegionPacked.FREE_HEAD / 2,
  OLD_FREE_HEAD: QueueRegionPacked.OLD_FREE_HEAD / 2,
  USED_IDX: QueueRegionPacked.USED_IDX / 2,
  OLD_USED_IDX: QueueRegionPacked.OLD_USED_IDX / 2,
};
/** `used_idx` to the padding behind `old_used_wrap_counter`, in numbers of 64 bits. */
const POSITIONS = QueueRegionPacked.USED_IDX / 8;
const { USED_WRAP_COUNTER, OLD_USED_WRAP_COUNTER } = QueueRegionPacked;
/** Written with the padding behind it, which is 0. */
const FIRST_INFLIGHT = (DESC + DescStatePacked.INFLIGHT) / 2;
const FIRST_NEXT = (DESC + DescStatePacked.NEXT) / 2;
const FIRST_LAST = (DESC + DescStatePacked.LAST) / 2;
const FIRST_NUM = (DESC + DescStatePacked.NUM) / 2;
const FIRST_COUNTER = (DESC + DescStatePacked.COUNTER) / 4;
const FIRST_ID_AND_FLAGS = (DESC + DescStatePacked.ID_AND_FLAGS) / 4;
const FIRST_LEN = (DESC + DescStatePacked.LEN) / 4;
const FIRST_ADDR = (DESC + DescStatePacked.ADDR) / 4;
const BYTES = DescStatePacked.BYTES;
const HALVES = BYTES / 2;
const WORDS = BYTES / 4;

/** A chain as its region has it. */
export interface RecordedChain {
  /** Its descriptors, as they stood in the ring: `VIRTQ_DESC_WORDS` for each. */
  readonly descriptors: Int32Array;
  readonly count: number;
}

/** What a region says of a ring. */
export interface RecordedRing {
  /** As in `RingPosition`: the next element that the device will give back. */
  readonly nextUsed: number;
  /** Those under way, oldest first. */
  readonly chains: readonly RecordedChain[];
}

export class PackedInflight implements InflightRecord {
  readonly #arrays: RegionArrays;
  readonly #size: number;
  /** What the region's `next` and `last` say, of which only we know that they lie within it. */
  readonly #next: Uint16Array;
  readonly #last: Uint16Array;
  #freeHead = 0;
  /** The position of the next used element, as last published. */
  #used = 0;
  #counter = 0;
  readonly #scratch: {
    readonly halves: Uint16Array;
    readonly bytes: Uint8Array;
    readonly double: Float64Array;
  };
  /** The entries of chains that were used since the last batch was published. */
  readonly #batch: Uint16Array;
  #batchCount = 0;
  /** Where chains are that were under way, by the buffer id that they have in the ring. */
  readonly #found = new Map<number, number>();

  /** @param region `queueRegionBytes` long, and at a multiple of 8 */
  constructor(region: Uint8Array, size: number) {
    this.#arrays = regionArrays(region);
    const scratch = new ArrayBuffer(8);
    this.#scratch = {
      halves: new Uint16Array(scratch),
      bytes: new Uint8Array(scratch),
      double: new Float64Array(scratch),
    };
    this.#size = size;
    this.#next = new Uint16Array(size);
    this.#last = new Uint16Array(size);
    this.#batch = new Uint16Array(size);
  }

  /** Nothing is under way, and the next used element is at this position. */
  begin(nextUsed: number): void {
    const { bytes, halves } = this.#arrays;
    halves[HALF.VERSION] = 0;
    bytes.fill(0, 0, DESC + this.#size * BYTES);
    halves[HALF.DESC_NUM] = this.#size;
    for (let i = 0; i < this.#size; i++) this.#setNext(i, i + 1);
    this.#freeHead = 0;
    this.#setPositions(nextUsed, nextUsed);
    halves[HALF.VERSION] = INFLIGHT_VERSION;
    this.#counter = 0;
  }

  /**
   * What was under way; undefined where the region says nothing of a ring with these descriptors. A kill in here leaves a region that says
   * the same.
   *
   * @param descriptors the ring's, `VIRTQ_DESC_WORDS` each
   */
  recover(descriptors: Int32Array): RecordedRing | undefined {
    const { halves } = this.#arrays;
    if (halves[HALF.VERSION] !== INFLIGHT_VERSION || halves[HALF.DESC_NUM] !== this.#size) return undefined;
    const nextUsed = this.#settleLastBatch(descriptors);
    if (nextUsed === undefined) return undefined;
    for (let i = 0, entry = halves[HALF.FREE_HEAD]; i < this.#size && entry < this.#size; i++) {
      halves[FIRST_INFLIGHT + entry * HALVES] = 0;
      entry = halves[FIRST_NEXT + entry * HALVES];
    }
    const chains = this.#chains();
    if (chains === undefined) return undefined;
    // Where all of the ring is under way, used elements that nobody has seen may stand there already.
    const isFull = chains.reduce((sum, { count }) => sum + count, 0) === this.#size;
    if (!isFull && !this.#wasReached(descriptors, packedRetreat(nextUsed, 1, this.#size))) return undefined;
    return { nextUsed, chains };
  }

  /** The region says nothing any more. */
  forget(): void {
    this.#arrays.halves[HALF.VERSION] = 0;
  }

  adopt(chain: DescriptorChain): void {
    chain.entry = this.#found.get(chain.id) ?? 0;
    const at = FIRST_COUNTER + chain.entry * WORDS;
    chain.inflightNumber = inflightNumber(counterAt(this.#arrays.words, at));
    this.#found.delete(chain.id);
  }

  /** A chain that has `count` descriptors in the ring, from the place `first` in `descriptors` on. */
  taken(chain: DescriptorChain, descriptors: Int32Array, first: number): void {
    const { halves, words } = this.#arrays;
    const count = chain.ringEntries;
    const head = this.#freeHead;
    chain.entry = head;
    halves[FIRST_NUM + head * HALVES] = 0;
    const counter = this.#counter++;
    setCounter(words, FIRST_COUNTER + head * WORDS, counter);
    chain.inflightNumber = inflightNumber(counter);
    halves[FIRST_INFLIGHT + head * HALVES] = 1;
    let entry = head;
    let last = head;
    let at = first;
    for (let i = 0; i < count; i++) {
      last = entry;
      this.#setDescriptor(entry, descriptors, at);
      entry = this.#next[entry];
      at += VIRTQ_DESC_WORDS;
      if (at === this.#size * VIRTQ_DESC_WORDS) at = 0;
    }
    halves[FIRST_LAST + head * HALVES] = this.#last[head] = last;
    halves[FIRST_NUM + head * HALVES] = count;
    halves[HALF.FREE_HEAD] = this.#freeHead = entry;
    // With this it is taken: before, its entries are free ones still.
    halves[HALF.OLD_FREE_HEAD] = entry;
  }

  untaken({ entry }: DescriptorChain): void {
    const { halves } = this.#arrays;
    halves[HALF.FREE_HEAD] = this.#freeHead = entry;
    halves[HALF.OLD_FREE_HEAD] = entry;
    halves[FIRST_INFLIGHT + entry * HALVES] = 0;
  }

  used({ entry }: DescriptorChain): void {
    this.#batch[this.#batchCount++] = entry;
  }

  publishing(newUsed: number): void {
    for (let i = 0; i < this.#batchCount; i++) {
      const entry = this.#batch[i];
      this.#setNext(this.#last[entry], this.#freeHead);
      this.#arrays.halves[HALF.FREE_HEAD] = this.#freeHead = entry;
    }
    this.#setPositions(newUsed, this.#used);
  }

  published(newUsed: number): void {
    const { halves } = this.#arrays;
    for (let i = 0; i < this.#batchCount; i++) halves[FIRST_INFLIGHT + this.#batch[i] * HALVES] = 0;
    halves[HALF.OLD_FREE_HEAD] = this.#freeHead;
    this.#setPositions(newUsed, newUsed);
    this.#batchCount = 0;
  }

  #setDescriptor(entry: number, descriptors: Int32Array, at: number): void {
    const { words } = this.#arrays;
    const to = entry * WORDS;
    words[FIRST_ADDR + to] = descriptors[at];
    words[FIRST_ADDR + to + 1] = descriptors[at + 1];
    words[FIRST_LEN + to] = descriptors[at + 2];
    words[FIRST_ID_AND_FLAGS + to] = descriptors[at + 3];
  }

  #setNext(entry: number, next: number): void {
    this.#arrays.halves[FIRST_NEXT + entry * HALVES] = this.#next[entry] = next;
  }

  /**
   * Both positions, each an index and a wrap counter, by one store: a kill between an index and its wrap counter would leave a position that is
   * a lap away. The eight bytes end in padding, so that as a number they are never one that is not a number.
   */
  #setPositions(used: number, oldUsed: number): void {
    const { halves, bytes, double } = this.#scratch;
    halves[0] = packedIndex(used);
    halves[1] = packedIndex(oldUsed);
    bytes[4] = packedWrap(used) ? 1 : 0;
    bytes[5] = packedWrap(oldUsed) ? 1 : 0;
    this.#arrays.doubles[POSITIONS] = double[0];
    this.#used = oldUsed;
  }

  /** Ends the batch that was about to be published, or takes it back. Undefined where these cannot be the ring's descriptors. */
  #settleLastBatch(descriptors: Int32Array): number | undefined {
    const { halves } = this.#arrays;
    const before = this.#position(HALF.OLD_USED_IDX, OLD_USED_WRAP_COUNTER);
    const after = this.#position(HALF.USED_IDX, USED_WRAP_COUNTER);
    if (packedIndex(before) >= this.#size || packedIndex(after) >= this.#size) return undefined;
    const lap = lapOf(descriptors, before);
    const wasPublished = before !== after && lap !== Lap.AVAILABLE;
    if (!wasPublished && lap === Lap.USED) return undefined;
    if (wasPublished) halves[HALF.OLD_FREE_HEAD] = halves[HALF.FREE_HEAD];
    else halves[HALF.FREE_HEAD] = halves[HALF.OLD_FREE_HEAD];
    const position = wasPublished ? after : before;
    this.#setPositions(position, position);
    return position;
  }

  /** Whether the driver has made this descriptor available, in that lap or in the next one: memory that is zeroed says that it never did. */
  #wasReached(descriptors: Int32Array, position: number): boolean {
    const flags = descriptors[packedIndex(position) * VIRTQ_DESC_WORDS + ID_AND_FLAGS];
    const set = packedWrap(position) ? flags : ~flags;
    return (set & (AVAIL | USED)) !== 0;
  }

  #position(index: number, wrapCounter: number): number {
    const { bytes, halves } = this.#arrays;
    return halves[index] | (bytes[wrapCounter] === 0 ? 0 : WRAP_COUNTER);
  }

  /** Takes over the lists of free entries and of those under way: undefined where they are not all entries, each of them once. */
  #chains(): RecordedChain[] | undefined {
    const { halves, words } = this.#arrays;
    const seen = new Uint8Array(this.#size);
    for (let i = 0; i < this.#size; i++) this.#next[i] = halves[FIRST_NEXT + i * HALVES];
    this.#freeHead = halves[HALF.FREE_HEAD];
    let left = this.#size - this.#mark(seen, this.#freeHead, this.#size);
    const heads: number[] = [];
    for (let head = 0; head < this.#size; head++) {
      if (halves[FIRST_INFLIGHT + head * HALVES] !== 1) continue;
      const count = halves[FIRST_NUM + head * HALVES];
      if (count === 0 || this.#mark(seen, head, count) !== count) return undefined;
      left -= count;
      heads.push(head);
    }
    if (left !== 0) return undefined;
    const age = (head: number) => counterAt(words, FIRST_COUNTER + head * WORDS);
    heads.sort((a, b) => age(a) - age(b));
    this.#counter = heads.length === 0 ? 0 : age(heads[heads.length - 1]) + 1;
    return heads.map((head) => this.#chain(head));
  }

  /** Marks entries from `first` on, `most` at most, up to the end of the list or one that is marked; answers how many. */
  #mark(seen: Uint8Array, first: number, most: number): number {
    let count = 0;
    for (
      let entry = first;
      count < most && entry < this.#size && seen[entry] === 0;
      entry = this.#next[entry]
    ) {
      seen[entry] = 1;
      count++;
    }
    return count;
  }

  #chain(head: number): RecordedChain {
    const { halves, words } = this.#arrays;
    const count = halves[FIRST_NUM + head * HALVES];
    const descriptors = new Int32Array(count * VIRTQ_DESC_WORDS);
    // Which lap they are of does not matter any more, but one that goes on in the next lap has to be read as one.
    const lap = words[FIRST_ID_AND_FLAGS + head * WORDS] & (AVAIL | USED);
    let entry = head;
    for (let i = 0; i < count; i++) {
      const from = entry * WORDS;
      const idAndFlags = (words[FIRST_ID_AND_FLAGS + from] & ~(AVAIL | USED)) | lap;
      descriptors.set(
        [words[FIRST_ADDR + from], words[FIRST_ADDR + from + 1], words[FIRST_LEN + from], idAndFlags],
        i * VIRTQ_DESC_WORDS,
      );
      this.#last[head] = entry;
      entry = this.#next[entry];
    }
    this.#found.set(descriptors[descriptors.length - 1] & ID_MASK, head);
    return { descriptors, count };
  }
}

const Lap = { AVAILABLE: 0, USED: 1, OTHER: 2 } as const;

/** How the descriptor at a position stands in the position's own lap. */
function lapOf(descriptors: Int32Array, position: number): (typeof Lap)[keyof typeof Lap] {
  const flags = descriptors[packedIndex(position) * VIRTQ_DESC_WORDS + ID_AND_FLAGS];
  const set = (packedWrap(position) ? flags : ~flags) & (AVAIL | USED);
  if (set === AVAIL) return Lap.AVAILABLE;
  return set === (AVAIL | USED) ? Lap.USED : Lap.OTHER;
}
