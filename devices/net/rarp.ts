/**
 * The frame by which a network learns where a station is that has moved there: a reverse ARP request of the station for its own address (RFC 903), to
 * all. Nobody answers those any more; switches learn from who sent it. It is what QEMU sends for guests, too.
 */
import { Frame } from './frame.js';
import { MAC_BYTES } from './ethernet.js';

const ETH_ZLEN = 60;
const ETH_P_RARP = 0x8035;
/** htype[2]=1 (Ethernet) ptype[2]=IPv4 hlen[1]=6 plen[1]=4 op[2]=3 (request reverse), big-endian. */
const REVERSE_REQUEST = Uint8Array.of(0, 1, 8, 0, 6, 4, 0, 3);
/** destination[6] source[6] type[2], REVERSE_REQUEST, sender[6] ip[4] target[6] ip[4], zeroes. */
const Offset = { SOURCE: 6, TYPE: 12, ARP: 14, SENDER: 22, TARGET: 32 } as const;

export function rarpFrame(mac: Uint8Array): Frame {
  const bytes = new Uint8Array(ETH_ZLEN);
  bytes.fill(0xff, 0, MAC_BYTES);
  for (const offset of [Offset.SOURCE, Offset.SENDER, Offset.TARGET]) bytes.set(mac, offset);
  bytes.set([ETH_P_RARP >> 8, ETH_P_RARP & 0xff], Offset.TYPE);
  bytes.set(REVERSE_REQUEST, Offset.ARP);
  const frame = new Frame();
  frame.data.push(bytes, 0, bytes.length, 0);
  return frame;
}
