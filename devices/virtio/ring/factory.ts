/** The one place that chooses a ring's format. */
import { VirtioFeature } from '../device.js';
import type { QueueCounters } from '../device.js';
import type { GuestMemory } from '../memory/guest-memory.js';
import { hasFeature } from './features.js';
import type { Activation, QueueConfig } from './queue-config.js';
import type { RingSignals } from './running-ring.js';
import { SplitRing } from './split.js';
import { resolveSplitAreas } from './split-areas.js';

/** The ring features that the formats here implement. A transport offers these, and its own. */
export const RING_FEATURES =
  (1n << BigInt(VirtioFeature.VIRTIO_F_INDIRECT_DESC)) | (1n << BigInt(VirtioFeature.VIRTIO_F_EVENT_IDX));

export function createRing(
  config: QueueConfig,
  memory: GuestMemory,
  features: bigint,
  signals: RingSignals,
  counters: QueueCounters,
): Activation {
  const placement = {
    size: config.size,
    descriptorArea: config.descriptorArea.value,
    driverArea: config.driverArea.value,
    deviceArea: config.deviceArea.value,
  };
  const areas = resolveSplitAreas(placement, memory);
  if (typeof areas === 'string') return { problem: areas };
  const options = {
    indirect: hasFeature(features, VirtioFeature.VIRTIO_F_INDIRECT_DESC),
    eventIdx: hasFeature(features, VirtioFeature.VIRTIO_F_EVENT_IDX),
    start: config.start,
  };
  return { ring: new SplitRing(config.index, placement, memory, areas, options, signals, counters) };
}
