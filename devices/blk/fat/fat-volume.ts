/**
 * A small FAT12 volume with a few files, made once: what carries a guest's first settings, and what firmware starts a program from
 * (Microsoft's FAT specification 1.03). It begins with the first sector: there is no partition table.
 *
 * Reserved sector, two FATs, root directory, then the clusters, from number 2 on.
 */
import { SECTOR_BYTES } from '../protocol.js';
import { ATTR_ARCHIVE, ATTR_DIRECTORY, ATTR_VOLUME_ID, encodeEntry, ENTRY_BYTES } from './directory.js';

const FATS = 2;
const FAT_SECTOR = 1;
const ROOT_ENTRIES = 512;
const ROOT_SECTORS = (ROOT_ENTRIES * ENTRY_BYTES) / SECTOR_BYTES;
const FIRST_CLUSTER = 2;
/** With more of them it would be FAT16: the number of clusters alone says which. */
const MAX_CLUSTERS = 4084;
const MAX_SECTORS_PER_CLUSTER = 64;
/** Of the boot sector's 16-bit count. */
const MAX_SECTORS = 0xffff;
const MEDIA_FIXED_DISK = 0xf8;
const LAST_CLUSTER = 0xfff;
const EXTENDED_BOOT_SIGNATURE = 0x29;

/** Files by name, and folders of such. Names are printable ASCII, up to 255 characters. */
export interface FatFolder {
  readonly [name: string]: Uint8Array | FatFolder;
}

export interface FatVolumeOptions {
  /** Whole sectors. */
  readonly sizeBytes: number;
  /** Up to 11 upper-case letters and digits. */
  readonly label: string;
  readonly files: FatFolder;
}

/** The volume's bytes. @throws RangeError where the files do not fit, or the size is none of a FAT12 volume */
export function fatVolume({ sizeBytes, label, files }: FatVolumeOptions): Uint8Array {
  const volume = new FatVolume(sizeBytes, label);
  volume.writeRoot(files);
  return volume.image;
}

class FatVolume {
  readonly image: Uint8Array;
  readonly #label: string;
  readonly #sectorsPerCluster: number;
  readonly #fatSectors: number;
  readonly #clusters: number;
  #nextCluster = FIRST_CLUSTER;

