/** What a legacy driver writes (virtio 1.3, sections 3.1.2 and 4.1.4.10), with MSI-X on, so that there are registers for vectors. */
import type { AccessWidth } from '../../pci/function.js';
import { LEGACY_BAR } from '../transport/virtio-pci-layout.js';
import {
  VIRTIO_PCI_LEGACY_PAGE_BYTES,
  VirtioPciLegacy as Legacy,
  VirtioStatus,
} from '../transport/virtio-pci-defs.js';
import type { FunctionState, QueueState } from './function-state.js';
import type { DriverWrites, RegisterWrite } from './register-write.js';

const { VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER } = VirtioStatus;
const { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FAILED } = VirtioStatus;
const TWO_POW_32 = 0x1_0000_0000;

export function legacyWrites(saved: FunctionState): DriverWrites {
  const { status } = saved;
  return {
    reset: write(Legacy.VIRTIO_PCI_STATUS, 1, 0),
    setUp: [
      ...statusWrite(status & VIRTIO_CONFIG_S_ACKNOWLEDGE),
      ...statusWrite(status & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)),
      write(Legacy.VIRTIO_PCI_GUEST_FEATURES, 4, saved.driverFeatures0),
      write(Legacy.VIRTIO_MSI_CONFIG_VECTOR, 2, saved.configVector),
      ...saved.queues.flatMap((queue, index) => queueWrites(queue, index)),
    ],
    // One that had given up before DRIVER_OK did not start the device: FAILED and DRIVER_OK in one write do not.
    start: [...(saved.started !== 0 ? startWrites(saved) : []), ...statusWrite(status)],
    selectors: [write(Legacy.VIRTIO_PCI_QUEUE_SEL, 2, saved.legacyQueueSelect)],
  };
}

/** By DRIVER_OK, or as some do, by the first doorbell. */
function startWrites({ status, queues }: FunctionState): RegisterWrite[] {
  if ((status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0) return statusWrite(status & ~VIRTIO_CONFIG_S_FAILED);
  const first = queues.findIndex(({ enabled }) => enabled !== 0);
  return [write(Legacy.VIRTIO_PCI_QUEUE_NOTIFY, 2, first)];
}

/** None where nothing is set: that would be a reset. */
function statusWrite(status: number): RegisterWrite[] {
  return status === 0 ? [] : [write(Legacy.VIRTIO_PCI_STATUS, 1, status)];
}

function queueWrites(queue: QueueState, index: number): RegisterWrite[] {
  const address = queue.descriptorAreaHigh * TWO_POW_32 + queue.descriptorAreaLow;
  return [
    write(Legacy.VIRTIO_PCI_QUEUE_SEL, 2, index),
    write(Legacy.VIRTIO_MSI_QUEUE_VECTOR, 2, queue.vector),
    ...(queue.enabled !== 0
      ? [write(Legacy.VIRTIO_PCI_QUEUE_PFN, 4, address / VIRTIO_PCI_LEGACY_PAGE_BYTES)]
      : []),
  ];
}

function write(offset: number, width: AccessWidth, value: number): RegisterWrite {
  return { space: { bar: LEGACY_BAR }, offset, width, value };
}
