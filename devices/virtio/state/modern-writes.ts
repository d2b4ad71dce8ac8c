/** What a modern driver writes (virtio 1.3, sections 3.1.1 and 4.1.4.3). */
import type { AccessWidth } from '../../pci/function.js';
import { StructureOffset, VIRTIO_BAR } from '../transport/virtio-pci-layout.js';
import { VirtioPciCommon as Common, VirtioStatus } from '../transport/virtio-pci-defs.js';
import { driverFeaturesOf } from './driver-problem.js';
import type { FunctionState, QueueState } from './function-state.js';
import type { DriverWrites, RegisterWrite } from './register-write.js';

const { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_FEATURES_OK } = VirtioStatus;
const { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED } = VirtioStatus;
/** What the status is after each step. */
const FOUND = VIRTIO_CONFIG_S_ACKNOWLEDGE;
const DRIVEN = FOUND | VIRTIO_CONFIG_S_DRIVER;
const AGREED = DRIVEN | VIRTIO_CONFIG_S_FEATURES_OK;
const LIVE = AGREED | VIRTIO_CONFIG_S_DRIVER_OK;

export function modernWrites(saved: FunctionState): DriverWrites {
  const failed = (saved.status & VIRTIO_CONFIG_S_FAILED) !== 0;
  return {
    reset: write(Common.VIRTIO_PCI_COMMON_STATUS, 1, 0),
    setUp: [
      ...statusWrites(saved, FOUND, DRIVEN),
      ...featureWrites(saved),
      ...statusWrites(saved, AGREED),
      write(Common.VIRTIO_PCI_COMMON_MSIX, 2, saved.configVector),
      ...saved.queues.flatMap((queue, index) => queueWrites(queue, index)),
    ],
    // Nothing is started after FAILED.
    start: [
      ...statusWrites(saved, LIVE),
      ...(failed ? [write(Common.VIRTIO_PCI_COMMON_STATUS, 1, saved.status)] : []),
    ],
    selectors: [
      write(Common.VIRTIO_PCI_COMMON_DFSELECT, 4, saved.deviceFeatureSelect),
      write(Common.VIRTIO_PCI_COMMON_GFSELECT, 4, saved.driverFeatureSelect),
      write(Common.VIRTIO_PCI_COMMON_Q_SELECT, 2, saved.queueSelect),
    ],
  };
}

/** One for each of `values` that the driver came to. */
function statusWrites({ status }: FunctionState, ...values: readonly number[]): RegisterWrite[] {
  return values
    .filter((value) => (status & value) === value)
    .map((value) => write(Common.VIRTIO_PCI_COMMON_STATUS, 1, value));
}

function featureWrites(saved: FunctionState): RegisterWrite[] {
  return [...driverFeaturesOf(saved)].flatMap((features, word) => [
    write(Common.VIRTIO_PCI_COMMON_GFSELECT, 4, word),
    write(Common.VIRTIO_PCI_COMMON_GF, 4, features),
  ]);
}

function queueWrites(queue: QueueState, index: number): RegisterWrite[] {
  return [
    write(Common.VIRTIO_PCI_COMMON_Q_SELECT, 2, index),
    write(Common.VIRTIO_PCI_COMMON_Q_SIZE, 2, queue.size),
    write(Common.VIRTIO_PCI_COMMON_Q_MSIX, 2, queue.vector),
    write(Common.VIRTIO_PCI_COMMON_Q_DESCLO, 4, queue.descriptorAreaLow),
    write(Common.VIRTIO_PCI_COMMON_Q_DESCHI, 4, queue.descriptorAreaHigh),
    write(Common.VIRTIO_PCI_COMMON_Q_AVAILLO, 4, queue.driverAreaLow),
    write(Common.VIRTIO_PCI_COMMON_Q_AVAILHI, 4, queue.driverAreaHigh),
    write(Common.VIRTIO_PCI_COMMON_Q_USEDLO, 4, queue.deviceAreaLow),
    write(Common.VIRTIO_PCI_COMMON_Q_USEDHI, 4, queue.deviceAreaHigh),
    ...(queue.enabled !== 0 ? [write(Common.VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1)] : []),
  ];
}

function write(offset: number, width: AccessWidth, value: number): RegisterWrite {
  return { space: { bar: VIRTIO_BAR }, offset: StructureOffset.COMMON + offset, width, value };
}
