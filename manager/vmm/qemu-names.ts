/** The ids that a chassis's parts have in QEMU: on the command line, in `device_add`, and when they are recognised. */

import { MUX_CONFIG_BYTES } from '../../devices/9p/mux-config.js';
import { QUEUES_PER_DEVICE } from '../chassis/capacity.js';
import type { PluggableCard, PluggableDisk, PluggableFunction } from './driver.js';
import type { QemuVersion } from './qmp.js';

/** The guest's memory, which must be shared with the device process. */
export const MEMORY_ID = 'chassis-mem';

export function portId(slot: number): string {
  return `chassis-slot${slot}`;
}

/** The root port that a switch hangs on, and the switch; `extension` counts from 1. */
export function uplinkId(extension: number): string {
  return `chassis-uplink${extension}`;
}

export function switchId(extension: number): string {
  return `chassis-switch${extension}`;
}

export function deviceId(slot: number, fn: number): string {
  return `${portId(slot)}-fn${fn}`;
}

/** The slot and function of one of our devices; undefined where the id is not ours. */
export function parseDeviceId(id: string): { slot: number; function: number } | undefined {
  const match = /^chassis-slot(\d{1,3})-fn([0-7])$/.exec(id);
  return match ? { slot: Number(match[1]), function: Number(match[2]) } : undefined;
}

/** QEMU's generic vhost-user device: which virtio device it is, the command line says. */
export const VHOST_USER_DEVICE = 'vhost-user-test-device-pci';
export const VFIO_USER_DEVICE = 'vfio-user-pci';
/** QEMU's disk for vhost-user: MSI-X, and unlike the generic device it knows its own config space. */
export const VHOST_USER_DISK = 'vhost-user-blk-pci';
/** Room for 1 MiB in pages that do not touch in two requests, as with the VMM's own disks. */
export const DISK_QUEUE_SIZE = 256;
/** QEMU's network card, whose queues a `-netdev vhost-user` of the same id leaves to us. It answers the control queue itself. */
export const VIRTIO_NET = 'virtio-net-pci';
/** Of the 9p device: what its transports would tell over vfio-user. */
const NINE_P = { 'virtio-id': 9, num_vqs: 1, vq_size: 128 } as const;
/** What the multiplexing one has otherwise. */
const MUX = { num_vqs: QUEUES_PER_DEVICE, config_size: MUX_CONFIG_BYTES } as const;

/** `-device` and `device_add` take the same JSON. Over vhost-user it names the chardev of the same id. */
export function functionDevice(
  slot: number,
  multifunction: boolean,
  plugged: PluggableFunction,
  version: QemuVersion | undefined,
) {
  const { function: fn, port, socketPath, tag, disk, card, mux } = plugged;
  const id = deviceId(slot, fn);
  const place = { id, bus: portId(slot), addr: `0.${fn}`, multifunction };
  if (port === 'vfio-user') {
    return { driver: VFIO_USER_DEVICE, ...place, socket: { type: 'unix', path: socketPath } };
  }
  if (disk) return { driver: VHOST_USER_DISK, ...place, ...diskProperties(disk), chardev: id };
  if (card) return { driver: VIRTIO_NET, ...place, ...cardProperties(card, version), netdev: id };
  if (mux) return { driver: VHOST_USER_DEVICE, ...place, ...NINE_P, ...MUX, chardev: id };
  // Linux's `struct virtio_9p_config`: the tag's length in 16 bits, and the tag.
  const configSizeBytes = 2 + Buffer.byteLength(tag);
  return { driver: VHOST_USER_DEVICE, ...place, ...NINE_P, config_size: configSizeBytes, chardev: id };
}

/** Left alone it makes a queue for each processor, and queues that are smaller than the disk counts on. */
function diskProperties({ queues }: PluggableDisk) {
  return { 'num-queues': queues, 'queue-size': DISK_QUEUE_SIZE };
}

/**
 * QEMU 7.2 crashes where a guest unmasks a vector of a vhost-user card and there is no KVM (`kvm_virtio_pci_irqfd_use`, of an irqfd that was never
 * made): so cards of old ones do with INTx. No version between 7.2 and 10 was tried.
 */
const CARD_MSIX_SINCE = 10;

/** A version that is not known counts as a new one. */
export function cardHasMsix(version: QemuVersion | undefined): boolean {
  return version === undefined || version.major >= CARD_MSIX_SINCE;
}

/**
 * A vector for each queue and one for changes. No boot ROM: QEMU would look for a file that not every system has. What the guest takes
 * unfinished is settled when its driver starts, since QEMU does not pass on what it says later.
 */
function cardProperties({ mac, mtu, queuePairs }: PluggableCard, version: QemuVersion | undefined) {
  const vectors = cardHasMsix(version) ? 2 * queuePairs + 2 : 0;
  return {
    ...{ mac, mq: queuePairs > 1, vectors, romfile: '', ctrl_guest_offloads: false },
    ...(mtu !== undefined && { host_mtu: mtu }),
  };
}

/** What `netdev_add` and `-netdev` take for a network card over vhost-user. */
export function cardNetdev(slot: number, { function: fn, card }: PluggableFunction) {
  const id = deviceId(slot, fn);
  return { type: 'vhost-user', id, chardev: id, queues: card?.queuePairs ?? 1 };
}

/** Functions 1 to 7 first: the guest looks at the slot when function 0 arrives, and QEMU adds nothing after it. */
export function inPlugOrder<T extends { readonly function: number }>(functions: readonly T[]): T[] {
  return [...functions].sort((a, b) => (a.function || 8) - (b.function || 8));
}
