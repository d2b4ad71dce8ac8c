/** Where a virtio function's structures lie: BARs, capabilities (virtio 1.3, section 4.1.4). Same shape as QEMU's. */
import type { CapabilityList } from '../../pci/capabilities.js';
import type { BarSpec } from '../../pci/function.js';
import { MSIX_ENTRY_BYTES } from '../../pci/msix.js';
import { VIRTIO_PCI_COMMON_CFG_BYTES, VirtioPciCap, VirtioPciCapField } from './virtio-pci-defs.js';

/** BAR of the virtio structures: each on pages of its own, so that a VMM can treat doorbells apart. */
export const VIRTIO_BAR = 4;
export const StructureOffset = { COMMON: 0x0000, ISR: 0x1000, DEVICE: 0x2000, NOTIFY: 0x3000 } as const;
const PAGE_BYTES = 0x1000;
/** Largest device config space. */
export const MAX_DEVICE_CONFIG_BYTES = PAGE_BYTES;
/** Queue n's doorbell is at `NOTIFY + 4n`. */
export const NOTIFY_OFF_MULTIPLIER = 4;

/** BAR of the MSI-X table (first half) and its pending bits (second half). */
export const MSIX_BAR = 1;

export function msixBarBytes(vectorCount: number): number {
  return Math.max(PAGE_BYTES, 2 * powerOfTwoAtLeast(vectorCount * MSIX_ENTRY_BYTES));
}

export function msixPbaOffset(vectorCount: number): number {
  return msixBarBytes(vectorCount) / 2;
}

/** BARs of a function with `queueCount` queues and `vectorCount` MSI-X vectors (0: no table). */
export function virtioBars(queueCount: number, vectorCount: number): BarSpec[] {
  const structuresBytes = powerOfTwoAtLeast(StructureOffset.NOTIFY + queueCount * NOTIFY_OFF_MULTIPLIER);
  const structures: BarSpec = {
    index: VIRTIO_BAR,
    kind: 'memory64',
    prefetchable: true,
    sizeBytes: structuresBytes,
  };
  if (vectorCount === 0) return [structures];
  const sizeBytes = msixBarBytes(vectorCount);
  return [{ index: MSIX_BAR, kind: 'memory32', prefetchable: false, sizeBytes }, structures];
}

/** Adds the capabilities that name the structures; answers where the one with the PCI_CFG window starts. */
export function addVirtioCapabilities(
  list: CapabilityList,
  queueCount: number,
  deviceConfigBytes: number,
): number {
  const { VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_NOTIFY_CFG, VIRTIO_PCI_CAP_ISR_CFG } = VirtioPciCap;
  const { VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_PCI_CFG } = VirtioPciCap;
  const notifyBytes = queueCount * NOTIFY_OFF_MULTIPLIER;
  addStructure(list, VIRTIO_PCI_CAP_COMMON_CFG, StructureOffset.COMMON, VIRTIO_PCI_COMMON_CFG_BYTES);
  addStructure(list, VIRTIO_PCI_CAP_NOTIFY_CFG, StructureOffset.NOTIFY, notifyBytes, NOTIFY_OFF_MULTIPLIER);
  addStructure(list, VIRTIO_PCI_CAP_ISR_CFG, StructureOffset.ISR, 1);
  if (deviceConfigBytes > 0) {
    addStructure(list, VIRTIO_PCI_CAP_DEVICE_CFG, StructureOffset.DEVICE, deviceConfigBytes);
  }
  return addStructure(list, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0);
}

/** `struct virtio_pci_cap { cap_vndr cap_next cap_len cfg_type bar id padding[2] le32 offset le32 length }`, and a le32 that some have. */
function addStructure(
  list: CapabilityList,
  type: number,
  offset: number,
  lengthBytes: number,
  extra?: number,
): number {
  const CAP_HEADER_BYTES = 3;
  const body = new Uint8Array((extra === undefined ? 16 : 20) - CAP_HEADER_BYTES);
  const view = new DataView(body.buffer);
  body[0] = type;
  body[VirtioPciCapField.BAR - CAP_HEADER_BYTES] = VIRTIO_BAR;
  view.setUint32(VirtioPciCapField.OFFSET - CAP_HEADER_BYTES, offset, true);
  view.setUint32(VirtioPciCapField.LENGTH - CAP_HEADER_BYTES, lengthBytes, true);
  if (extra !== undefined) view.setUint32(VirtioPciCapField.PCI_CFG_DATA - CAP_HEADER_BYTES, extra, true);
  return list.addVendorSpecific(body);
}

function powerOfTwoAtLeast(value: number): number {
  return 2 ** Math.ceil(Math.log2(value));
}
