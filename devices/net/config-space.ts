/** struct virtio_net_config (virtio 1.3, section 5.1.4), and the features on offer. */
import { MAC_BYTES } from './ethernet.js';
import { ConfigField, DUPLEX_FULL, VirtioNetFeature, VirtioNetStatus } from './protocol.js';

/** What a card's owner decides. */
export interface ConfigChoices {
  readonly queuePairs: number;
  /** Undefined for what the driver thinks is right. */
  readonly mtu: number | undefined;
  readonly speedMbps: number;
}

export class NetConfigSpace {
  readonly bytes = new Uint8Array(ConfigField.BYTES);
  readonly #view = new DataView(this.bytes.buffer);

  constructor(choices: ConfigChoices) {
    this.#view.setUint16(ConfigField.MAX_VIRTQUEUE_PAIRS, choices.queuePairs, true);
    this.#view.setUint16(ConfigField.MTU, choices.mtu ?? 0, true);
    this.#view.setUint32(ConfigField.SPEED, choices.speedMbps, true);
    this.bytes[ConfigField.DUPLEX] = DUPLEX_FULL;
  }

  set mac(mac: Uint8Array) {
    this.bytes.set(mac.subarray(0, MAC_BYTES), ConfigField.MAC);
  }

  get status(): number {
    return this.#view.getUint16(ConfigField.STATUS, true);
  }

  /** Sets or clears a bit of `status`; answers whether that changed something. */
  setStatus(bit: number, on: boolean): boolean {
    const before = this.status;
    this.#view.setUint16(ConfigField.STATUS, on ? before | bit : before & ~bit, true);
    return before !== this.status;
  }

  get linkUp(): boolean {
    return (this.status & VirtioNetStatus.VIRTIO_NET_S_LINK_UP) !== 0;
  }
}

export function offeredFeatures(choices: ConfigChoices): bigint {
  const { VIRTIO_NET_F_MQ, VIRTIO_NET_F_MTU, ...always } = VirtioNetFeature;
  const bits: number[] = Object.values(always);
  if (choices.queuePairs > 1) bits.push(VIRTIO_NET_F_MQ);
  if (choices.mtu !== undefined) bits.push(VIRTIO_NET_F_MTU);
  return bits.reduce((features, bit) => features | (1n << BigInt(bit)), 0n);
}

export function hasFeature(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) !== 0n;
}
