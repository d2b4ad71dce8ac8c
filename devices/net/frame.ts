/** An Ethernet frame on its way, with what is still to be done to it. */
import { IoVector } from '../io-vector.js';
import { VirtioNetHdrFlag, VirtioNetHdrGso } from './protocol.js';

/** The longest frame: 64 KiB of IP packet behind an Ethernet header with two VLAN tags. */
export const MAX_FRAME_BYTES = 65535 + 14 + 8;
/** So much of a frame's start is looked into: Ethernet, IP and TCP headers with all options, and then some. */
export const HEAD_BYTES = 192;

/** What a receiver takes in a frame that is not finished. */
export const Offload = { CSUM: 1, TSO4: 2, TSO6: 4, ECN: 8, USO4: 16, USO6: 32 } as const;
export const ALL_OFFLOADS = Object.values(Offload).reduce((all, bit) => all | bit, 0);

/**
 * A frame and its unfinished work, as in struct virtio_net_hdr. It belongs to its sender, and is as it is only during the call that passes
 * it on: who keeps a frame copies it, nobody else changes it.
 *
 * Frames that are passed on are sound (see `offload/soundness.ts`), and their first segment holds the first `HEAD_BYTES` bytes
 * or all of a shorter frame in memory that no guest can write to: what is looked at stays what is delivered. The rest may be
 * guest memory that changes meanwhile.
 */
export class Frame {
  readonly data = new IoVector();
  needsChecksum = false;
  /** The receiver need not verify the checksum: somebody who can be trusted did. */
  checksumValid = false;
  /** Where the checksum's range starts in the frame, and where in that range the checksum is. With `needsChecksum`. */
  csumStart = 0;
  csumOffset = 0;
  /** A `VIRTIO_NET_HDR_GSO_` type, without ECN, and how many bytes of payload each segment gets. */
  gsoType: number = VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE;
  gsoSize = 0;
  /** The TCP stream uses ECN, and the flag CWR is for the first segment alone. */
  ecn = false;

  get byteLength(): number {
    return this.data.byteLength;
  }

  /** The array with the frame's start, and where in it that is. */
  get head(): Uint8Array {
    return this.data.bytes[0];
  }

  get headOffset(): number {
    return this.data.offsets[0];
  }

  get headBytes(): number {
    return this.data.lengths[0];
  }

  /** An empty frame with nothing left to do. */
  clear(): void {
    this.data.clear();
    this.needsChecksum = false;
    this.checksumValid = false;
    this.csumStart = 0;
    this.csumOffset = 0;
    this.gsoType = VirtioNetHdrGso.VIRTIO_NET_HDR_GSO_NONE;
    this.gsoSize = 0;
    this.ecn = false;
  }

  /** Takes over what is left to do from another frame, not its data. */
  copyWork(from: Frame): void {
    this.needsChecksum = from.needsChecksum;
    this.checksumValid = from.checksumValid;
    this.csumStart = from.csumStart;
    this.csumOffset = from.csumOffset;
    this.gsoType = from.gsoType;
    this.gsoSize = from.gsoSize;
    this.ecn = from.ecn;
  }

  /** `flags` of the header that says the same. */
  get flags(): number {
    if (this.needsChecksum) return VirtioNetHdrFlag.VIRTIO_NET_HDR_F_NEEDS_CSUM;
    return this.checksumValid ? VirtioNetHdrFlag.VIRTIO_NET_HDR_F_DATA_VALID : 0;
  }
}
