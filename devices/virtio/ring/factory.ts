/** The one place that chooses a ring's format. */
import { VirtioFeature } from '../device.js';
import type { QueueCounters, VirtioDevice } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { problemOfChains } from './chain-state.js';
import { hasFeature } from './features.js';
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
  return packed ? createPackedRing(setup) : createSplitRing(setup);
}

function createSplitRing(setup: RingSetup): Activation {
  const areas = resolveSplitAreas(setup.placement, setup.memory);
  return typeof areas === 'string' ? { problem: areas } : { ring: new SplitRing(setup, areas) };
}

/** A saved position comes from outside: unlike a split ring's, it need not be one of this ring's. */
function createPackedRing(setup: RingSetup): Activation {
  const { size } = setup.placement;
  const { nextAvail, nextUsed } = setup.start;
  if (packedIndex(nextAvail) >= size || packedIndex(nextUsed) >= size) {
    return { problem: 'the position to start from lies beyond the ring' };
  }
  if (packedSteps(nextUsed, nextAvail, size) > size) {
    return { problem: 'the position to start from has more under way than the ring holds' };
  }
  const areas = resolvePackedAreas(setup.placement, setup.memory);
  return typeof areas === 'string' ? { problem: areas } : { ring: new PackedRing(setup, areas) };
}
