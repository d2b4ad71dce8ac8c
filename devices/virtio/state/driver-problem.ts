/** Whether a saved driver can have come as far as the state says: status, features, and whether the device is at work. */
import { VirtioFeature } from '../device.js';
import { VIRTIO_MSI_NO_VECTOR } from '../ring/queue-config.js';
import { LEGACY_STATUS_BITS, STATUS_STEPS } from '../transport/status-steps.js';
import { hasFeatureWord, hasOnlyFeatures } from '../transport/feature-words.js';
import { VirtioStatus } from '../transport/virtio-pci-defs.js';
import { DriverInterfaceCode, type FunctionState } from './function-state.js';
import type { FunctionParts } from './function-parts.js';

const { VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK } = VirtioStatus;
const { VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_FAILED } = VirtioStatus;

/** `driver_feature`, as the words that registers show. */
export function driverFeaturesOf(saved: FunctionState): Uint32Array {
  return Uint32Array.of(
    saved.driverFeatures0,
    saved.driverFeatures1,
    saved.driverFeatures2,
    saved.driverFeatures3,
  );
}

export function problemOfDriver(saved: FunctionState, parts: FunctionParts): string | undefined {
  const { NONE, MODERN, LEGACY } = DriverInterfaceCode;
  if (saved.started > 1 || saved.faulted > 1) return 'a flag is neither 0 nor 1';
  if (saved.faulted > saved.started) return 'a device is faulted that was never at work';
  const { hasModern, hasLegacy } = parts.layout;
  const modernSelectors = [saved.deviceFeatureSelect, saved.driverFeatureSelect, saved.queueSelect];
  if (
    (!hasModern && modernSelectors.some((value) => value !== 0)) ||
    (!hasLegacy && saved.legacyQueueSelect !== 0)
  ) {
    return 'a selector is set that the function does not have';
  }
  switch (saved.interface) {
    case NONE:
      return problemOfNone(saved);
    case MODERN:
      return hasModern ? problemOfModern(saved, parts) : 'the function has no modern registers';
    case LEGACY:
      return hasLegacy ? problemOfLegacy(saved, parts) : 'the function has no legacy registers';
    default:
      return 'the driver uses registers that do not exist';
  }
}

/** Before a driver's first write there is nothing. */
function problemOfNone(saved: FunctionState): string | undefined {
  const untouched =
    saved.status === 0 &&
    saved.started === 0 &&
    saved.configVector === VIRTIO_MSI_NO_VECTOR &&
    driverFeaturesOf(saved).every((word) => word === 0);
  return untouched ? undefined : 'there is no driver, and yet it has set something';
}

function problemOfModern(saved: FunctionState, { state }: FunctionParts): string | undefined {
  const { status } = saved;
  const has = (bit: number): boolean => (status & bit) !== 0;
  const known = STATUS_STEPS.reduce((bits, step) => bits | step, 0);
  if ((status & ~(known | VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED)) !== 0) {
    return 'the status has bits that do not exist';
  }
  const firstMissing = STATUS_STEPS.findIndex((step) => !has(step));
  if (firstMissing >= 0 && STATUS_STEPS.slice(firstMissing).some(has))
    return 'a step of the status is left out';
  if (has(VIRTIO_CONFIG_S_FEATURES_OK)) {
    const features = driverFeaturesOf(saved);
    const agreeable =
      hasOnlyFeatures(features, state.offeredFeatures('modern')) &&
      hasFeatureWord(features, VirtioFeature.VIRTIO_F_VERSION_1);
    if (!agreeable) return 'features were agreed on that this function does not offer';
  }
  if (has(VIRTIO_CONFIG_S_DRIVER_OK) !== (saved.started !== 0))
    return 'the device is at work without DRIVER_OK, or not with it';
  if (has(VIRTIO_CONFIG_S_NEEDS_RESET) !== (saved.faulted !== 0))
    return 'DEVICE_NEEDS_RESET is not what the fault says';
  const enabled = saved.queues.some((queue) => queue.enabled !== 0);
  return enabled && !has(VIRTIO_CONFIG_S_FEATURES_OK) ? 'a queue is enabled before FEATURES_OK' : undefined;
}

/** A legacy driver starts its device by DRIVER_OK, unless it has given up before, or else by a doorbell. */
function problemOfLegacy(saved: FunctionState, { state }: FunctionParts): string | undefined {
  const { status } = saved;
  if ((status & ~LEGACY_STATUS_BITS) !== 0) return 'the status has bits that do not exist';
  if (!hasOnlyFeatures(driverFeaturesOf(saved), state.offeredFeatures('legacy'))) {
    return 'features were accepted that this function does not offer';
  }
  const driverOk = (status & VIRTIO_CONFIG_S_DRIVER_OK) !== 0;
  const failed = (status & VIRTIO_CONFIG_S_FAILED) !== 0;
  if (driverOk && !failed && saved.started === 0) return 'the device is not at work in spite of DRIVER_OK';
  const byDoorbell = saved.queues.some(({ enabled }) => enabled !== 0);
  return saved.started !== 0 && !driverOk && !byDoorbell
    ? 'the device is at work, and nothing started it'
    : undefined;
}
