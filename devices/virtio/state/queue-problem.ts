/** Whether a function's queues can be as a state says, and whether they would run. */
import { VirtioFeature } from '../device.js';
import { hasFeature } from '../ring/features.js';
import { packedSteps } from '../ring/packed-position.js';
import { QueueConfig, VIRTIO_MSI_NO_VECTOR, powerOfTwoAtMost } from '../ring/queue-config.js';
import { INDEX_MASK } from '../ring/defs.js';
import { newQueueCounters, type RingSignals } from '../ring/running-ring.js';
import { featuresOf } from '../transport/feature-words.js';
import { placeLegacyRing } from '../transport/legacy-config.js';
import { VIRTIO_PCI_LEGACY_PAGE_BYTES } from '../transport/virtio-pci-defs.js';
import { driverFeaturesOf } from './driver-problem.js';
import { DriverInterfaceCode, type FunctionState, type QueueState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';
import { isRunning, setRegisters, setStart } from './queue-registers.js';

/** For rings that are made to see whether they can be: nothing comes of them. */
const NO_SIGNALS: RingSignals = { interrupt: () => false, broken: () => {}, held: () => {} };

export function problemOfQueues(saved: FunctionState, parts: FunctionParts): string | undefined {
  for (const [index, queue] of saved.queues.entries()) {
    const problem = problemOfQueue(
      saved,
      queue,
      new QueueConfig(index, parts.state.queues[index].maxSize),
      parts,
    );
    if (problem !== undefined) return `queue ${index}: ${problem}`;
  }
  return undefined;
}

/** `config` is as new. */
function problemOfQueue(
  saved: FunctionState,
  queue: QueueState,
  config: QueueConfig,
  parts: FunctionParts,
): string | undefined {
  const features = featuresOf(driverFeaturesOf(saved));
  if (queue.enabled > 1) return 'it is neither enabled nor disabled';
  setRegisters(config, queue);
  if (saved.interface !== DriverInterfaceCode.MODERN) {
    const problem = problemWithoutModernDriver(saved, config);
    if (problem !== undefined) return problem;
  }
  if (!isRunning(saved, queue)) {
    const stands = queue.nextAvail !== 0 || queue.nextUsed !== 0 || queue.chains.length > 0;
    return stands
      ? 'it has a position and does not run'
      : config.enabled
        ? config.problem(features)
        : undefined;
  }
  const packed = hasFeature(features, VirtioFeature.VIRTIO_F_RING_PACKED);
  setStart(config, queue);
  const { problem } = config.activate(parts.memory, features, NO_SIGNALS, newQueueCounters());
  return problem ?? problemOfPosition(queue, packed);
}

/** Legacy drivers place queues by page, and no more; where there is no driver, nothing is set. */
function problemWithoutModernDriver(saved: FunctionState, config: QueueConfig): string | undefined {
  const { size, maxSize, enabled, vector } = config;
  if (size !== powerOfTwoAtMost(maxSize)) return 'its size is not the one that legacy drivers are given';
  if (saved.interface === DriverInterfaceCode.NONE && (enabled || vector !== VIRTIO_MSI_NO_VECTOR)) {
    return 'there is no driver, and yet it has set something';
  }
  const expected = new QueueConfig(config.index, maxSize);
  expected.size = size;
  const address = config.descriptorArea.value;
  if (enabled) {
    const page = address / VIRTIO_PCI_LEGACY_PAGE_BYTES;
    if (!Number.isInteger(page) || page === 0 || page > 0xffff_ffff) return 'its address is no page';
    placeLegacyRing(expected, address);
  }
  return areasOf(expected) === areasOf(config) ? undefined : 'its areas are not where a legacy ring has them';
}

function areasOf({ descriptorArea, driverArea, deviceArea }: QueueConfig): string {
  return [descriptorArea, driverArea, deviceArea].map(({ low, high }) => `${high}:${low}`).join();
}

/** What lies between the two positions are the chains under way: no less and no more. */
function problemOfPosition(
  { size, nextAvail, nextUsed, chains }: QueueState,
  packed: boolean,
): string | undefined {
  const entries = chains.reduce((sum, { ringEntries }) => sum + ringEntries, 0);
  const distance = packed ? packedSteps(nextUsed, nextAvail, size) : (nextAvail - nextUsed) & INDEX_MASK;
  if (distance !== entries) return 'the chains under way are not those that its position tells of';
  if (packed) return undefined;
  const splitChains = chains.every(({ id, ringEntries }) => id < size && ringEntries === 1);
  return splitChains ? undefined : 'a chain under way is none of a split ring';
}
