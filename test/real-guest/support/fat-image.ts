const SECTOR_BYTES = 512;
const ENTRY_BYTES = 32;
/** Reserved sector, one FAT, one sector of root directory; then clusters of a sector each, from number 2 on. */
const FAT_SECTOR = 1;
const ROOT_SECTOR = 2;
const CLUSTER_2_SECTOR = 3;
const ROOT_ENTRIES = SECTOR_BYTES / ENTRY_BYTES;
const MEDIA_FIXED_DISK = 0xf8;
const LAST_CLUSTER = 0xfff;
const ATTR_DIRECTORY = 0x10;

/** Names as directories have them: 8 and 3 characters. */
const DOT = '.          ';
const DOT_DOT = '..         ';

/**
 * A FAT12 volume of `sectorCount` sectors that has one file, \EFI\BOOT\BOOTX64.EFI: what firmware starts from a disk that nobody told it about.
 * The volume begins with the first sector: there is no partition table.
 */
export function bootableFatImage(application: Uint8Array, sectorCount: number): Uint8Array {
  const image = new Uint8Array(sectorCount * SECTOR_BYTES);
  writeBootSector(new DataView(image.buffer), sectorCount);
  const fileClusters = Math.ceil(application.length / SECTOR_BYTES);
  const file = Array.from({ length: fileClusters }, (_, i) => 4 + i);
  writeFat(image, [[2], [3], file]);
  const directory = { attributes: ATTR_DIRECTORY, sizeBytes: 0 };
  writeDirectory(image, ROOT_SECTOR, [{ ...directory, name: 'EFI        ', cluster: 2 }]);
  writeDirectory(image, sectorOf(2), [
    { ...directory, name: DOT, cluster: 2 },
    // The root has no number.
    { ...directory, name: DOT_DOT, cluster: 0 },
    { ...directory, name: 'BOOT       ', cluster: 3 },
  ]);
  writeDirectory(image, sectorOf(3), [
    { ...directory, name: DOT, cluster: 3 },
    { ...directory, name: DOT_DOT, cluster: 2 },
    { attributes: 0, sizeBytes: application.length, name: 'BOOTX64 EFI', cluster: 4 },
  ]);
  image.set(application, sectorOf(4) * SECTOR_BYTES);
  return image;
}

interface DirectoryEntry {
  readonly name: string;
  readonly attributes: number;
  readonly cluster: number;
  readonly sizeBytes: number;
}

function sectorOf(cluster: number): number {
  return CLUSTER_2_SECTOR + cluster - 2;
}

/** The BIOS parameter block. */
function writeBootSector(view: DataView, sectorCount: number): void {
  new Uint8Array(view.buffer).set([0xeb, 0x3c, 0x90, ...Buffer.from('CHASSIS ')]);
  view.setUint16(11, SECTOR_BYTES, true);
  view.setUint8(13, 1); // sectors per cluster
  view.setUint16(14, FAT_SECTOR, true);
  view.setUint8(16, 1); // FATs
  view.setUint16(17, ROOT_ENTRIES, true);
  view.setUint16(19, sectorCount, true);
  view.setUint8(21, MEDIA_FIXED_DISK);
  view.setUint16(22, 1, true); // sectors per FAT
  view.setUint16(510, 0xaa55, true);
}

/** 12 bits for each cluster: the number of the next one in its chain. */
function writeFat(image: Uint8Array, chains: readonly (readonly number[])[]): void {
  const put = (cluster: number, next: number) => {
    const at = FAT_SECTOR * SECTOR_BYTES + Math.floor((cluster * 3) / 2);
    const shift = (cluster % 2) * 4;
    image[at] |= (next << shift) & 0xff;
    image[at + 1] |= (next << shift) >> 8;
  };
  put(0, 0xf00 | MEDIA_FIXED_DISK);
  put(1, LAST_CLUSTER);
  for (const chain of chains) chain.forEach((cluster, i) => put(cluster, chain[i + 1] ?? LAST_CLUSTER));
}

function writeDirectory(image: Uint8Array, sector: number, entries: readonly DirectoryEntry[]): void {
  const view = new DataView(image.buffer, sector * SECTOR_BYTES, SECTOR_BYTES);
  for (const [i, { name, attributes, cluster, sizeBytes }] of entries.entries()) {
    const at = i * ENTRY_BYTES;
    image.set(Buffer.from(name), sector * SECTOR_BYTES + at);
    view.setUint8(at + 11, attributes);
    view.setUint16(at + 26, cluster, true);
    view.setUint32(at + 28, sizeBytes, true);
  }
}
