/** The one place that chooses a ring's format. */
import { VirtioFeature } from '../device.js';
import type { QueueCounters, VirtioDevice } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { problemOfChains } from './chain-state.js';
import { hasFeature } from './features.js';
import { resumePacked, resumeSplit } from './inflight/resume.js';
import { PackedRing } from './packed.js';
import { resolvePackedAreas } from './packed-areas.js';
import { FIRST_PACKED_POSITION, packedIndex, packedSteps } from './packed-position.js';
import type { Activation, QueueConfig } from './queue-config.js';
import type { RingSetup } from './ring-base.js';
import type { RingPosition, RingSignals } from './running-ring.js';
import { SplitRing } from './split.js';
import { resolveSplitAreas } from './split-areas.js';

/** The ring features that suit every device. */
export const RING_FEATURES =
  (1n << BigInt(VirtioFeature.VIRTIO_F_INDIRECT_DESC)) |
  (1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX)) |
  (1n << BigInt(VirtioFeature.VIRTIO_F_RING_PACKED));

/** The ring features on offer for a device, which a transport offers beside its own. */
export function ringFeaturesFor({
  completesInOrder = false,
}: Pick<VirtioDevice, 'completesInOrder'>): bigint {
  return RING_FEATURES | (completesInOrder ? 1n << BigInt(VirtioFeature.VIRTIO_F_IN_ORDER) : 0n);
}

const FRESH_SPLIT: RingPosition = { nextAvail: 0, nextUsed: 0 };
const FRESH_PACKED: RingPosition = { nextAvail: FIRST_PACKED_POSITION, nextUsed: FIRST_PACKED_POSITION };

export function createRing(
  config: QueueConfig,
  memory: GuestMemory,
  features: bigint,
  signals: RingSignals,
  counters: QueueCounters,
): Activation {
  const packed = hasFeature(features, VirtioFeature.VIRTIO_F_RING_PACKED);
  const setup: RingSetup = {
    index: config.index,
    placement: {
      size: config.size,
      descriptorArea: config.descriptorArea.value,
      driverArea: config.driverArea.value,
      deviceArea: config.deviceArea.value,
    },
    memory,
    indirect: hasFeature(features, VirtioFeature.VIRTIO_F_INDIRECT_DESC),
    eventIdx: hasFeature(features, VirtioFeature.VIRTIO_F_EVENT_IDX),
    inOrder: hasFeature(features, VirtioFeature.VIRTIO_F_IN_ORDER),
    start: config.start ?? (packed ? FRESH_PACKED : FRESH_SPLIT),
    chains: config.chains,
    signals,
    counters,
  };
  const problem = problemOfChains(config.chains, config.size, memory);
  if (problem !== undefined) return { problem };
  const { inflight } = config;
  return packed ? createPackedRing(setup, inflight) : createSplitRing(setup, inflight);
}

function createSplitRing(setup: RingSetup, region: Uint8Array | undefined): Activation {
  const areas = resolveSplitAreas(setup.placement, setup.memory);
  if (typeof areas === 'string') return { problem: areas };
  if (region === undefined) return { ring: new SplitRing(setup, areas, undefined) };
  const resumed = resumeSplit(setup, areas, region);
  return typeof resumed === 'string'
    ? { problem: resumed }
    : { ring: new SplitRing(resumed.setup, areas, resumed.record) };
}

/** A saved position comes from outside: unlike a split ring's, it need not be one of this ring's. */
function createPackedRing(setup: RingSetup, region: Uint8Array | undefined): Activation {
  const { size } = setup.placement;
  const areas = resolvePackedAreas(setup.placement, setup.memory);
  if (typeof areas === 'string') return { problem: areas };
  const resumed = region === undefined ? { setup } : resumePacked(setup, areas, region);
  if (typeof resumed === 'string') return { problem: resumed };
  const { nextAvail, nextUsed } = resumed.setup.start;
  if (packedIndex(nextAvail) >= size || packedIndex(nextUsed) >= size) {
    return { problem: 'the position to start from lies beyond the ring' };
  }
  if (packedSteps(nextUsed, nextAvail, size) > size) {
    return { problem: 'the position to start from has more under way than the ring holds' };
  }
  return { ring: new PackedRing(resumed.setup, areas, resumed.record) };
}
