/** `device_status` as drivers go through it. */
import { VirtioStatus } from './virtio-pci-defs.js';

const {
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_DRIVER_OK,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_FAILED,
} = VirtioStatus;

/** The steps of initialisation (section 3.1.1), in the only order there is. */
export const STATUS_STEPS = [
  VIRTIO_CONFIG_S_ACKNOWLEDGE,
  VIRTIO_CONFIG_S_DRIVER,
  VIRTIO_CONFIG_S_FEATURES_OK,
  VIRTIO_CONFIG_S_DRIVER_OK,
] as const;
/** A legacy device knows no FEATURES_OK, and takes the others in any order. */
export const LEGACY_STATUS_BITS =
  VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED;
