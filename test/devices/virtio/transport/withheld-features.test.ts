import { describe, expect, it } from 'vitest';
import { VirtioFeature } from '../../../../devices/virtio/device.js';
import { nullDevice } from '../null-device.js';
import { MockLegacyDriver } from './mock-legacy-driver.js';
import { plug, Status } from './mock-pci-driver.js';

const { VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1, VIRTIO_F_RING_PACKED } =
  VirtioFeature;
const OWN_FEATURE = 3;

function bits(...features: readonly number[]): bigint {
  return features.reduce((all, feature) => all | (1n << BigInt(feature)), 0n);
}

function transitional(withheldFeatures?: bigint) {
  const device = nullDevice({ deviceId: 9, features: bits(OWN_FEATURE) });
  const { fn, driver } = plug(device, { registers: 'transitional', msix: false, withheldFeatures });
  return { modern: driver, legacy: new MockLegacyDriver(fn) };
}

describe('features that are withheld', () => {
  const withheld = bits(OWN_FEATURE, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED);

  it('are not on offer through the modern registers, and all others are', () => {
    const all = transitional().modern.offeredFeatures();
    expect(all & withheld).toBe(withheld);
    expect(transitional(withheld).modern.offeredFeatures()).toBe(all & ~withheld);
  });

  it('are not on offer through the legacy registers, and all others are', () => {
    const all = transitional().legacy.read('deviceFeatures');
    expect(BigInt(all >>> 0) & withheld).toBe(bits(OWN_FEATURE, VIRTIO_F_EVENT_IDX));
    const offered = transitional(withheld).legacy.read('deviceFeatures');
    expect(BigInt(offered >>> 0)).toBe(BigInt(all >>> 0) & ~withheld);
  });

  it('cannot be accepted', () => {
    const { modern } = transitional(withheld);
    const { FEATURES_OK } = Status;
    expect(modern.negotiate(bits(VIRTIO_F_VERSION_1, VIRTIO_F_EVENT_IDX)) & FEATURES_OK).toBe(0);
    expect(modern.negotiate(bits(VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC)) & FEATURES_OK).toBe(
      FEATURES_OK,
    );
  });

  it('never are VERSION_1, without which no modern driver works', () => {
    const offered = transitional(bits(VIRTIO_F_VERSION_1)).modern.offeredFeatures();
    expect(offered & bits(VIRTIO_F_VERSION_1)).toBe(bits(VIRTIO_F_VERSION_1));
  });
});
