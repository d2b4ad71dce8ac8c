/**
 * Commands of the control queue (virtio 1.3, section 5.1.6.5): class[1] command[1] data[…], answered by ack[1]. Each of a command's bytes is
 * copied out of guest memory once, and no more of them than are used.
 */
import type { IoVector } from '../io-vector.js';
import { hasFeature } from './config-space.js';
import { MAC_BYTES } from './ethernet.js';
import {
  VIRTIO_NET_CTRL_ANNOUNCE_ACK,
  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
  VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
  VirtioNetAck,
  VirtioNetCtrl,
  VirtioNetCtrlMac,
  VirtioNetCtrlRx,
  VirtioNetCtrlVlan,
  VirtioNetFeature,
} from './protocol.js';
import type { ReceiveFilter } from './receive-filter.js';

const COMMAND_BYTES = 2;
const ENTRIES_BYTES = 4;
const { VIRTIO_NET_OK, VIRTIO_NET_ERR } = VirtioNetAck;

/** What commands do beside what they set in the filter. False where it cannot be. */
export interface ControlTarget {
  setMac(mac: Uint8Array): boolean;
  acknowledgeAnnouncement(): boolean;
  setQueuePairs(pairs: number): boolean;
  setGuestOffloads(offloads: bigint): boolean;
}

export class ControlCommands {
  filter!: ReceiveFilter;
  readonly #target: ControlTarget;
  /** The features that were agreed on: others' commands are unknown. */
  features = 0n;
  readonly #bytes = new Uint8Array(8);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(target: ControlTarget) {
    this.#target = target;
  }

  /** Does a command. Answers its acknowledgement: `VIRTIO_NET_ERR` for one that is unknown, too short or asks for what cannot be. */
  execute(command: IoVector): number {
    if (!this.#read(command, 0, COMMAND_BYTES)) return VIRTIO_NET_ERR;
    return this.#dispatch(this.#bytes[0], this.#bytes[1], command) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
  }

  #dispatch(commandClass: number, command: number, data: IoVector): boolean {
    const feature = featureOf(commandClass, command);
    if (feature === undefined || !hasFeature(this.features, feature)) return false;
    switch (commandClass) {
      case VirtioNetCtrl.VIRTIO_NET_CTRL_RX:
        return this.#read(data, COMMAND_BYTES, 1) && this.filter.setMode(command, this.#bytes[0] !== 0);
      case VirtioNetCtrl.VIRTIO_NET_CTRL_MAC:
        return this.#mac(command, data);
      case VirtioNetCtrl.VIRTIO_NET_CTRL_VLAN:
        return this.#vlan(command, data);
      case VirtioNetCtrl.VIRTIO_NET_CTRL_ANNOUNCE:
        return command === VIRTIO_NET_CTRL_ANNOUNCE_ACK && this.#target.acknowledgeAnnouncement();
      case VirtioNetCtrl.VIRTIO_NET_CTRL_MQ:
        if (command !== VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !this.#read(data, COMMAND_BYTES, 2)) return false;
        return this.#target.setQueuePairs(this.#view.getUint16(0, true));
      case VirtioNetCtrl.VIRTIO_NET_CTRL_GUEST_OFFLOADS:
        if (command !== VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !this.#read(data, COMMAND_BYTES, 8))
          return false;
        return this.#target.setGuestOffloads(this.#view.getBigUint64(0, true));
      default:
        return false;
    }
  }

  #mac(command: number, data: IoVector): boolean {
    if (command === VirtioNetCtrlMac.VIRTIO_NET_CTRL_MAC_TABLE_SET) return this.#macTables(data);
    if (command !== VirtioNetCtrlMac.VIRTIO_NET_CTRL_MAC_ADDR_SET) return false;
    return this.#read(data, COMMAND_BYTES, MAC_BYTES) && this.#target.setMac(this.#bytes);
  }

  /** entries[4] mac[6]… for unicast, then the same for multicast. Nothing changes where a table is longer than what there is. */
  #macTables(data: IoVector): boolean {
    const unicastAt = COMMAND_BYTES + ENTRIES_BYTES;
    if (!this.#read(data, COMMAND_BYTES, ENTRIES_BYTES)) return false;
    const unicast = this.#view.getUint32(0, true);
    // As numbers beyond 32 bits: no count of entries makes these small again.
    const multicastAt = unicastAt + unicast * MAC_BYTES + ENTRIES_BYTES;
    if (!this.#read(data, multicastAt - ENTRIES_BYTES, ENTRIES_BYTES)) return false;
    const multicast = this.#view.getUint32(0, true);
    if (multicastAt + multicast * MAC_BYTES > data.byteLength) return false;
    this.filter.unicast.set(data, unicastAt, unicast);
    this.filter.multicast.set(data, multicastAt, multicast);
    return true;
  }

  #vlan(command: number, data: IoVector): boolean {
    const isAdd = command === VirtioNetCtrlVlan.VIRTIO_NET_CTRL_VLAN_ADD;
    if (!isAdd && command !== VirtioNetCtrlVlan.VIRTIO_NET_CTRL_VLAN_DEL) return false;
    return this.#read(data, COMMAND_BYTES, 2) && this.filter.setVlan(this.#view.getUint16(0, true), isAdd);
  }

  /** Copies bytes of the command to where they can be looked at; false where it does not have them. */
  #read(command: IoVector, from: number, lengthBytes: number): boolean {
    return command.gather(from, this.#bytes, 0, lengthBytes) === lengthBytes;
  }
}

/** The feature that a command belongs to. */
function featureOf(commandClass: number, command: number): number | undefined {
  const F = VirtioNetFeature;
  switch (commandClass) {
    case VirtioNetCtrl.VIRTIO_NET_CTRL_RX:
      return command > VirtioNetCtrlRx.VIRTIO_NET_CTRL_RX_ALLMULTI
        ? F.VIRTIO_NET_F_CTRL_RX_EXTRA
        : F.VIRTIO_NET_F_CTRL_RX;
    case VirtioNetCtrl.VIRTIO_NET_CTRL_MAC:
      return command === VirtioNetCtrlMac.VIRTIO_NET_CTRL_MAC_ADDR_SET
        ? F.VIRTIO_NET_F_CTRL_MAC_ADDR
        : F.VIRTIO_NET_F_CTRL_RX;
    case VirtioNetCtrl.VIRTIO_NET_CTRL_VLAN:
      return F.VIRTIO_NET_F_CTRL_VLAN;
    case VirtioNetCtrl.VIRTIO_NET_CTRL_ANNOUNCE:
      return F.VIRTIO_NET_F_GUEST_ANNOUNCE;
    case VirtioNetCtrl.VIRTIO_NET_CTRL_MQ:
      return F.VIRTIO_NET_F_MQ;
    case VirtioNetCtrl.VIRTIO_NET_CTRL_GUEST_OFFLOADS:
      return F.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS;
    default:
      return undefined;
  }
}
