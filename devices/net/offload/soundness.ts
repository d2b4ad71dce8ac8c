/** Whether a frame's unfinished work fits the frame: what a guest, a peer or a kernel said about it is not taken on trust. */
import { ETHERNET_HEADER_BYTES } from '../ethernet.js';
import { MAX_FRAME_BYTES, type Frame } from '../frame.js';
import { VirtioNetHdrGso } from '../protocol.js';
import { IpProtocol, type FrameLayout } from './layout.js';

const { VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6 } = VirtioNetHdrGso;
const { VIRTIO_NET_HDR_GSO_UDP_L4 } = VirtioNetHdrGso;

/** Offsets of the checksum in the headers of TCP and UDP. */
export const TCP_CHECKSUM_OFFSET = 16;
export const UDP_CHECKSUM_OFFSET = 6;

/**
 * One frame must not become any number of them: a segment of one byte would be 65,000 frames. The least that Linux's TCP sends in
 * a segment when it can fill it, and the most datagrams that its UDP sends at once.
 */
const MIN_TCP_SEGMENT_BYTES = 48;
const MAX_DATAGRAMS = 128;

/** Parses the frame into `layout` where it is to be cut up. */
export function isSound(frame: Frame, layout: FrameLayout): boolean {
  const { byteLength, csumStart, csumOffset } = frame;
  if (byteLength < ETHERNET_HEADER_BYTES || byteLength > MAX_FRAME_BYTES) return false;
  if (frame.needsChecksum) {
    if (csumStart < ETHERNET_HEADER_BYTES || csumStart + csumOffset + 2 > byteLength) return false;
  }
  return frame.gsoType === VIRTIO_NET_HDR_GSO_NONE ? !frame.ecn : isSegmentable(frame, layout);
}

function isSegmentable(frame: Frame, layout: FrameLayout): boolean {
  const { gsoType, gsoSize } = frame;
  if (!frame.needsChecksum || gsoSize === 0) return false;
  if (!layout.parse(frame) || layout.payloadOffset === 0) return false;
  const payloadBytes = frame.byteLength - layout.payloadOffset;
  if (payloadBytes <= 0 || frame.csumStart !== layout.transportOffset) return false;
  if (gsoType === VIRTIO_NET_HDR_GSO_UDP_L4) {
    const isUdp = layout.protocol === IpProtocol.UDP && frame.csumOffset === UDP_CHECKSUM_OFFSET;
    return isUdp && !frame.ecn && payloadBytes <= gsoSize * MAX_DATAGRAMS;
  }
  const type = layout.isIpv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
  if (gsoType !== type || layout.protocol !== IpProtocol.TCP) return false;
  if (frame.csumOffset !== TCP_CHECKSUM_OFFSET) return false;
  return gsoSize >= MIN_TCP_SEGMENT_BYTES || payloadBytes <= gsoSize;
}
