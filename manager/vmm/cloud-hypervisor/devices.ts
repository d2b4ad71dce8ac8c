/**
 * What Cloud Hypervisor is told of a function: the same values in a request to its API and on its command line. A slot is no place in its
 * PCI hierarchy, only a segment: the VMM gives each device a number there, and a device is known by its id.
 */
import { CLOUD_HYPERVISOR_RULES } from '../../chassis/placement-rules.js';
import type { PluggableCard, PluggableDisk, PluggableFunction } from '../driver.js';
import { deviceId, DISK_QUEUE_SIZE } from '../qemu-names.js';
import type { DeviceRoute } from './client.js';

export interface DeviceRequest {
  readonly route: DeviceRoute;
  readonly config: Readonly<Record<string, string | number | boolean>>;
}

/** `processors` are the VM's: the VMM refuses disks and cards with more queues. */
export function deviceRequest(slot: number, plugged: PluggableFunction, processors: number): DeviceRequest {
  const { port, socketPath, disk, card, function: fn } = plugged;
  const place = { id: deviceId(slot, fn), pci_segment: segmentOf(slot) };
  // The published schema of this request leaves `id` out, but what it is read into, UserDeviceConfig, has it.
  if (port === 'vfio-user' || (!disk && !card))
    return { route: 'vm.add-user-device', config: { socket: socketPath, ...place } };
  const socket = { vhost_user: true, vhost_socket: socketPath };
  if (disk) return { route: 'vm.add-disk', config: { ...socket, ...diskConfig(disk, processors), ...place } };
  return { route: 'vm.add-net', config: { ...socket, ...(card && cardConfig(card, processors)), ...place } };
}

/** Counted from 0. The first one has the VM's other devices, too. */
export function segmentOf(slot: number): number {
  return Math.floor((slot - 1) / CLOUD_HYPERVISOR_RULES.extension.slots);
}

function diskConfig({ queues }: PluggableDisk, processors: number) {
  return { num_queues: Math.min(queues, processors), queue_size: DISK_QUEUE_SIZE };
}

/** Queues are counted one by one, and the control queue is the VMM's. */
function cardConfig({ mac, mtu, queuePairs }: PluggableCard, processors: number) {
  const queues = 2 * Math.min(queuePairs, processors);
  return { mac, num_queues: queues, ...(mtu !== undefined && { mtu }) };
}
