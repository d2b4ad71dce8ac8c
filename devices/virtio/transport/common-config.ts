import { VIRTIO_MSI_NO_VECTOR, type AreaAddress, type QueueConfig } from '../ring/queue-config.js';
import { VirtioFeature } from '../device.js';
import type { DeviceState } from './device-state.js';
import { featureWord } from './feature-words.js';
import { RegisterTable, type Register } from './register-table.js';
import { VIRTIO_PCI_COMMON_CFG_BYTES, VirtioPciCommon as Common } from './virtio-pci-defs.js';

/** `struct virtio_pci_common_cfg` (virtio 1.3, section 4.1.4.3) over a device's state. */
export class CommonConfig {
  readonly table: RegisterTable;
  readonly #state: DeviceState;
  readonly #vectorCount: number;
  deviceFeatureSelect = 0;
  driverFeatureSelect = 0;
  queueSelect = 0;

  constructor(state: DeviceState, vectorCount: number) {
    this.#state = state;
    this.#vectorCount = vectorCount;
    this.table = new RegisterTable(VIRTIO_PCI_COMMON_CFG_BYTES, [
      ...this.#deviceRegisters(),
      ...this.#queueRegisters(),
      ...this.#areaRegisters(),
    ]);
  }

  /** The selectors as at power-on. */
  reset(): void {
    this.deviceFeatureSelect = 0;
    this.driverFeatureSelect = 0;
    this.queueSelect = 0;
  }

  #deviceRegisters(): Register[] {
    const state = this.#state;
    return [
      {
        offset: Common.VIRTIO_PCI_COMMON_DFSELECT,
        width: 4,
        name: 'device_feature_select',
        read: () => this.deviceFeatureSelect,
        write: (value) => (this.deviceFeatureSelect = value),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_DF,
        width: 4,
        name: 'device_feature',
        read: () => featureWord(state.offeredFeatures('modern'), this.deviceFeatureSelect),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_GFSELECT,
        width: 4,
        name: 'driver_feature_select',
        read: () => this.driverFeatureSelect,
        write: (value) => (this.driverFeatureSelect = value),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_GF,
        width: 4,
        name: 'driver_feature',
        read: () => featureWord(state.driverFeatures, this.driverFeatureSelect),
        write: (value) => state.writeDriverFeatures(this.driverFeatureSelect, value),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_MSIX,
        width: 2,
        name: 'config_msix_vector',
        read: () => state.configVector,
        write: (value) => (state.configVector = vectorOrNone(value, this.#vectorCount)),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_NUMQ,
        width: 2,
        name: 'num_queues',
        read: () => state.queues.length,
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_STATUS,
        width: 1,
        name: 'device_status',
        read: () => state.status,
        write: (value) => state.writeStatus(value),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_CFGGENERATION,
        width: 1,
        name: 'config_generation',
        read: () => state.config.generation,
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_ADM_Q_IDX,
        width: 2,
        name: 'admin_queue_index',
        read: () => 0,
      },
      { offset: Common.VIRTIO_PCI_COMMON_ADM_Q_NUM, width: 2, name: 'admin_queue_num', read: () => 0 },
    ];
  }

  #queueRegisters(): Register[] {
    const state = this.#state;
    return [
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_SELECT,
        width: 2,
        name: 'queue_select',
        read: () => this.queueSelect,
        write: (value) => (this.queueSelect = value),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_SIZE,
        width: 2,
        name: 'queue_size',
        // 0 says that there is no such queue.
        read: () => this.#queue?.size ?? 0,
        write: (value) => this.#configure((queue) => (queue.size = value)),
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_MSIX,
        width: 2,
        name: 'queue_msix_vector',
        read: () => this.#queue?.vector ?? VIRTIO_MSI_NO_VECTOR,
        // Also while the queue is enabled: drivers take the vector away before they free it.
        write: (value) => {
          if (this.#queue !== undefined) this.#queue.vector = vectorOrNone(value, this.#vectorCount);
        },
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_ENABLE,
        width: 2,
        name: 'queue_enable',
        read: () => (this.#queue?.enabled === true ? 1 : 0),
        write: (value) => {
          if (this.#queue !== undefined && value === 1) state.enableQueue(this.#queue);
        },
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_NOFF,
        width: 2,
        name: 'queue_notify_off',
        read: () => this.#queue?.index ?? 0,
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_NDATA,
        width: 2,
        name: 'queue_notif_config_data',
        read: () =>
          state.accepted(VirtioFeature.VIRTIO_F_NOTIF_CONFIG_DATA) ? (this.#queue?.index ?? 0) : 0,
      },
      {
        offset: Common.VIRTIO_PCI_COMMON_Q_RESET,
        width: 2,
        name: 'queue_reset',
        read: () => (this.#queue !== undefined && state.isQueueResetting(this.#queue) ? 1 : 0),
        write: (value) => {
          if (this.#queue !== undefined && value === 1) state.resetQueue(this.#queue);
        },
      },
    ];
  }

  #areaRegisters(): Register[] {
    const area = (offset: number, name: string, of: (queue: QueueConfig) => AreaAddress): Register[] => [
      {
        offset,
        width: 4,
        name: `${name}_lo`,
        read: () => (this.#queue === undefined ? 0 : of(this.#queue).low),
        write: (value) => this.#configure((queue) => (of(queue).low = value)),
      },
      {
        offset: offset + 4,
        width: 4,
        name: `${name}_hi`,
        read: () => (this.#queue === undefined ? 0 : of(this.#queue).high),
        write: (value) => this.#configure((queue) => (of(queue).high = value)),
      },
    ];
    return [
      ...area(Common.VIRTIO_PCI_COMMON_Q_DESCLO, 'queue_desc', (queue) => queue.descriptorArea),
      ...area(Common.VIRTIO_PCI_COMMON_Q_AVAILLO, 'queue_driver', (queue) => queue.driverArea),
      ...area(Common.VIRTIO_PCI_COMMON_Q_USEDLO, 'queue_device', (queue) => queue.deviceArea),
    ];
  }

  get #queue(): QueueConfig | undefined {
    return this.#state.queues[this.queueSelect];
  }

  /** Changes the selected queue's registers, which are fixed once it is enabled. */
  #configure(change: (queue: QueueConfig) => void): void {
    const queue = this.#queue;
    if (queue !== undefined && !queue.enabled) change(queue);
  }
}

/** A vector that cannot be had reads back as none: that is how a driver learns of it. */
export function vectorOrNone(value: number, vectorCount: number): number {
  return value < vectorCount ? value : VIRTIO_MSI_NO_VECTOR;
}