  constructor(sizeBytes: number, label: string) {
    const sectors = sizeBytes / SECTOR_BYTES;
    if (!Number.isInteger(sectors) || sectors > MAX_SECTORS)
      throw new RangeError(`no FAT12 volume has ${sizeBytes} bytes`);
    this.#label = label;
    this.#sectorsPerCluster = 1;
    while (sectors / this.#sectorsPerCluster > MAX_CLUSTERS) this.#sectorsPerCluster *= 2;
    if (this.#sectorsPerCluster > MAX_SECTORS_PER_CLUSTER)
      throw new RangeError('its clusters would be too large');
    // As if all of it were clusters: a sector too many at most.
    const clusterNumbers = Math.ceil(sectors / this.#sectorsPerCluster) + FIRST_CLUSTER;
    this.#fatSectors = Math.ceil((clusterNumbers * 3) / 2 / SECTOR_BYTES);
    this.#clusters = Math.floor((sectors - this.#dataSector) / this.#sectorsPerCluster);
    if (this.#clusters < 1)
      throw new RangeError(`a FAT12 volume of ${sizeBytes} bytes has no room for files`);
    this.image = new Uint8Array(sizeBytes);
    this.#writeBootSector(sectors);
    this.#link(0, 0xf00 | MEDIA_FIXED_DISK);
    this.#link(1, LAST_CLUSTER);
  }

  writeRoot(files: FatFolder): void {
    const label = encodeEntry({ name: this.#label, attributes: ATTR_VOLUME_ID, cluster: 0, sizeBytes: 0 }, 0);
    const entries = [...label, ...this.#writeContents(files, 0)];
    if (entries.length > ROOT_ENTRIES * ENTRY_BYTES) throw new RangeError('the root directory is full');
    this.image.set(entries, this.#rootSector * SECTOR_BYTES);
  }

  get #rootSector(): number {
    return FAT_SECTOR + FATS * this.#fatSectors;
  }

  get #dataSector(): number {
    return this.#rootSector + ROOT_SECTORS;
  }

  get #clusterBytes(): number {
    return this.#sectorsPerCluster * SECTOR_BYTES;
  }

  /** Writes what is in a folder, and answers the folder's entries for it. `parent` is the folder's cluster; 0 for the root. */
  #writeContents(files: FatFolder, parent: number): number[] {
    return Object.entries(files).flatMap(([name, content], i) => {
      const isFile = content instanceof Uint8Array;
      const cluster = isFile ? this.#writeChain(content) : this.#writeFolder(content, parent);
      const attributes = isFile ? ATTR_ARCHIVE : ATTR_DIRECTORY;
      return [...encodeEntry({ name, attributes, cluster, sizeBytes: isFile ? content.length : 0 }, i + 1)];
    });
  }

  #writeFolder(files: FatFolder, parent: number): number {
    const cluster = this.#take(1);
    const dots = [
      { name: '.', cluster },
      { name: '..', cluster: parent },
    ].flatMap((dot) => [...encodeEntry({ ...dot, attributes: ATTR_DIRECTORY, sizeBytes: 0 }, 0)]);
    const entries = [...dots, ...this.#writeContents(files, cluster)];
    if (entries.length > this.#clusterBytes)
      throw new RangeError('a folder has more files than fit a cluster');
    this.image.set(entries, this.#offsetOf(cluster));
    return cluster;
  }

  /** Answers the first cluster; 0 for an empty file. */
  #writeChain(bytes: Uint8Array): number {
    if (bytes.length === 0) return 0;
    const first = this.#take(Math.ceil(bytes.length / this.#clusterBytes));
    this.image.set(bytes, this.#offsetOf(first));
    return first;
  }

  /** Takes clusters that follow each other, as a chain. */
  #take(count: number): number {
    const first = this.#nextCluster;
    if (first + count > FIRST_CLUSTER + this.#clusters)
      throw new RangeError('the files do not fit the volume');
    this.#nextCluster += count;
    for (let i = 0; i < count; i++) this.#link(first + i, i === count - 1 ? LAST_CLUSTER : first + i + 1);
    return first;
  }

  #offsetOf(cluster: number): number {
    return this.#dataSector * SECTOR_BYTES + (cluster - FIRST_CLUSTER) * this.#clusterBytes;
  }

  /** 12 bits for each cluster: the number of the next one in its chain. */
  #link(cluster: number, next: number): void {
    const shift = (cluster % 2) * 4;
    for (let fat = 0; fat < FATS; fat++) {
      const at = (FAT_SECTOR + fat * this.#fatSectors) * SECTOR_BYTES + Math.floor((cluster * 3) / 2);
      this.image[at] |= (next << shift) & 0xff;
      this.image[at + 1] |= (next << shift) >> 8;
    }
  }

  /** With the BIOS parameter block. */
  #writeBootSector(sectors: number): void {
    const view = new DataView(this.image.buffer, 0, SECTOR_BYTES);
    this.image.set([0xeb, 0x3c, 0x90]);
    this.#text(3, 'CHASSIS', 8);
    view.setUint16(11, SECTOR_BYTES, true);
    view.setUint8(13, this.#sectorsPerCluster);
    view.setUint16(14, FAT_SECTOR, true);
    view.setUint8(16, FATS);
    view.setUint16(17, ROOT_ENTRIES, true);
    view.setUint16(19, sectors, true);
    view.setUint8(21, MEDIA_FIXED_DISK);
    view.setUint16(22, this.#fatSectors, true);
    view.setUint8(36, 0x80);
    view.setUint8(38, EXTENDED_BOOT_SIGNATURE);
    this.#text(43, this.#label, 11);
    this.#text(54, 'FAT12', 8);
    view.setUint16(510, 0xaa55, true);
  }

  #text(at: number, text: string, length: number): void {
    for (let i = 0; i < length; i++) this.image[at + i] = text.padEnd(length).charCodeAt(i);
  }
}
