/** What a card's driver has asked for so far, and which frames it is to get by that: virtio 1.3, section 5.1.6.5, with sets and without the device's code. */
import { VirtioNetFeature as F } from '../../../devices/net/protocol.js';

const MAX_LISTED = 64;
const Mode = { PROMISC: 0, ALLMULTI: 1, ALLUNI: 2, NOMULTI: 3, NOUNI: 4, NOBCAST: 5 } as const;
const GUEST_OFFLOADS = [1, 7, 8, 9, 54, 55];
const BROADCAST = 'ffffffffffff';

export class DriverModel {
  mac: string;
  pairs = 1;
  announcing = false;
  readonly #features: bigint;
  readonly #mostPairs: number;
  readonly #modes = new Set<number>();
  readonly #vlans = new Set<number>();
  #unicast: readonly string[] = [];
  #multicast: readonly string[] = [];

  constructor(features: bigint, mac: string, mostPairs: number) {
    this.#features = features;
    this.mac = mac;
    this.#mostPairs = mostPairs;
  }

  has(feature: number): boolean {
    return ((this.#features >> BigInt(feature)) & 1n) === 1n;
  }

  /** Does a command; true where it is to be acknowledged. */
  execute(bytes: Buffer): boolean {
    if (bytes.length < 2) return false;
    const [commandClass, command] = bytes;
    const data = bytes.subarray(2);
    switch (commandClass) {
      case 0:
        return this.#mode(command, data);
      case 1:
        return command === 0 ? this.#tables(data) : command === 1 && this.#address(data);
      case 2:
        return this.#vlan(command, data);
      case 3:
        return this.#announced(command);
      case 4:
        return this.#setPairs(command, data);
      case 5:
        return this.#offloads(command, data);
      default:
        return false;
    }
  }

  /** `vlan` is undefined for a frame without a tag. */
  wants(to: string, vlan: number | undefined): boolean {
    if (this.#modes.has(Mode.PROMISC) || !this.has(F.VIRTIO_NET_F_CTRL_RX)) return true;
    const filtersVlans = this.has(F.VIRTIO_NET_F_CTRL_VLAN);
    if (filtersVlans && vlan !== undefined && vlan !== 0 && !this.#vlans.has(vlan)) return false;
    if (to === BROADCAST) return !this.#modes.has(Mode.NOBCAST);
    if (isGroup(to)) {
      return !this.#modes.has(Mode.NOMULTI) && (this.#modes.has(Mode.ALLMULTI) || lists(this.#multicast, to));
    }
    if (this.#modes.has(Mode.NOUNI)) return false;
    return this.#modes.has(Mode.ALLUNI) || to === this.mac || lists(this.#unicast, to);
  }

  #mode(command: number, data: Buffer): boolean {
    const feature = command < 2 ? F.VIRTIO_NET_F_CTRL_RX : F.VIRTIO_NET_F_CTRL_RX_EXTRA;
    if (!this.has(feature) || command > Mode.NOBCAST || data.length < 1) return false;
    if (data[0] === 0) this.#modes.delete(command);
    else this.#modes.add(command);
    return true;
  }

  #tables(data: Buffer): boolean {
    if (!this.has(F.VIRTIO_NET_F_CTRL_RX)) return false;
    const unicast = table(data);
    const multicast = unicast && table(unicast.rest);
    if (!multicast) return false;
    this.#unicast = unicast.addresses;
    this.#multicast = multicast.addresses;
    return true;
  }

  #address(data: Buffer): boolean {
    const mac = data.toString('hex', 0, 6);
    if (!this.has(F.VIRTIO_NET_F_CTRL_MAC_ADDR) || data.length < 6 || isGroup(mac)) return false;
    this.mac = mac;
    return true;
  }

  #vlan(command: number, data: Buffer): boolean {
    if (!this.has(F.VIRTIO_NET_F_CTRL_VLAN) || command > 1 || data.length < 2) return false;
    const vlan = data.readUInt16LE(0);
    if (vlan > 4095) return false;
    if (command === 0) this.#vlans.add(vlan);
    else this.#vlans.delete(vlan);
    return true;
  }

  #announced(command: number): boolean {
    if (!this.has(F.VIRTIO_NET_F_GUEST_ANNOUNCE) || command !== 0) return false;
    const was = this.announcing;
    this.announcing = false;
    return was;
  }

  #setPairs(command: number, data: Buffer): boolean {
    if (!this.has(F.VIRTIO_NET_F_MQ) || command !== 0 || data.length < 2) return false;
    const pairs = data.readUInt16LE(0);
    if (pairs < 1 || pairs > this.#mostPairs) return false;
    this.pairs = pairs;
    return true;
  }

  #offloads(command: number, data: Buffer): boolean {
    if (!this.has(F.VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || command !== 0 || data.length < 8) return false;
    const allowed = GUEST_OFFLOADS.filter((bit) => this.has(bit)).reduce(
      (all, bit) => all | (1n << BigInt(bit)),
      0n,
    );
    return (data.readBigUInt64LE(0) & ~allowed) === 0n;
  }
}

/** entries[4] mac[6]…; undefined where there are fewer. */
function table(data: Buffer): { addresses: string[]; rest: Buffer } | undefined {
  if (data.length < 4) return undefined;
  const end = 4 + data.readUInt32LE(0) * 6;
  if (end > data.length) return undefined;
  const addresses: string[] = [];
  for (let at = 4; at < end; at += 6) addresses.push(data.toString('hex', at, at + 6));
  return { addresses, rest: data.subarray(end) };
}

/** A list that is too long for the card is taken to have everybody. */
function lists(addresses: readonly string[], mac: string): boolean {
  return addresses.length > MAX_LISTED || addresses.includes(mac);
}

function isGroup(mac: string): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}
