/** struct virtio_net_hdr (virtio 1.3, section 5.1.6): flags[1] gso_type[1] hdr_len[2] gso_size[2] csum_start[2] csum_offset[2] num_buffers[2]. */
import type { Frame } from './frame.js';
import { HeaderField, VirtioNetHdrFlag, VirtioNetHdrGso } from './protocol.js';

const { VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_DATA_VALID } = VirtioNetHdrFlag;
const { VIRTIO_NET_HDR_GSO_ECN, VIRTIO_NET_HDR_GSO_NONE } = VirtioNetHdrGso;

/** What the header says is left to do. `hdr_len` is a hint that nobody here takes: headers are parsed. */
export function readHeader(view: DataView, frame: Frame, at = 0): void {
  const flags = view.getUint8(at + HeaderField.FLAGS);
  const gsoType = view.getUint8(at + HeaderField.GSO_TYPE);
  frame.needsChecksum = (flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0;
  frame.checksumValid = (flags & VIRTIO_NET_HDR_F_DATA_VALID) !== 0;
  frame.csumStart = view.getUint16(at + HeaderField.CSUM_START, true);
  frame.csumOffset = view.getUint16(at + HeaderField.CSUM_OFFSET, true);
  frame.gsoType = gsoType & ~VIRTIO_NET_HDR_GSO_ECN;
  frame.gsoSize = view.getUint16(at + HeaderField.GSO_SIZE, true);
  frame.ecn = (gsoType & VIRTIO_NET_HDR_GSO_ECN) !== 0;
}

/** `headerBytes` is the length of the frame's own headers, where it is to be cut up. */
export function writeHeader(
  view: DataView,
  frame: Frame,
  headerBytes: number,
  bufferCount: number,
  at = 0,
): void {
  const segmented = frame.gsoType !== VIRTIO_NET_HDR_GSO_NONE;
  view.setUint8(at + HeaderField.FLAGS, frame.flags);
  view.setUint8(
    at + HeaderField.GSO_TYPE,
    frame.gsoType | (segmented && frame.ecn ? VIRTIO_NET_HDR_GSO_ECN : 0),
  );
  view.setUint16(at + HeaderField.HDR_LEN, segmented ? headerBytes : 0, true);
  view.setUint16(at + HeaderField.GSO_SIZE, segmented ? frame.gsoSize : 0, true);
  view.setUint16(at + HeaderField.CSUM_START, frame.needsChecksum ? frame.csumStart : 0, true);
  view.setUint16(at + HeaderField.CSUM_OFFSET, frame.needsChecksum ? frame.csumOffset : 0, true);
  view.setUint16(at + HeaderField.NUM_BUFFERS, bufferCount, true);
}
