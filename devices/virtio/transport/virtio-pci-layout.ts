/** Where a virtio function's structures lie: BARs, capabilities (virtio 1.3, section 4.1.4). Same shape as QEMU's. */
import type { CapabilityList } from '../../pci/capabilities.js';
import type { BarSpec } from '../../pci/function.js';
import { MSIX_ENTRY_BYTES } from '../../pci/msix.js';
import {
  VIRTIO_PCI_COMMON_CFG_BYTES,
  VirtioPciCap,
  VirtioPciCapField,
  VirtioPciLegacyConfigOffset,
} from './virtio-pci-defs.js';

/** BAR of the legacy registers, in I/O space: the only place where legacy drivers look. */
export const LEGACY_BAR = 0;
/** BAR of the MSI-X table (first half) and its pending bits (second half). */
export const MSIX_BAR = 1;
/** BAR of the virtio structures: each on pages of its own, so that a VMM can treat doorbells apart. */
export const VIRTIO_BAR = 4;
export const StructureOffset = { COMMON: 0x0000, ISR: 0x1000, DEVICE: 0x2000, NOTIFY: 0x3000 } as const;
const PAGE_BYTES = 0x1000;
/** Largest device config space. */
export const MAX_DEVICE_CONFIG_BYTES = PAGE_BYTES;
/** A doorbell takes 32 bits (VIRTIO_F_NOTIFICATION_DATA); queue n's own is at `4n`. */
export const DOORBELL_BYTES = 4;

/** Doorbells that drivers may ring: one for each queue, or one for all of the device's. */
export type Doorbell = 'queue' | 'device';
/** Which sets of registers a function has. */
export type VirtioPciInterface = 'modern' | 'transitional' | 'legacy';

export interface VirtioPciShape {
  readonly registers: VirtioPciInterface;
  readonly queueCount: number;
  readonly deviceConfigBytes: number;
  /** Vectors in the MSI-X table; 0: none. */
  readonly vectorCount: number;
  /** Best first. */
  readonly doorbells: readonly Doorbell[];
}

export class VirtioPciLayout {
  readonly bars: readonly BarSpec[];
  readonly hasModern: boolean;
  readonly hasLegacy: boolean;
  readonly #shape: VirtioPciShape;
  /** Bytes of the queues' own doorbells; the one for all of them comes behind. */
  readonly #queueDoorbellBytes: number;

  constructor(shape: VirtioPciShape) {
    this.#shape = shape;
    this.hasModern = shape.registers !== 'legacy';
    this.hasLegacy = shape.registers !== 'modern';
    this.#queueDoorbellBytes = shape.doorbells.includes('queue') ? shape.queueCount * DOORBELL_BYTES : 0;
    this.bars = [
      ...(this.hasLegacy ? [legacyBar(shape)] : []),
      ...(shape.vectorCount > 0 ? [msixBar(shape.vectorCount)] : []),
      ...(this.hasModern ? [this.#structuresBar()] : []),
    ];
  }

  get msixPbaOffset(): number {
    return msixBar(this.#shape.vectorCount).sizeBytes / 2;
  }

  /** The queue whose own doorbell is at this offset from the first, or undefined. */
  queueOfDoorbell(offset: number): number | undefined {
    if (offset >= this.#queueDoorbellBytes || offset % DOORBELL_BYTES !== 0) return undefined;
    return offset / DOORBELL_BYTES;
  }

  isDeviceDoorbell(offset: number): boolean {
    return offset === this.#queueDoorbellBytes && this.#shape.doorbells.includes('device');
  }

  /** Adds the capabilities that name the modern structures; answers where the one with the PCI_CFG window starts. */
  addCapabilities(list: CapabilityList): number {
    const { VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_ISR_CFG } = VirtioPciCap;
    const { VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_PCI_CFG } = VirtioPciCap;
    const { deviceConfigBytes, doorbells } = this.#shape;
    addStructure(list, VIRTIO_PCI_CAP_COMMON_CFG, StructureOffset.COMMON, VIRTIO_PCI_COMMON_CFG_BYTES);
    for (const doorbell of doorbells) this.#addNotify(list, doorbell);
    addStructure(list, VIRTIO_PCI_CAP_ISR_CFG, StructureOffset.ISR, 1);
    if (deviceConfigBytes > 0) {
      addStructure(list, VIRTIO_PCI_CAP_DEVICE_CFG, StructureOffset.DEVICE, deviceConfigBytes);
    }
    return addStructure(list, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0);
  }

  /** `notify_off_multiplier` 0 gives all queues the same address (section 4.1.4.4). */
  #addNotify(list: CapabilityList, doorbell: Doorbell): void {
    const { VIRTIO_PCI_CAP_NOTIFY_CFG } = VirtioPciCap;
    const { NOTIFY } = StructureOffset;
    if (doorbell === 'device') {
      const offset = NOTIFY + this.#queueDoorbellBytes;
      addStructure(list, VIRTIO_PCI_CAP_NOTIFY_CFG, offset, DOORBELL_BYTES, 0);
    } else {
      const lengthBytes = Math.max(this.#queueDoorbellBytes, DOORBELL_BYTES);
      addStructure(list, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY, lengthBytes, DOORBELL_BYTES);
    }
  }

  #structuresBar(): BarSpec {
    const deviceDoorbellBytes = this.#shape.doorbells.includes('device') ? DOORBELL_BYTES : 0;
    const doorbellBytes = Math.max(this.#queueDoorbellBytes + deviceDoorbellBytes, DOORBELL_BYTES);
    const sizeBytes = powerOfTwoAtLeast(StructureOffset.NOTIFY + doorbellBytes);
    return { index: VIRTIO_BAR, kind: 'memory64', prefetchable: true, sizeBytes };
  }
}

/** PCI gives I/O BARs 256 bytes; a device with more config space gets a larger one, as from QEMU. */
function legacyBar({ vectorCount, deviceConfigBytes }: VirtioPciShape): BarSpec {
  const { WITH_MSIX, WITHOUT_MSIX } = VirtioPciLegacyConfigOffset;
  const headerBytes = vectorCount > 0 ? WITH_MSIX : WITHOUT_MSIX;
  const sizeBytes = powerOfTwoAtLeast(headerBytes + deviceConfigBytes);
  return { index: LEGACY_BAR, kind: 'io', prefetchable: false, sizeBytes };
}

function msixBar(vectorCount: number): BarSpec {
  const sizeBytes = Math.max(PAGE_BYTES, 2 * powerOfTwoAtLeast(vectorCount * MSIX_ENTRY_BYTES));
  return { index: MSIX_BAR, kind: 'memory32', prefetchable: false, sizeBytes };
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
