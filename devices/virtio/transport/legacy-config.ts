import type { AccessWidth } from '../../pci/function.js';
import { availRingBytes, descriptorAreaBytes } from '../ring/defs.js';
import { VIRTIO_MSI_NO_VECTOR, type QueueConfig } from '../ring/queue-config.js';
import { vectorOrNone } from './common-config.js';
import type { DeviceState } from './device-state.js';
import { RegisterTable, type Register } from './register-table.js';
import {
  VIRTIO_PCI_LEGACY_PAGE_BYTES,
  VirtioPciLegacy as Legacy,
  VirtioPciLegacyConfigOffset,
} from './virtio-pci-defs.js';

/** What the registers need of the function that they belong to. */
export interface LegacyInterrupts {
  /** Whether MSI-X is switched on now: the vectors' registers are there only then, and what is behind them moves. */
  readonly msixEnabled: boolean;
  /** The ISR status: reading takes the interrupt back. */
  readIsr(): number;
}

/**
 * The legacy interface (virtio 1.3, section 4.1.4.10), which is virtio 0.9.5's: features 0–31, no FEATURES_OK, split rings of a
 * size that the device sets and in one piece of memory. Little-endian, as every guest here is.
 */
export class LegacyConfig {
  readonly #state: DeviceState;
  readonly #interrupts: LegacyInterrupts;
  readonly #vectorCount: number;
  readonly #header: RegisterTable;
  /** The registers that MSI-X brings, behind the header. */
  readonly #vectors: RegisterTable;
  queueSelect = 0;

  constructor(state: DeviceState, vectorCount: number, interrupts: LegacyInterrupts) {
    const { WITHOUT_MSIX, WITH_MSIX } = VirtioPciLegacyConfigOffset;
    this.#state = state;
    this.#interrupts = interrupts;
    this.#vectorCount = vectorCount;
    this.#header = new RegisterTable(WITHOUT_MSIX, [...this.#deviceRegisters(), ...this.#queueRegisters()]);
    this.#vectors = new RegisterTable(WITH_MSIX - WITHOUT_MSIX, this.#vectorRegisters());
  }

  /** The selector as at power-on. */
  reset(): void {
    this.queueSelect = 0;
  }

  read(offset: number, width: AccessWidth): number {
    const config = this.#configOffset;
    if (offset >= config) return this.#state.config.read(offset - config, width);
    const vectors = offset - VirtioPciLegacyConfigOffset.WITHOUT_MSIX;
    return vectors >= 0 ? this.#vectors.read(vectors, width) : this.#header.read(offset, width);
  }

  /** Void where the driver uses the modern registers, but for a reset, with which every driver begins. */
  write(offset: number, width: AccessWidth, value: number): void {
    const isReset = offset === Legacy.VIRTIO_PCI_STATUS && width === 1 && (value & 0xff) === 0;
    if (!isReset && !this.#state.claim('legacy')) return;
    const config = this.#configOffset;
    const vectors = offset - VirtioPciLegacyConfigOffset.WITHOUT_MSIX;
    if (offset >= config) this.#state.writeConfig(offset - config, width, value);
    else if (vectors >= 0) this.#vectors.write(vectors, width, value);
    else this.#header.write(offset, width, value);
  }

  get #configOffset(): number {
    const { WITHOUT_MSIX, WITH_MSIX } = VirtioPciLegacyConfigOffset;
    return this.#interrupts.msixEnabled ? WITH_MSIX : WITHOUT_MSIX;
  }

  #deviceRegisters(): Register[] {
    const state = this.#state;
    return [
      {
        offset: Legacy.VIRTIO_PCI_HOST_FEATURES,
        width: 4,
        name: 'device_features',
        read: () => state.offeredFeatures('legacy')[0],
      },
      {
        offset: Legacy.VIRTIO_PCI_GUEST_FEATURES,
        width: 4,
        name: 'driver_features',
        read: () => state.driverFeatures[0],
        write: (value) => state.writeDriverFeatures(0, value),
      },
      {
        offset: Legacy.VIRTIO_PCI_STATUS,
        width: 1,
        name: 'device_status',
        read: () => state.legacyStatus,
        write: (value) => state.writeLegacyStatus(value),
      },
      {
        offset: Legacy.VIRTIO_PCI_ISR,
        width: 1,
        name: 'isr_status',
        read: () => this.#interrupts.readIsr(),
      },
    ];
  }

  #queueRegisters(): Register[] {
    return [
      {
        offset: Legacy.VIRTIO_PCI_QUEUE_PFN,
        width: 4,
        name: 'queue_address',
        read: () => (this.#queue?.enabled === true ? pageOf(this.#queue) : 0),
        write: (value) => this.#placeQueue(value),
      },
      {
        offset: Legacy.VIRTIO_PCI_QUEUE_NUM,
        width: 2,
        name: 'queue_size',
        // 0 says that there is no such queue.
        read: () => this.#queue?.size ?? 0,
      },
      {
        offset: Legacy.VIRTIO_PCI_QUEUE_SEL,
        width: 2,
        name: 'queue_select',
        read: () => this.queueSelect,
        write: (value) => (this.queueSelect = value),
      },
      {
        offset: Legacy.VIRTIO_PCI_QUEUE_NOTIFY,
        width: 2,
        name: 'queue_notify',
        read: () => 0,
        write: (value) => this.#state.kick(value),
      },
    ];
  }

  /** Their offsets are from the first of them. */
  #vectorRegisters(): Register[] {
    const state = this.#state;
    const start = VirtioPciLegacyConfigOffset.WITHOUT_MSIX;
    return [
      {
        offset: Legacy.VIRTIO_MSI_CONFIG_VECTOR - start,
        width: 2,
        name: 'config_msix_vector',
        read: () => state.configVector,
        write: (value) => (state.configVector = vectorOrNone(value, this.#vectorCount)),
      },
      {
        offset: Legacy.VIRTIO_MSI_QUEUE_VECTOR - start,
        width: 2,
        name: 'queue_msix_vector',
        read: () => this.#queue?.vector ?? VIRTIO_MSI_NO_VECTOR,
        write: (value) => {
          if (this.#queue !== undefined) this.#queue.vector = vectorOrNone(value, this.#vectorCount);
        },
      },
    ];
  }

  get #queue(): QueueConfig | undefined {
    return this.#state.queues[this.queueSelect];
  }

  /** The first page of the ring; 0 takes the ring's memory back. An address that is set stays until then. */
  #placeQueue(page: number): void {
    const queue = this.#queue;
    if (queue === undefined) return;
    if (page === 0) {
      this.#state.releaseLegacyQueue(queue);
    } else if (!queue.enabled) {
      placeLegacyRing(queue, page * VIRTIO_PCI_LEGACY_PAGE_BYTES);
      this.#state.enableQueue(queue);
    }
  }
}

/** The legacy layout (section 2.7.2): descriptors, available ring, and on the next page the used ring. */
export function placeLegacyRing(queue: QueueConfig, address: number): void {
  const driverArea = address + descriptorAreaBytes(queue.size);
  const end = driverArea + availRingBytes(queue.size);
  queue.descriptorArea.set(address);
  queue.driverArea.set(driverArea);
  queue.deviceArea.set(Math.ceil(end / VIRTIO_PCI_LEGACY_PAGE_BYTES) * VIRTIO_PCI_LEGACY_PAGE_BYTES);
}

function pageOf(queue: QueueConfig): number {
  return queue.descriptorArea.value / VIRTIO_PCI_LEGACY_PAGE_BYTES;
}
