import type { GuestPciFunction } from '../pci/function.js';
import {
  VIRTIO_PCI_DEVICE_ID_BASE,
  VIRTIO_PCI_DEVICE_ID_LAST,
  VIRTIO_PCI_TRANSITIONAL_ID_BASE,
  VIRTIO_PCI_VENDOR_ID,
} from './registers.js';

/**
 * The virtio device id of a function (virtio 1.3, section 4.1.2); undefined where it is no virtio device. Legacy and transitional
 * functions have it in their subsystem id.
 */
export function virtioDeviceId(fn: GuestPciFunction): number | undefined {
  const { vendorId, deviceId } = fn;
  if (vendorId !== VIRTIO_PCI_VENDOR_ID || deviceId > VIRTIO_PCI_DEVICE_ID_LAST) return undefined;
  if (deviceId >= VIRTIO_PCI_DEVICE_ID_BASE) return deviceId - VIRTIO_PCI_DEVICE_ID_BASE;
  return deviceId >= VIRTIO_PCI_TRANSITIONAL_ID_BASE ? fn.subsystemId : undefined;
}
