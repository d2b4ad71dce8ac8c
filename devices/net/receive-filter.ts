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
const { VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_CTRL_RX_ALLUNI } =
  VirtioNetCtrlRx;
const { VIRTIO_NET_CTRL_RX_NOMULTI, VIRTIO_NET_CTRL_RX_NOUNI, VIRTIO_NET_CTRL_RX_NOBCAST } = VirtioNetCtrlRx;

export class ReceiveFilter {
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
