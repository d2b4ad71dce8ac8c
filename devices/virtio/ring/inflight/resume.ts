/** From what an in-flight region says to a ring that goes on with it: the chains under way, as state that the ring takes up. */
import { problemOfChains, saveChains, type ChainState } from '../chain-state.js';
import { DescriptorChain } from '../descriptor-chain.js';
import { PackedChainWalker } from '../packed-chain.js';
import { packedAdvance } from '../packed-position.js';
import type { PackedAreas } from '../packed-areas.js';
import type { RingSetup } from '../ring-base.js';
import type { SplitAreas } from '../split-areas.js';
import { SplitChainWalker } from '../split-chain.js';
import { DescWord, INDEX_MASK } from '../defs.js';
import type { InflightRecord } from './inflight-record.js';
import { PackedInflight } from './inflight-packed.js';
import { SplitInflight } from './inflight-split.js';

/** How a ring goes on; without a record where none can be kept of it. */
export interface Resumed<Record extends InflightRecord> {
  readonly setup: RingSetup;
  readonly record?: Record | undefined;
}

/** Places in 16-bit arrays. */
const IDX = 1;

/** A string says what is wrong with what was under way. */
export function resumeSplit(
  setup: RingSetup,
  { avail, used, descriptors }: SplitAreas,
  region: Uint8Array,
): Resumed<SplitInflight> | string {
  const { size } = setup.placement;
  const record = new SplitInflight(region, size);
  const usedIndex = Atomics.load(used, IDX);
  const heads = record.recover(usedIndex, Atomics.load(avail, IDX));
  if (setup.chains.length > 0) return keepOrForget(setup, record, heads);
  if (heads === undefined) {
    record.begin(usedIndex);
    return { setup, record };
  }
  const walker = new SplitChainWalker(setup.memory, size, setup.indirect);
  const chains = walkAll(setup, heads, (chain, head) => {
    chain.id = head;
    return walker.walk(chain, descriptors, head);
  });
  if (typeof chains === 'string') return chains;
  const start = { nextAvail: (usedIndex + heads.length) & INDEX_MASK, nextUsed: usedIndex };
  return { setup: { ...setup, start, chains }, record };
}

/** A string says what is wrong with what was under way. */
export function resumePacked(
  setup: RingSetup,
  { descriptors }: PackedAreas,
  region: Uint8Array,
): Resumed<PackedInflight> | string {
  const { size } = setup.placement;
  const record = new PackedInflight(region, size);
  const found = record.recover(descriptors);
  const ids = found?.chains.map(({ descriptors: words }) => words[words.length - 1] & INDEX_MASK);
  if (setup.chains.length > 0) return keepOrForget(setup, record, ids);
  if (found === undefined) {
    record.begin(setup.start.nextUsed);
    return { setup, record };
  }
  const walker = new PackedChainWalker(setup.memory, size, setup.indirect);
  const chains = walkAll(setup, found.chains, (chain, { descriptors: words, count }) => {
    const problem = walker.walk(chain, words, 0, words[DescWord.ID_AND_FLAGS], count);
    return problem ?? (chain.ringEntries === count ? undefined : 'a chain under way is not whole');
  });
  if (typeof chains === 'string') return chains;
  const { nextUsed } = found;
  const entries = found.chains.reduce((sum, { count }) => sum + count, 0);
  const start = { nextAvail: packedAdvance(nextUsed, entries, size), nextUsed };
  return { setup: { ...setup, start, chains }, record };
}

/** A ring that is restored from state has its chains from there; a region that moved along with it says the same of them. */
function keepOrForget<Record extends SplitInflight | PackedInflight>(
  setup: RingSetup,
  record: Record,
  ids: readonly number[] | undefined,
): Resumed<Record> {
  const isSame = ids?.length === setup.chains.length && setup.chains.every(({ id }, i) => id === ids[i]);
  if (isSame) return { setup, record };
  record.forget();
  return { setup };
}

function walkAll<T>(
  { memory, placement }: RingSetup,
  found: readonly T[],
  walk: (chain: DescriptorChain, each: T) => string | undefined,
): ChainState[] | string {
  const chains: DescriptorChain[] = [];
  for (const each of found) {
    const chain = new DescriptorChain(found);
    const problem = walk(chain, each);
    if (problem !== undefined) return `under way when the last process ended: ${problem}`;
    chains.push(chain);
  }
  const saved = saveChains(chains, () => undefined, memory);
  if (typeof saved === 'string') return saved;
  return problemOfChains(saved, placement.size, memory) ?? saved;
}
