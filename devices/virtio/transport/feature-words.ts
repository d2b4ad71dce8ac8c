/** Feature bits (virtio 1.3, sections 2.2 and 6) as transports offer them and as registers show them: in words of 32. */
import { VirtioFeature, type VirtioDevice } from '../device.js';
import { RING_FEATURES, ringFeaturesFor } from '../ring/factory.js';

/** 128 bits are defined. */
export const FEATURE_WORDS = 4;

const WORD_MASK = 0xffff_ffffn;
/** Device-specific bits that the legacy interface, which ends at bit 31, has room for. */
const LEGACY_DEVICE_FEATURES = 0xff_ffffn;

/**
 * What a device offers through modern registers: its own features, those of the rings and those of virtio-pci, `withheld` excepted. Without
 * VIRTIO_F_VERSION_1 there is no modern driver: that is always offered.
 */
export function modernFeatures(device: VirtioDevice, withheld: bigint): Uint32Array {
  const ringReset = device.resetQueue === undefined ? 0n : bit(VirtioFeature.VIRTIO_F_RING_RESET);
  const transport =
    bit(VirtioFeature.VIRTIO_F_NOTIFICATION_DATA) | bit(VirtioFeature.VIRTIO_F_NOTIF_CONFIG_DATA);
  const optional = device.features | ringFeaturesFor(device) | ringReset | transport;
  return featureWords((optional & ~withheld) | bit(VirtioFeature.VIRTIO_F_VERSION_1));
}

/** What it offers through legacy ones (section 6.4). No device here looks at how buffers are cut up: VIRTIO_F_ANY_LAYOUT. */
export function legacyFeatures(device: VirtioDevice, withheld: bigint): Uint32Array {
  const own = device.features & LEGACY_DEVICE_FEATURES;
  const all = own | (RING_FEATURES & WORD_MASK) | bit(VirtioFeature.VIRTIO_F_ANY_LAYOUT);
  return featureWords(all & ~withheld);
}

export function featuresOf(words: Uint32Array): bigint {
  return words.reduceRight((bits, word) => (bits << 32n) | BigInt(word), 0n);
}

export function hasFeatureWord(words: Uint32Array, feature: number): boolean {
  return (words[feature >>> 5] & (1 << (feature & 31))) !== 0;
}

/** True where every feature in `words` is one of `offered`. */
export function hasOnlyFeatures(words: Uint32Array, offered: Uint32Array): boolean {
  return words.every((word, i) => (word & ~offered[i]) === 0);
}

/** The word that a register shows; 0 for one that does not exist. */
export function featureWord(words: Uint32Array, select: number): number {
  return select < FEATURE_WORDS ? words[select] : 0;
}

function featureWords(features: bigint): Uint32Array {
  return Uint32Array.from({ length: FEATURE_WORDS }, (_, word) =>
    Number((features >> BigInt(word * 32)) & WORD_MASK),
  );
}

function bit(feature: number): bigint {
  return 1n << BigInt(feature);
}
