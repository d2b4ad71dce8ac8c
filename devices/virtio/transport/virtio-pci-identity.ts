/** How drivers know a virtio function: which ids its PCI header has. */
import type { HeaderIdentity } from '../../pci/config-space.js';
import type { VirtioDevice } from '../device.js';
import {
  VIRTIO_PCI_MODERN_DEVICE_ID_BASE,
  VIRTIO_PCI_VENDOR_ID,
  VirtioPciTransitionalDeviceId,
} from './virtio-pci-defs.js';

/** 1 and up says "no legacy interface". */
const MODERN_REVISION = 1;
const LEGACY_REVISION = 0;
/** 0x40 and up, for the same reason. */
const MODERN_SUBSYSTEM_ID = 0x40;

/** Sections 4.1.2 and 4.1.2.3. Legacy drivers go by the transitional id, revision 0 and the subsystem's id. */
export function identityOf(device: VirtioDevice, hasLegacy: boolean): HeaderIdentity {
  const { deviceId, pciClass } = device;
  const common = {
    vendorId: VIRTIO_PCI_VENDOR_ID,
    subsystemVendorId: VIRTIO_PCI_VENDOR_ID,
    classCode: pciClass,
    hasIntx: true,
  };
  if (!hasLegacy) {
    return {
      ...common,
      deviceId: VIRTIO_PCI_MODERN_DEVICE_ID_BASE + deviceId,
      revisionId: MODERN_REVISION,
      subsystemId: MODERN_SUBSYSTEM_ID + deviceId,
    };
  }
  const transitionalId = VirtioPciTransitionalDeviceId[deviceId];
  if (transitionalId === undefined) throw new RangeError(`device id ${deviceId} has no legacy interface`);
  return { ...common, deviceId: transitionalId, revisionId: LEGACY_REVISION, subsystemId: deviceId };
}
