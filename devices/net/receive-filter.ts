/** Which frames a driver wants (virtio 1.3, sections 5.1.6.5.1 to 5.1.6.5.3). */
import {
  EtherType,
  EthernetField,
  isBroadcast,
  isGroupAddress,
  MAC_BYTES,
  sameMac,
  u16At,
  VLAN_ID_MASK,
  VLAN_TAG_BYTES,
} from './ethernet.js';
import { ETHERNET_HEADER_BYTES } from './ethernet.js';
import type { Frame } from './frame.js';
import { MacList } from './mac-list.js';
import { VirtioNetCtrlRx } from './protocol.js';

const MODES = Object.keys(VirtioNetCtrlRx).length;
const VLAN_BYTES = (VLAN_ID_MASK + 1) / 8;
/** Offsets in a saved filter. */
const VLANS_AT = MAC_BYTES + MODES + 1;
const LISTS_AT = VLANS_AT + VLAN_BYTES;
const { VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_CTRL_RX_ALLUNI } =
  VirtioNetCtrlRx;
const { VIRTIO_NET_CTRL_RX_NOMULTI, VIRTIO_NET_CTRL_RX_NOUNI, VIRTIO_NET_CTRL_RX_NOBCAST } = VirtioNetCtrlRx;

export class ReceiveFilter {
  /** mac[6] modes[6] filtersVlans[1] vlans[512] unicast[386] multicast[386]. */
  static readonly STATE_BYTES = MAC_BYTES + MODES + 1 + VLAN_BYTES + 2 * MacList.STATE_BYTES;

  readonly mac = new Uint8Array(MAC_BYTES);
  readonly unicast = new MacList();
  readonly multicast = new MacList();
  /** 1 for each `VIRTIO_NET_CTRL_RX_` mode that is on. */
  readonly #modes = new Uint8Array(MODES);
  /** A bit for each VLAN whose frames are wanted. */
  readonly #vlans = new Uint8Array(VLAN_BYTES);
  #filtersVlans = false;

  /**
   * As a driver finds it. One that cannot say what it wants (it has no `VIRTIO_NET_F_CTRL_RX`) gets everything, and one that cannot name its
   * VLANs gets those of all.
   */
  reset(mac: Uint8Array, canSayModes: boolean, canSayVlans: boolean): void {
    this.mac.set(mac);
    this.unicast.clear();
    this.multicast.clear();
    this.#modes.fill(0);
    this.#modes[VIRTIO_NET_CTRL_RX_PROMISC] = canSayModes ? 0 : 1;
    this.#vlans.fill(0);
    this.#filtersVlans = canSayVlans;
  }

  saveInto(bytes: Uint8Array, at: number): void {
    bytes.set(this.mac, at);
    bytes.set(this.#modes, at + MAC_BYTES);
    bytes[at + VLANS_AT - 1] = this.#filtersVlans ? 1 : 0;
    bytes.set(this.#vlans, at + VLANS_AT);
    this.unicast.saveInto(bytes, at + LISTS_AT);
    this.multicast.saveInto(bytes, at + LISTS_AT + MacList.STATE_BYTES);
  }

  /** False where there is no filter at `at`; this one is of no use then. */
  restoreFrom(bytes: Uint8Array, at: number): boolean {
    this.mac.set(bytes.subarray(at, at + MAC_BYTES));
    this.#modes.set(bytes.subarray(at + MAC_BYTES, at + VLANS_AT - 1));
    this.#filtersVlans = bytes[at + VLANS_AT - 1] === 1;
    this.#vlans.set(bytes.subarray(at + VLANS_AT, at + LISTS_AT));
    const isUnicast = this.unicast.restoreFrom(bytes, at + LISTS_AT);
    const isMulticast = this.multicast.restoreFrom(bytes, at + LISTS_AT + MacList.STATE_BYTES);
    const flags = bytes.subarray(at + MAC_BYTES, at + VLANS_AT);
    return isUnicast && isMulticast && !isGroupAddress(this.mac, 0) && flags.every((flag) => flag <= 1);
  }

  /** False for a mode that does not exist. */
  setMode(mode: number, on: boolean): boolean {
    if (mode >= MODES) return false;
    this.#modes[mode] = on ? 1 : 0;
    return true;
  }

  setVlan(vlan: number, wanted: boolean): boolean {
    if (vlan > VLAN_ID_MASK) return false;
    if (wanted) this.#vlans[vlan >>> 3] |= 1 << (vlan & 7);
    else this.#vlans[vlan >>> 3] &= ~(1 << (vlan & 7));
    return true;
  }

  wants(frame: Frame): boolean {
    if (this.#modes[VIRTIO_NET_CTRL_RX_PROMISC] !== 0) return true;
    const { head, headOffset: at } = frame;
    return this.#wantsVlan(frame, head, at) && this.#wantsAddress(head, at + EthernetField.DESTINATION);
  }

  /** Frames without a tag belong to no VLAN, and tag 0 says no more than a priority. */
  #wantsVlan(frame: Frame, head: Uint8Array, at: number): boolean {
    if (!this.#filtersVlans || u16At(head, at + EthernetField.TYPE) !== EtherType.VLAN) return true;
    if (frame.headBytes < ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES) return false;
    const vlan = u16At(head, at + EthernetField.TAG_CONTROL) & VLAN_ID_MASK;
    return vlan === 0 || (this.#vlans[vlan >>> 3] & (1 << (vlan & 7))) !== 0;
  }

  #wantsAddress(head: Uint8Array, at: number): boolean {
    const modes = this.#modes;
    if (!isGroupAddress(head, at)) {
      if (modes[VIRTIO_NET_CTRL_RX_NOUNI] !== 0) return false;
      if (modes[VIRTIO_NET_CTRL_RX_ALLUNI] !== 0) return true;
      return sameMac(head, at, this.mac, 0) || this.unicast.has(head, at);
    }
    if (isBroadcast(head, at)) return modes[VIRTIO_NET_CTRL_RX_NOBCAST] === 0;
    if (modes[VIRTIO_NET_CTRL_RX_NOMULTI] !== 0) return false;
    return modes[VIRTIO_NET_CTRL_RX_ALLMULTI] !== 0 || this.multicast.has(head, at);
  }
}
