/** CRC-32C (Castagnoli), reflected, as in iSCSI (RFC 3720, section 12.1) and ext4. */
const POLYNOMIAL = 0x82f6_3b78;

const TABLE = Int32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc;
});

/** The checksum of all `parts`, one after the other: 32 bits, unsigned. */
export function crc32c(...parts: readonly Uint8Array[]): number {
  let crc = -1;
  for (const bytes of parts) {
    for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[i]) & 0xff];
  }
  return ~crc >>> 0;
}
