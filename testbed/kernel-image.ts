/** Where the Linux/x86 boot protocol says that the compressed kernel lies (Documentation/arch/x86/boot.rst). */
const BootHeader = {
  setup_sects: 0x1f1,
  header: 0x202,
  version: 0x206,
  payload_offset: 0x248,
  payload_length: 0x24c,
} as const;

const headerMagic = 'HdrS';
const sectorBytes = 512;

/** The compressed ELF kernel within a bzImage. */
export interface KernelPayload {
  readonly format: 'xz' | 'zst';
  readonly data: Buffer;
}

const formats = [
  { format: 'xz', magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]) },
  { format: 'zst', magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
] as const;

/** Finds the compressed kernel in a bzImage; undefined where it is in a format that is not known here. */
export function kernelPayload(bzImage: Buffer): KernelPayload | undefined {
  const magic = bzImage.toString('latin1', BootHeader.header, BootHeader.header + headerMagic.length);
  if (magic !== headerMagic || bzImage.readUInt16LE(BootHeader.version) < 0x0208) return undefined;
  const setupBytes = (bzImage[BootHeader.setup_sects] + 1) * sectorBytes;
  const start = setupBytes + bzImage.readUInt32LE(BootHeader.payload_offset);
  // The last four bytes are the kernel's decompressed size, which no decompressor expects.
  const data = bzImage.subarray(start, start + bzImage.readUInt32LE(BootHeader.payload_length) - 4);
  const known = formats.find((candidate) => data.subarray(0, candidate.magic.length).equals(candidate.magic));
  return known && { format: known.format, data };
}
