/** What a driver takes in received frames: features by number, offloads of the control queue by the same numbers (5.1.6.5.6.1), and bits of `Offload`. */
import { Offload } from './frame.js';
import { VirtioNetFeature } from './protocol.js';

const OFFLOAD_OF_FEATURE: readonly (readonly [feature: number, offload: number])[] = [
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_CSUM, Offload.CSUM],
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_TSO4, Offload.TSO4],
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_TSO6, Offload.TSO6],
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_ECN, Offload.ECN],
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_USO4, Offload.USO4],
  [VirtioNetFeature.VIRTIO_NET_F_GUEST_USO6, Offload.USO6],
];

/** The features among `bits` that are offloads of the guest's. */
export function guestOffloadsAmong(bits: bigint): bigint {
  return OFFLOAD_OF_FEATURE.reduce((all, [feature]) => all | (bits & (1n << BigInt(feature))), 0n);
}

/** As bits of `Offload`. None without checksums, which all others build on (5.1.3.1). */
export function offloadsOf(bits: bigint): number {
  const offloads = OFFLOAD_OF_FEATURE.reduce(
    (all, [feature, offload]) => ((bits >> BigInt(feature)) & 1n ? all | offload : all),
    0,
  );
  return (offloads & Offload.CSUM) === 0 ? 0 : offloads;
}
