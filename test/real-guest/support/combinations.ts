import { VirtioFeature, type VirtioDevice } from '../../../devices/virtio/device.js';
import type { Doorbell, VirtioPciInterface } from '../../../devices/virtio/transport/virtio-pci-layout.js';
import { vhostUserDisk, type DeviceServer, type ServedDevice } from './device-server.js';

/** One way to offer a device to its driver, and the interrupts that this should come to. */
export interface Combination {
  /** Whose registers they are: ours, QEMU's, or those of QEMU's device for any back-end. */
  readonly port: 'vfio-user' | 'vhost-user' | 'generic vhost-user';
  /** A directory over 9p, or a disk. */
  readonly device: 'share' | 'disk';
  readonly registers: VirtioPciInterface;
  /** Ring features on offer. */
  readonly packed: boolean;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  readonly interrupts: 'MSI-X' | 'INTx';
  /** The device looks by itself, and asks for no doorbell, ever. */
  readonly polled?: boolean;
  /** A disk's queues, where there are several. */
  readonly queues?: number;
  readonly doorbells?: readonly [Doorbell];
  /** Where it is not as many as a driver likes best. */
  readonly vectors?: number;
}

export function titleOf(combination: Combination): string {
  const { port, device, registers, packed, eventIdx, indirect, interrupts } = combination;
  const { polled, queues, doorbells, vectors } = combination;
  const words = [
    `${port}: ${device}`,
    `${registers} registers`,
    packed ? 'packed or split rings' : 'split rings',
    eventIdx ? 'event index' : 'no event index',
    !indirect && 'no indirect descriptors',
    interrupts,
    vectors !== undefined && `room for ${vectors} in MSI-X`,
    queues !== undefined && `${queues} queues`,
    doorbells !== undefined && `one doorbell a ${doorbells[0]}`,
    polled && 'polled',
  ];
  return words.filter(Boolean).join(', ');
}

/** Serves a device in the way of the combination, in a slot of the root bus. */
export function serve(
  server: DeviceServer,
  combination: Combination,
  device: VirtioDevice,
  slot: number,
): ServedDevice {
  const { port, registers, packed, eventIdx, indirect, interrupts } = combination;
  const { polled, doorbells, vectors } = combination;
  if (port === 'vfio-user') {
    const msix = interrupts === 'MSI-X' || vectors !== undefined;
    const withheldFeatures = withheldFrom(combination);
    const options = { registers, msix, msixVectorCount: vectors, polled, doorbells, withheldFeatures };
    return server.vfioUser(device, slot, options);
  }
  if (port === 'generic vhost-user') return server.vhostUser(device, slot, genericDevice(device));
  return server.vhostUser(device, slot, {
    ...vhostUserDisk(device),
    'disable-legacy': registers === 'modern' ? 'on' : 'off',
    'disable-modern': registers === 'legacy',
    ...(interrupts === 'INTx' ? { vectors: 0 } : {}),
    ...{ packed, event_idx: eventIdx, indirect_desc: indirect },
  });
}

/** Its properties for ring features change nothing: the guest gets what the back-end offers. */
export function genericDevice({ deviceId, queueSizes, config }: VirtioDevice) {
  return {
    driver: 'vhost-user-test-device-pci',
    'virtio-id': deviceId,
    num_vqs: queueSizes.length,
    vq_size: queueSizes[0],
    config_size: config.length,
    ...{ packed: false, event_idx: false, indirect_desc: false },
  };
}

function withheldFrom({ packed, eventIdx, indirect }: Combination): bigint {
  const unless = (offered: boolean, feature: number) => (offered ? 0n : 1n << BigInt(feature));
  return (
    unless(packed, VirtioFeature.VIRTIO_F_RING_PACKED) |
    unless(eventIdx, VirtioFeature.VIRTIO_F_EVENT_IDX) |
    unless(indirect, VirtioFeature.VIRTIO_F_INDIRECT_DESC)
  );
}

/** Event index and interrupts, each in both ways. */
const pairs = [true, false].flatMap((eventIdx) =>
  (['MSI-X', 'INTx'] as const).map((interrupts) => ({ eventIdx, interrupts })),
);

const ours = { port: 'vfio-user', indirect: true } as const;
const anyDisk = { ...ours, device: 'disk', packed: true, eventIdx: true, interrupts: 'MSI-X' } as const;
const qemus = { port: 'vhost-user', device: 'disk', indirect: true } as const;

/** As many as have room on one root bus. */
export const combinations: readonly Combination[] = [
  ...pairs.flatMap((pair): Combination[] => [
    { ...ours, device: 'share', registers: 'modern', packed: true, ...pair },
    { ...ours, device: 'share', registers: 'modern', packed: false, ...pair },
    { ...ours, device: 'disk', registers: 'transitional', packed: true, ...pair },
    { ...ours, device: pair.eventIdx ? 'share' : 'disk', registers: 'legacy', packed: false, ...pair },
  ]),
  { ...anyDisk, registers: 'modern', indirect: false },
  { ...anyDisk, registers: 'modern', indirect: false, packed: false },
  { ...anyDisk, registers: 'modern', doorbells: ['device'], queues: 2 },
  // A share: SeaBIOS drives disks, and leaves them running when it hands their rings' memory to the kernel.
  { ...anyDisk, registers: 'modern', polled: true, device: 'share' },
  // One vector for both queues; then too few for any.
  { ...anyDisk, registers: 'modern', vectors: 2, queues: 2 },
  { ...anyDisk, registers: 'transitional', vectors: 1, interrupts: 'INTx' },
  { ...qemus, registers: 'modern', packed: true, eventIdx: true, interrupts: 'MSI-X' },
  { ...qemus, registers: 'transitional', packed: true, eventIdx: false, interrupts: 'INTx' },
  { ...qemus, registers: 'transitional', packed: false, eventIdx: false, interrupts: 'MSI-X' },
  { ...qemus, registers: 'legacy', packed: false, eventIdx: true, interrupts: 'MSI-X' },
  { ...qemus, registers: 'legacy', packed: false, eventIdx: true, interrupts: 'INTx' },
  // It has one vector, where Linux wants two.
  {
    ...qemus,
    port: 'generic vhost-user',
    device: 'share',
    registers: 'modern',
    packed: true,
    eventIdx: true,
    interrupts: 'INTx',
  },
];
