/** Ethernet as far as devices and switches look into it (IEEE 802.3 and 802.1Q). */

export const MAC_BYTES = 6;
/** Destination, source, type. */
export const ETHERNET_HEADER_BYTES = 14;
export const VLAN_TAG_BYTES = 4;
/** Offsets in a frame; a VLAN tag comes in at the type, and moves it. */
export const EthernetField = { DESTINATION: 0, SOURCE: 6, TYPE: 12, TAG_CONTROL: 14 } as const;
export const EtherType = { IPV4: 0x0800, VLAN: 0x8100, IPV6: 0x86dd, SERVICE_VLAN: 0x88a8 } as const;
/** The bits of a tag that are the VLAN's number. */
export const VLAN_ID_MASK = 0xfff;

export function u16At(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function putU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** A frame to a group of stations, of which broadcast is one. */
export function isGroupAddress(bytes: Uint8Array, at: number): boolean {
  return (bytes[at] & 1) !== 0;
}

export function isBroadcast(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (bytes[at + i] !== 0xff) return false;
  return true;
}

export function sameMac(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

/**
 * The six bytes of `52:54:00:12:34:56`.
 *
 * @throws RangeError where the text is no address of one station
 */
export function parseMac(text: string): Uint8Array {
  const bytes = Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) {
    throw new RangeError(`a MAC address looks like 52:54:00:12:34:56, not ${text}`);
  }
  if (isGroupAddress(bytes, 0) || bytes.every((byte) => byte === 0)) {
    throw new RangeError(`${text} is no address of a single station`);
  }
  return bytes;
}
